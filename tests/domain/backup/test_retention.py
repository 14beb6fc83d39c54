"""Retention against a plain, slow model of it, and how a plan is shown before it is carried out."""

import random
import zoneinfo
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import factories
from tests.factories import SHA, complete, rows, stored_target
from tests.scheduling import amounts

from holdfast.api.policy import MAX_KEPT_LISTED, MAX_PLANNED, BackupPolicy, BackupPolicyStatus, RetentionPlan
from holdfast.api.retention import Retention
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.backup.retention import (
    Backup,
    backup_of,
    decide,
    expiries,
    next_plan,
    record_expiry,
    with_expiry_marked,
    with_pause,
    without_run,
)
from holdfast.domain.rows import row_of
from holdfast.domain.run.deletion import with_deletion_started
from holdfast.domain.stored import bytes_by_destination, destinations_holding
from holdfast.protocol import DeletionOutcome, Expiry, ExpiryCandidate

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
ZONES = ["UTC", "Asia/Ho_Chi_Minh", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"]
PERIODS = {
    "keepHourly": "%Y-%m-%d %H %z",
    "keepDaily": "%Y-%m-%d",
    "keepWeekly": "%G-%V",
    "keepMonthly": "%Y-%m",
    "keepYearly": "%Y",
}
DATA = {"Succeeded", "PartiallySucceeded"}


TARGETS = ("x", "y")
"""Those of the policy; some runs have another, which the policy had before."""


def model(
    runs: Iterable[Backup], destination: str, rules: Retention | None, zone: str
) -> dict[str, set[str]]:
    """The same as `decide`, from its definition: each run is held against every other."""
    there = [each for each in runs if destination in each.destinations and each.phase.value in DATA]
    numbers = rules.to_json() if rules else {}
    if not any(number for rule, number in numbers.items() if rule.startswith("keep")):
        return {each.run: {"noRules"} for each in there}
    found: dict[str, set[str]] = {}
    for each in there:
        reasons = model_reasons(each, there, numbers, zone)
        if each.is_whole:
            reasons |= model_reasons(each, [other for other in there if other.is_whole], numbers, zone)
        for target in each.targets & set(TARGETS):
            holders = [other for other in there if target in other.targets]
            reasons |= model_reasons(each, holders, numbers, zone)
        found[each.run] = reasons
    return found


def model_reasons(run: Backup, peers: list[Backup], numbers: dict[str, Any], zone: str) -> set[str]:
    newer = [peer for peer in peers if (peer.recovery_point, peer.run) > (run.recovery_point, run.run)]
    reasons = set()
    if not newer:
        reasons.add("newest")
    if len(newer) < numbers.get("keepLast", 0):
        reasons.add("keepLast")
    if run.is_verified and sum(peer.is_verified for peer in newer) < max(numbers["minVerified"], 1):
        reasons.add("minVerified")
    for rule, pattern in PERIODS.items():
        if rule not in numbers:
            continue
        mine = period(run, pattern, zone)
        later = {period(peer, pattern, zone) for peer in newer}
        if mine not in later and len(later) < numbers.get(rule, 0):
            reasons.add(rule)
    return reasons


@lru_cache(1000)
def period(run: Backup, pattern: str, zone: str) -> str:
    assert run.recovery_point is not None
    return run.recovery_point.astimezone(ZoneInfo(zone)).strftime(pattern)


def random_rules(chance: random.Random) -> Retention | None:
    if chance.random() < 0.1:
        return None
    fields = ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"]
    chosen = {field: chance.choice([0, 1, 2, 3, 7]) for field in fields if chance.random() < 0.4}
    return Retention(**chosen, min_verified=chance.choice([0, 1, 1, 2, 4]))


def random_history(chance: random.Random, destinations: list[str]) -> list[Backup]:
    """Runs a few minutes, hours, days or weeks apart, around changes of the clocks as well."""
    moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(20_000))
    step = chance.choice([timedelta(minutes=17), timedelta(hours=1), timedelta(days=1), timedelta(days=6)])
    runs = []
    for number in range(chance.choice([0, 1, 2, 5, 8, 12, 25])):
        moment += step * chance.choice([0, 1, 1, 1, 2, 9])
        phase = chance.choices(list(RunPhase), [1, 1, 1, 30, 6, 6, 1, 1, 1, 1])[0]
        is_whole = chance.random() < 0.8
        held = TARGETS if is_whole else chance.choice([("x",), ("y",), ("former",), ("x", "former")])
        runs.append(
            Backup(
                run=f"r{number:02}",
                phase=phase,
                recovery_point=moment,
                destinations=frozenset(name for name in destinations if chance.random() < 0.9),
                is_whole=is_whole,
                is_verified=chance.random() < 0.2,
                targets=frozenset(held),
            )
        )
    chance.shuffle(runs)
    return runs


def compare(chance: random.Random) -> tuple[int, int]:
    """Hold one random history against the model; how many runs are kept, and how many go."""
    destinations = ["a", "b"]
    runs, zone = random_history(chance, destinations), chance.choice(ZONES)
    rules = {name: random_rules(chance) for name in destinations}
    kept = gone = 0
    for name, verdicts in decide(runs, rules, ZoneInfo(zone), TARGETS).items():
        found = {verdict.backup.run: set(verdict.reasons) for verdict in verdicts}
        assert len(found) == len(verdicts)
        assert found == model(runs, name, rules[name], zone)
        kept += sum(map(bool, found.values()))
        gone += sum(not reasons for reasons in found.values())
        verified = [v.backup for v in verdicts if v.backup.is_verified]
        backups = [verdict.backup for verdict in verdicts]
        holders = [[backup for backup in backups if target in backup.targets] for target in TARGETS]
        whole = [backup for backup in backups if backup.is_whole]
        for newest in (backups[:1], whole[:1], verified[:1], *(group[:1] for group in holders)):
            for backup in newest:
                assert found[backup.run]
    return kept, gone


@pytest.mark.parametrize("count", amounts(2_000, 10_000))
def test_random_histories_as_in_the_model(count: int) -> None:
    chance = random.Random(20261123)
    outcomes = [compare(chance) for _ in range(count)]
    assert sum(kept for kept, _ in outcomes) > count
    assert sum(gone for _, gone in outcomes) > count


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_random_histories_that_shrink(chance: random.Random) -> None:
    compare(chance)


def newest_of(moments: list[datetime], pattern: str, number: int) -> set[datetime]:
    """The newest moment of each of the last periods that have one."""
    by_period = {moment.strftime(pattern): moment for moment in moments}
    return set(list(by_period.values())[-number:])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_five_years_of_daily_runs(seed: int) -> None:
    """Each night what was due goes; a run in seven fails, one in twenty lacks a target, few are verified."""
    chance, zone = random.Random(seed), ZoneInfo("Asia/Ho_Chi_Minh")
    rules = Retention(keep_daily=30, keep_weekly=12, keep_monthly=12, keep_yearly=7)
    stored: list[Backup] = []
    whole: list[datetime] = []
    newest_verified = ""
    for day in range(5 * 365 + 1):
        moment = datetime(2021, 11, 24, 2, 0, 5, tzinfo=zone) + timedelta(days=day)
        kind = chance.choices(["whole", "partial", "failed"], [16, 1, 3])[0]
        phase = {"whole": RunPhase.SUCCEEDED, "partial": RunPhase.PARTIALLY_SUCCEEDED}.get(
            kind, RunPhase.FAILED
        )
        verified = kind == "whole" and chance.random() < 0.004
        run = Backup(
            f"r-{moment:%Y%m%d}", phase, moment, frozenset({"a"}), kind == "whole", verified, frozenset("x")
        )
        stored.append(run)
        newest_verified = run.run if verified else newest_verified
        whole += [moment] if kind == "whole" else []
        due = {v.backup.run for v in decide(stored, {"a": rules}, zone, ("x",))["a"] if not v.reasons}
        stored = [each for each in stored if each.run not in due]
        assert not newest_verified or newest_verified in {each.run for each in stored}
    assert newest_verified
    expected = (
        newest_of(whole, "%Y-%m-%d", 30)
        | newest_of(whole, "%G-%V", 12)
        | newest_of(whole, "%Y-%m", 12)
        | newest_of(whole, "%Y", 7)
    )
    names = {f"r-{moment:%Y%m%d}" for moment in expected} | {newest_verified}
    assert {each.run for each in stored if each.is_whole and each.phase is RunPhase.SUCCEEDED} == names
    assert 45 < len(names) < 60
    # Those that lack a target go as if they were whole: none is older than what the rules reach back to.
    partial = [each for each in stored if each.phase is RunPhase.PARTIALLY_SUCCEEDED]
    assert len(partial) <= 30 + 12 + 12 + 7


@pytest.mark.parametrize("part", ["x", "y"])
def test_runs_of_a_part_replace_no_run_of_another_target(part: str) -> None:
    """No run is whole: one had x and y, of three targets; then there are only runs of a part."""

    def backup(day: int, *targets: str) -> Backup:
        moment = datetime(2026, 11, day, tzinfo=UTC)
        held = frozenset(targets)
        return Backup(f"d{day}", RunPhase.SUCCEEDED, moment, frozenset("a"), is_whole=False, targets=held)

    runs = [backup(1, "x", "y"), *(backup(day, part) for day in range(2, 9))]
    found = decide(runs, {"a": Retention(keep_last=3)}, ZoneInfo("UTC"), ("x", "y", "z"))["a"]
    assert [ruling.backup.run for ruling in found if ruling.reasons] == ["d8", "d7", "d6", "d1"]
    # What the policy has no longer is kept by nothing but the number.
    found = decide(runs, {"a": Retention(keep_last=3)}, ZoneInfo("UTC"), (part,))["a"]
    assert [ruling.backup.run for ruling in found if ruling.reasons] == ["d8", "d7", "d6"]


def test_a_calendar_that_was_worked_out_by_hand() -> None:
    days = [date(2026, 11, 23) - timedelta(days=back) for back in range(10)]
    runs = [
        Backup(
            f"d{day:%m%d}",
            RunPhase.SUCCEEDED,
            datetime(day.year, day.month, day.day, 2, tzinfo=UTC),
            frozenset("a"),
        )
        for day in days
    ]
    found = decide(runs, {"a": Retention(keep_daily=2, keep_weekly=3)}, ZoneInfo("UTC"), ())["a"]
    assert {v.backup.run: v.reasons for v in found if v.reasons} == {
        "d1123": ("keepDaily", "keepWeekly", "newest"),  # a Monday
        "d1122": ("keepDaily", "keepWeekly"),
        "d1115": ("keepWeekly",),
    }


A = {"name": "a", "s3": {"bucket": "backups"}}
B = {"name": "b", "required": False, "volume": {"claimName": "more"}}


def policy(plan: RetentionPlan | None = None, **fields: Any) -> BackupPolicy:
    status = BackupPolicyStatus(retention_plan=plan)
    return factories.policy(status=status, **{"destinations": [A, B], "timeZone": "UTC"} | fields)


def run(
    day: int, places: Iterable[dict[str, Any]] = (A, B), *, phase: str = "Succeeded", **status: Any
) -> BackupRun:
    names = [destination["name"] for destination in places]
    body = {
        "phase": phase,
        "recoveryPoint": f"2026-11-{day:02}T02:00:05Z",
        "destinations": list(places),
        "copies": "2/2",
        "targets": [stored_target(*names)],
    } | status
    return factories.run(f"r{day:02}", status=body)


def going(plan: RetentionPlan | None) -> dict[str, list[str]]:
    return {each.destination: [due.run for due in each.delete] for each in plan.destinations} if plan else {}


LAST: dict[str, Any] = {"retention": {"keepLast": 2}}


def test_the_plan_names_what_goes_and_why_the_rest_stays() -> None:
    places = [A, B | {"retention": {"keepLast": 1, "dryRun": True}}]
    plan, notices = next_plan(policy(**LAST, destinations=places), rows([run(d) for d in (1, 2, 3)]), NOW)
    assert plan is not None
    assert plan.to_json() == {
        "time": "2026-11-23T02:00:00Z",
        "destinations": [
            {
                "destination": "a",
                "dryRun": False,
                "delete": [{"run": "r01", "since": "2026-11-23T02:00:00Z"}],
                "deleteBytes": 1,
                "keep": [
                    {"run": "r03", "reasons": ["keepLast", "newest"]},
                    {"run": "r02", "reasons": ["keepLast"]},
                ],
            },
            {
                "destination": "b",
                "dryRun": True,
                "delete": [
                    {"run": "r01", "since": "2026-11-23T02:00:00Z"},
                    {"run": "r02", "since": "2026-11-23T02:00:00Z"},
                ],
                "deleteBytes": 2,
                "keep": [{"run": "r03", "reasons": ["keepLast", "newest"]}],
            },
        ],
    }
    assert [notice.message for notice in notices] == [
        "destination a: 1 run goes when the next run is committed: r01",
        "destination b: 2 runs would go, but for dryRun: r01, r02",
    ]


def test_bytes_that_the_next_commit_frees_are_those_that_nothing_holds() -> None:
    runs = [run(d, sizeBytes=10 * d) for d in (1, 2, 3, 4)]
    plan, _ = next_plan(policy(retention={"keepLast": 1}), rows(runs), NOW)
    assert plan is not None
    assert [each.delete_bytes for each in plan.destinations] == [60, 60]
    locked = record_expiry(runs[2], {"a": DeletionOutcome.LOCKED, "b": DeletionOutcome.UNTOUCHED}, NOW).status
    refused = record_expiry(runs[1], {"a": DeletionOutcome.REFUSED}, NOW).status
    tried = [
        each.model_copy(update={"status": status}) for each, status in ((runs[1], refused), (runs[2], locked))
    ]
    later = [runs[0], *tried, runs[3]]
    plan, _ = next_plan(policy(plan, retention={"keepLast": 1}), rows(later), NOW)
    assert plan is not None
    assert [each.delete_bytes for each in plan.destinations] == [10, 60]


def test_stored_bytes_count_what_the_list_of_artifacts_leaves_out() -> None:
    assert bytes_by_destination(run(1)) == {"a": 1, "b": 1}
    assert bytes_by_destination(run(1, sizeBytes=900)) == {"a": 900, "b": 900}
    assert bytes_by_destination(run(1, phase="Failed")) == {}
    two = [{"name": n, "engine": "redis", "phase": "Succeeded", "artifacts": [
        {"destination": d, "uri": "s3://x", "sizeBytes": 1, "sha256": SHA} for d in places]}
        for n, places in (("t", "ab"), ("u", "a"))]  # fmt: skip
    assert bytes_by_destination(run(1, sizeBytes=900, targets=two)) == {"a": 900, "b": 1}


def test_a_plan_that_did_not_change_is_told_once_and_keeps_its_moments() -> None:
    runs = [run(d) for d in (1, 2, 3)]
    first, _ = next_plan(policy(**LAST), rows(runs), NOW)
    assert next_plan(policy(first, **LAST), rows(runs), NOW + timedelta(hours=1)) == (first, ())
    second, notices = next_plan(policy(first, **LAST), rows([*runs, run(4)]), NOW)
    assert second is not None
    since = {due.run: due.since for due in second.destinations[0].delete}
    assert since == {"r01": NOW, "r02": NOW + timedelta(seconds=1)}
    assert second.time == NOW + timedelta(seconds=1), "never the time of an earlier plan"
    assert len(notices) == 2
    assert all(notice.message.endswith(": r02") for notice in notices)


@pytest.mark.parametrize("fields", [{}, LAST], ids=["without retention", "with retention"])
def test_a_run_that_is_purged_is_not_announced(fields: dict[str, Any]) -> None:
    purged = run(1)
    purged = purged.model_copy(update={"status": with_deletion_started(purged.status)})
    plan, notices = next_plan(policy(**fields), rows([purged, run(2), run(3)]), NOW)
    assert going(plan) == {"a": ["r01"], "b": ["r01"]}
    assert notices == ()


def many_runs() -> list[BackupRun]:
    """250, a day apart: r000 is the newest."""
    runs = []
    for number in range(250):
        each = run(1)
        moment = NOW - timedelta(days=number)
        metadata = each.metadata.model_copy(update={"name": f"r{number:03}"})
        status = each.status.model_copy(update={"recovery_point": moment})
        runs.append(each.model_copy(update={"metadata": metadata, "status": status}))
    return runs


@pytest.mark.parametrize(
    "outcome", [DeletionOutcome.LOCKED, DeletionOutcome.REFUSED, DeletionOutcome.UNTOUCHED]
)
def test_copies_that_commits_cannot_delete_keep_no_others_from_being_deleted(
    outcome: DeletionOutcome,
) -> None:
    runs = many_runs()
    for number, each in enumerate(runs[150:], 150):
        runs[number] = each.model_copy(
            update={"status": record_expiry(each, dict.fromkeys("ab", outcome), NOW).status}
        )
    plan, _ = next_plan(policy(retention={"keepLast": 120}), rows(runs), NOW)
    assert plan is not None
    listed = {due.run for due in plan.destinations[0].delete}
    others = {f"r{number}" for number in range(120, 150)}
    assert len(listed) == MAX_PLANNED
    assert (others <= listed) is (outcome is not DeletionOutcome.UNTOUCHED)


def test_a_long_plan_is_cut_and_the_oldest_goes_first() -> None:
    plan, _ = next_plan(policy(retention={"keepLast": 120}), rows(many_runs()), NOW)
    assert plan is not None
    shown = plan.destinations[0]
    assert (len(shown.delete), shown.delete_omitted) == (MAX_PLANNED, 30)
    assert (len(shown.keep), shown.keep_omitted) == (MAX_KEPT_LISTED, 100)
    assert shown.delete[0].run == "r249"
    assert shown.keep[0].run == "r000"


@pytest.mark.parametrize("retention", [None, {}, {"keepLast": 0, "keepDaily": 0}, {"minVerified": 3}])
def test_without_a_number_everything_is_kept(retention: dict[str, Any] | None) -> None:
    fields: dict[str, Any] = {} if retention is None else {"retention": retention}
    plan, notices = next_plan(policy(**fields), rows([run(d) for d in (1, 2, 3)]), NOW)
    assert (plan is None) is (retention is None)
    assert going(plan) == ({} if plan is None else {"a": [], "b": []})
    assert notices == ()


def test_what_does_not_count() -> None:
    moved = A | {"s3": {"bucket": "elsewhere"}}
    lacking = {"targets": [{"name": "a", "engine": "redis", "phase": "Failed"}]}
    assert backup_of(row_of(run(1, [moved, B])), policy().spec.destinations).destinations == {"b"}
    assert backup_of(row_of(run(1, phase="Failed")), policy().spec.destinations).destinations == set()
    assert backup_of(row_of(run(1, phase="PartiallySucceeded", **lacking)), ()).is_whole is False
    condition = {"type": "Verified", "reason": "Drill", "lastTransitionTime": "2026-11-23T02:00:00Z"}
    for status, verified in (("True", True), ("False", False), ("Unknown", False)):
        assert (
            backup_of(row_of(run(1, conditions=[condition | {"status": status}])), ()).is_verified is verified
        )


@pytest.mark.parametrize("data", [None, "torn"])
def test_a_zone_that_is_unknown_here_stops_the_deletion_and_says_so(
    data: str | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if data is not None:
        (tmp_path / "Mars").mkdir()
        (tmp_path / "Mars" / "Olympus").write_text(data)
        zoneinfo.reset_tzpath([str(tmp_path)])
        request.addfinalizer(zoneinfo.reset_tzpath)
    lost = policy(**LAST, timeZone="Mars/Olympus")
    plan, notices = next_plan(lost, rows([run(d) for d in (1, 2, 3)]), NOW)
    assert plan is None
    assert [notice.reason for notice in notices] == ["RetentionPaused"]


def newer(where: str = "policy") -> BackupPolicy:
    """A policy whose retention has a rule of a newer release, in its own section or a destination's."""
    made = policy(**LAST)
    spec = made.spec.to_json()
    section = spec["retention"] if where == "policy" else spec["destinations"][0]
    if where == "destination":
        section = section.setdefault("retention", {"keepLast": 1})
    section["keepQuarterly"] = 8
    return BackupPolicy.from_object(
        {"metadata": made.metadata.model_dump(mode="json", by_alias=True), "spec": spec}
    )


@pytest.mark.parametrize("where", ["policy", "destination"])
def test_a_rule_of_a_newer_release_pauses_retention_where_it_counts(where: str) -> None:
    subject, runs = newer(where), [run(day) for day in (1, 2, 3)]
    assert not subject.problem, "backups go on"
    shown, notices = next_plan(subject, rows(runs), NOW)
    assert (going(shown) or {}).keys() == (set() if where == "policy" else {"b"})
    assert [(notice.reason, notice.warning) for notice in notices][:1] == [("RetentionPaused", True)]
    assert "does not know keepQuarterly" in notices[0].message
    conditions = with_pause(subject, (), NOW)
    assert [(one.type, one.status, one.reason) for one in conditions] == [
        ("RetentionActive", "False", "RetentionPaused")
    ]
    assert with_pause(policy(**LAST), conditions, NOW) == (), "after the upgrade nothing is left of it"


def test_a_commit_deletes_nothing_by_rules_that_are_not_all_known() -> None:
    """The plan may have been shown by the newer release, and the run started by it."""
    runs = [run(day) for day in (1, 2, 3)]
    plan, _ = next_plan(policy(**LAST), rows(runs), NOW)
    status = BackupPolicyStatus(retention_plan=plan)
    going = factories.run("now", status={
        "phase": "Committing", "retentionPlanTime": NOW, "destinations": runs[0].status.destinations,
    })  # fmt: skip
    known = policy(**LAST).model_copy(update={"status": status})
    assert expiries(known, going, rows(runs), ()), "as this release would have it"
    subject = newer().model_copy(update={"status": status})
    assert expiries(subject, going, rows(runs), ()) == ()


def test_a_run_that_cannot_be_marked_stays_and_the_others_go() -> None:
    candidates = [ExpiryCandidate(run=name, recovery_point=NOW) for name in ("a", "b")]
    wanted = [Expiry(destination=name, delete=tuple(candidates), keep=()) for name in ("one", "two")]
    left = without_run(wanted, "a")
    assert [(one.destination, [held.run for held in one.delete]) for one in left] == [
        ("one", ["b"]), ("two", ["b"]),
    ]  # fmt: skip


def handed(
    shown: RetentionPlan | None, runs: list[BackupRun], started_with: datetime | None, in_use: str = "",
    **fields: Any,
) -> dict[str, list[str]]:  # fmt: skip
    """By destination: what the commit of r09 would delete."""
    committing = run(9, phase="Committing", retentionPlanTime=started_with)
    found = expiries(policy(shown, **fields), committing, rows([*runs, committing]), {in_use})
    return {each.destination: [held.run for held in each.delete] for each in found}


def test_only_what_was_shown_before_the_run_started_goes() -> None:
    runs = [run(d) for d in (1, 2, 3, 4)]
    shown, _ = next_plan(policy(**LAST), rows(runs), NOW)
    assert shown is not None
    both = {"a": ["r01", "r02"], "b": ["r01", "r02"]}
    assert handed(shown, runs, shown.time, **LAST) == both
    assert handed(shown, runs, NOW - timedelta(seconds=1), **LAST) == {}
    assert handed(shown, runs, None, **LAST) == {}
    assert handed(None, runs, NOW, **LAST) == {}
    # The rules of now have their say too: stricter ones show their plan first, laxer ones hold at once.
    assert handed(shown, runs, NOW, retention={"keepLast": 1}) == both
    assert handed(shown, runs, NOW, retention={"keepLast": 3}) == {"a": ["r01"], "b": ["r01"]}
    assert handed(shown, runs, NOW) == {}
    assert handed(shown, runs, NOW, retention={"keepLast": 2, "dryRun": True}) == {}
    assert handed(shown, runs, NOW, "r01", **LAST) == {"a": ["r02"], "b": ["r02"]}
    moved: list[dict[str, Any]] = [A, B | {"volume": {"claimName": "other"}}]
    assert handed(shown, [run(d, moved) for d in (1, 2, 3, 4)], NOW, **LAST) == {"a": ["r01", "r02"]}


ONE_PLACE: list[dict[str, Any]] = [A, A | {"name": "b"}]
"""Two names of one place: an older version stored runs so."""


def test_a_commit_deletes_nothing_in_a_place_that_two_destinations_share() -> None:
    """A run that an operator without that rule had started may still be committed."""
    runs = [run(d, ONE_PLACE[:1]) for d in (1, 2, 3)]
    shown, _ = next_plan(policy(destinations=ONE_PLACE[:1], **LAST), rows(runs), NOW)
    assert shown is not None
    committing = run(9, ONE_PLACE, phase="Committing", retentionPlanTime=shown.time)
    assert expiries(policy(shown, destinations=ONE_PLACE, **LAST), committing, rows(runs), ()) == ()


def test_nothing_is_announced_for_a_place_that_two_destinations_share() -> None:
    runs = [run(d, ONE_PLACE[:1]) for d in (1, 2, 3)]
    assert next_plan(policy(destinations=ONE_PLACE, **LAST), rows(runs), NOW) == (None, ())


@pytest.mark.parametrize("mended", [ONE_PLACE[:1], [A, B]], ids=["taken away", "moved"])
def test_a_run_stored_under_two_names_of_one_place_stays(mended: list[dict[str, Any]]) -> None:
    """What retention deletes in one of them would be gone in the other too."""
    runs = [run(d, ONE_PLACE) for d in (1, 2, 3)]
    shown, notices = next_plan(policy(destinations=mended, **LAST), rows(runs), NOW)
    assert notices == ()
    committing = run(9, mended, phase="Committing", retentionPlanTime=NOW)
    assert expiries(policy(shown, destinations=mended, **LAST), committing, rows(runs), ()) == ()


def test_what_is_deleted_under_one_name_of_a_place_is_gone_under_the_other() -> None:
    """A commit that an operator without that rule had started may still say so."""
    step = record_expiry(run(1, ONE_PLACE), {"a": DeletionOutcome.DELETED}, NOW)
    assert (step.status.phase, step.status.reason) == (RunPhase.EXPIRED, "RetentionExpired")
    assert [copy.destination for copy in step.status.expiring if copy.gone] == ["a", "b"]


def test_a_plan_that_grows_while_a_run_is_under_way_waits_for_the_next() -> None:
    runs = [run(d) for d in (1, 2, 3)]
    first, _ = next_plan(policy(**LAST), rows(runs), NOW)
    second, _ = next_plan(policy(first, **LAST), rows([*runs, run(4)]), NOW)
    assert first is not None
    assert second is not None
    assert handed(second, [*runs, run(4)], first.time, **LAST) == {"a": ["r01"], "b": ["r01"]}
    assert handed(second, [*runs, run(4)], second.time, **LAST)["a"] == ["r01", "r02"]


def test_the_job_is_told_the_newest_of_what_stays() -> None:
    condition = {
        "type": "Verified",
        "status": "True",
        "reason": "D",
        "lastTransitionTime": "2026-11-01T00:00:00Z",
    }
    runs = [run(d) for d in range(2, 9)] + [run(1, conditions=[condition])]
    shown, _ = next_plan(policy(retention={"keepLast": 6}), rows(runs), NOW)
    committing = run(9, phase="Committing", retentionPlanTime=NOW)
    found = expiries(policy(shown, retention={"keepLast": 6}), committing, rows(runs), ())
    assert [held.run for held in found[0].delete] == ["r02"]
    assert [held.run for held in found[0].keep] == ["r08", "r07", "r06", "r05", "r04", "r01"]
    assert [held.run for held in found[0].keep if held.verified] == ["r01"]
    assert Expiry.model_validate(found[0].to_json()) == found[0]


def test_a_copy_whose_deletion_began_is_due_whatever_the_rules_say() -> None:
    whole = run(1)
    status = with_expiry_marked(whole, ["a"])
    broken = whole.model_copy(update={"status": status})
    assert destinations_holding(broken) == {"b"}
    plan, _ = next_plan(policy(), rows([broken, run(2)]), NOW)
    assert going(plan) == {"a": ["r01"]}
    assert handed(plan, [broken, run(2)], NOW) == {"a": ["r01"]}
    assert handed(plan, [broken, run(2)], NOW, retention={"keepLast": 9}) == {"a": ["r01"]}


def settled(of: BackupRun, **outcomes: DeletionOutcome) -> tuple[BackupRun, list[str]]:
    step = record_expiry(of, outcomes, NOW)
    return of.model_copy(update={"status": step.status}), [notice.reason for notice in step.notices]


def test_a_run_expires_with_its_last_copy() -> None:
    both = run(1)
    begun = both.model_copy(update={"status": with_expiry_marked(both, ["a", "b"])})
    one, told = settled(begun, a=DeletionOutcome.DELETED, b=DeletionOutcome.LOCKED)
    assert (one.status.phase, one.status.copies) == (RunPhase.SUCCEEDED, "1/2")
    assert destinations_holding(one) == {"b"}
    assert told == ["CopyDeleted"]
    assert [(each.destination, each.gone) for each in one.status.expiring] == [("b", False), ("a", True)]
    assert "locked" in (one.status.expiring[0].message or "")
    none, told = settled(one, b=DeletionOutcome.DELETED)
    assert (none.status.phase, none.status.reason, none.status.copies) == (
        RunPhase.EXPIRED, "RetentionExpired", "0/2",
    )  # fmt: skip
    assert (told, destinations_holding(none)) == (["RetentionExpired"], set())
    assert complete(none.status) == ("False", "RetentionExpired", none.status.message)
    assert all(each.gone and not each.begun for each in none.status.expiring)
    assert settled(none, b=DeletionOutcome.DELETED) == (none, [])


@pytest.mark.parametrize(
    "outcome", [DeletionOutcome.LOCKED, DeletionOutcome.REFUSED, DeletionOutcome.UNTOUCHED]
)
def test_a_copy_that_is_whole_is_restored_from_again(outcome: DeletionOutcome) -> None:
    begun = run(1).model_copy(update={"status": with_expiry_marked(run(1), ["a"])})
    assert destinations_holding(begun) == {"b"}
    again, told = settled(begun, a=outcome)
    assert (destinations_holding(again), told) == ({"a", "b"}, [])


def test_a_copy_that_may_be_partly_gone_is_not() -> None:
    begun = run(1).model_copy(update={"status": with_expiry_marked(run(1), ["a"])})
    assert settled(begun, a=DeletionOutcome.FAILED) == (begun, [])
    assert settled(begun) == (begun, [])
