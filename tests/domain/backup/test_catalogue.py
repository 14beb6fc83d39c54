"""Runs that come back from a catalogue, and those that it has no more."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import factories
from tests.factories import REDIS, complete, rows

from holdfast.api.conditions import find_condition
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus, CatalogueProblem
from holdfast.api.profile import DestinationProfile
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun, Failure, Progress, RunPhase, Source
from holdfast.domain.backup import catalogue, survey
from holdfast.domain.backup.catalogue import (
    DATA_GONE,
    Page,
    PageDecision,
    imported_run,
    imported_status,
    page_of,
)
from holdfast.domain.backup.retention import backup_of
from holdfast.domain.backup.survey import PageRecord
from holdfast.domain.labels import IMPORTED, STARTED
from holdfast.domain.policy.history import runs_to_prune
from holdfast.domain.restoration import RunOrigin
from holdfast.domain.rows import row_of
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing, is_waiting
from holdfast.domain.stored import destinations_holding
from holdfast.domain.targets import JobFacts
from holdfast.domain.turns import Place
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import (
    BackupResult,
    CommitResult,
    CommitTask,
    CommittedTarget,
    Omission,
    StoredArtifact,
    SurveyedDamage,
    SurveyedRun,
    SurveyResult,
)
from holdfast.runner.stored.entry import entry_of
from holdfast.runner.stored.manifest import EncryptionRecord, Manifest, ManifestArtifact, StoredObject
from holdfast.runner.tasks.survey import _Lines, _surveyed

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
THEN = NOW - timedelta(days=3)
HOURS = timedelta(hours=6)
PLACES = ("one", "two", "three")
JOB = Job("j", "ns", "ju", "ru", "t", "Backup", "", "", NOW)


def decide(by: BackupPolicy, runs: Sequence[BackupRun], found: Page, now: datetime) -> PageDecision:
    """What a page makes of runs; those that need not be read whole would not change by it."""
    listed = rows(runs)
    to_read = {row.name for row in catalogue.to_compare(by, listed, found)}
    read = [run for run in runs if run.metadata.name in to_read]
    decision = catalogue.decide(by, listed, read, found, now)
    same = [
        run
        for run in runs
        if found.covers(name := run.metadata.name)
        and (name not in found.runs or found.runs[name].run_uid == row_of(run).original_uid)
    ]
    assert catalogue.decide(by, listed, same, found, now) == decision
    return decision


def policy(*places: str, targets: Sequence[str] = ("a", "b"), **status: Any) -> BackupPolicy:
    """Its first destination is required, the others are not."""
    destinations = [
        {"name": name, "s3": {"bucket": f"bucket-{name}"}, "required": number == 0}
        for number, name in enumerate(places or PLACES[:2])
    ]
    return factories.policy(
        metadata={"generation": 4, "creationTimestamp": "2025-12-01T00:00:00Z"},
        status=BackupPolicyStatus.model_validate(status),
        targets=factories.targets(*targets),
        destinations=destinations,
    )


def run(name: str = "r", uid: str = "ru", **spec: Any) -> BackupRun:
    return factories.run(name, metadata={"uid": uid}, **spec)


def lacks(count: int) -> tuple[Omission, ...]:
    return tuple(Omission(what=f"thing {number}", reason="TestLeftOut") for number in range(count))


def manifest(of: BackupRun, target: str, artifacts: int, moment: datetime, encrypted: bool) -> Manifest:
    """What a target's backup Job has written."""
    stored = tuple(
        ManifestArtifact(
            name=f"{number}", plain_bytes=9, objects=(
                StoredObject(
                    key=f"x/{number}.zst", size_bytes=number + 1, s3_checksum="",
                    sha256=hashlib.sha256(f"{target}{number}".encode()).hexdigest(),
                ),
            ),
        )
        for number in range(artifacts)
    )  # fmt: skip
    return Manifest(
        tool_version="1", namespace="ns", policy="p", run=of.metadata.name, run_uid=of.metadata.uid or "",
        target=target, engine="redis", attempt="x", spec=REDIS, snapshot_time=moment, started_time=moment,
        completed_time=moment + timedelta(seconds=5), contents={"keys": artifacts}, detail={},
        source=Source(address="redis:1", role="Standby", version="7"), artifacts=stored,
        encrypted=EncryptionRecord(recipients=("age1x",)) if encrypted else None,
        retain_until={PLACES[0]: moment + timedelta(days=30)},
    )  # fmt: skip


def result(of: Manifest, places: Sequence[str]) -> BackupResult:
    """What the Job has told the operator."""
    return BackupResult(
        snapshot_time=of.snapshot_time, source=of.source, contents=of.contents, plain_bytes=1,
        size_bytes=of.size_bytes, encrypted=of.encrypted is not None,
        manifest_sha256=hashlib.sha256(of.encode()).hexdigest(), destinations=tuple(places),
        retain_until=of.retain_until, omissions=of.omissions,
        artifacts=tuple(
            StoredArtifact(name=each.key, size_bytes=each.size_bytes, sha256=each.sha256)
            for each in of.objects
        ),
    )  # fmt: skip


def backed_up(
    of: BackupRun, by: BackupPolicy, manifests: Sequence[Manifest], places: Sequence[str]
) -> BackupRun:
    """A run by the ordinary way, with its targets' manifests in these places; the other targets failed."""
    begun = of.model_copy(update={"status": lifecycle.admit(of, by, Standing(), THEN).status})
    seen = {each.target: Observation(JOB, 1, THEN, THEN, result=result(each, places)) for each in manifests}
    for target in by.spec.targets:
        if of.spec.targets is not None and target.name not in of.spec.targets:
            continue
        lost = Failure(reason="Broken")
        seen.setdefault(target.name, Observation(JOB, 1, THEN, THEN, failure=lost))
    ended = begun.model_copy(
        update={"status": lifecycle.advance(begun, JobFacts(seen, timedelta(minutes=1)), THEN).status}
    )
    entry = entry_of(commit_task(of, by, manifests), list(manifests))
    committed = CommitResult(
        verified_bytes=1, recovery_point=entry.recovery_point, skew_seconds=entry.skew_seconds,
        size_bytes=entry.size_bytes, destinations=tuple(places),
    )  # fmt: skip
    observed = Observation(JOB, 1, THEN, THEN, result=committed)
    step = lifecycle.advance_commit(ended, observed, timedelta(minutes=1), THEN + timedelta(seconds=9))
    return ended.model_copy(update={"status": step.status})


def commit_task(of: BackupRun, by: BackupPolicy, manifests: Sequence[Manifest]) -> CommitTask:
    done, names = {each.target for each in manifests}, {each.name for each in by.spec.targets}
    return CommitTask(
        namespace="ns", policy="p", run=of.metadata.name, run_uid=of.metadata.uid or "",
        trigger=of.spec.trigger, scheduled_time=of.spec.scheduled_time, destinations=by.spec.destinations,
        targets=tuple(
            CommittedTarget(name=each.target, engine="redis", destinations=(),
                            manifest_sha256=hashlib.sha256(each.encode()).hexdigest())
            for each in manifests
        ),
        failed_targets=tuple(each.name for each in by.spec.targets if each.name not in done),
        skipped_targets=tuple(
            each.name for each in by.spec.targets if each.name not in (of.spec.targets or names)
        ),
    )  # fmt: skip


def surveyed(
    of: BackupRun, by: BackupPolicy, manifests: Sequence[Manifest], places: Sequence[str]
) -> SurveyedRun:
    """What a survey tells of the run's entry."""
    return _surveyed(entry_of(commit_task(of, by, manifests), list(manifests)), places)


def page(*runs: SurveyedRun, listed: Sequence[str] = PLACES, damaged: Sequence[SurveyedDamage] = (),
         after: str = "", last: str = "", asked: datetime = NOW) -> Page:  # fmt: skip
    """A page as it comes out of a log."""
    lines = _Lines()
    lines.add((*runs, *damaged))
    log = b'a line\n{"step":"x"}\n' + b"".join(lines._encoded) + b"the end"
    told = SurveyResult(listed=tuple(listed), last=last, lines=lines.count, sha256=lines.sha256)
    found = page_of(told, log, after, asked)
    assert found is not None
    return found


def simple(
    name: str = "r", uid: str = "ru", places: Sequence[str] = PLACES[:2]
) -> tuple[BackupRun, SurveyedRun]:
    """A run of both targets in these places, and its entry."""
    of = run(name, uid)
    manifests = [manifest(of, target, 2, THEN, encrypted=False) for target in ("a", "b")]
    return backed_up(of, policy(), manifests, places), surveyed(of, policy(), manifests, places)


def imported(found: SurveyedRun, by: BackupPolicy | None = None) -> BackupRun:
    """The run as it is brought back, in a cluster that gives it another UID."""
    by = by or policy()
    made = imported_run(by, found)
    made = made.model_copy(update={"metadata": made.metadata.model_copy(update={"uid": "other"})})
    status = imported_status(by, made, found, PLACES, NOW)
    return made.model_copy(update={"status": status})


KEPT = (
    *("recovery_point", "skew_seconds", "size_bytes", "copies", "destinations", "phase", "expiring"),
    *("omissions", "omissions_omitted"),
)
KEPT_OF_TARGETS = (
    *("name", "engine", "phase", "snapshot_time", "source", "contents", "manifest_sha256", "artifacts"),
    "warning_reason",
)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_run_comes_back_as_it_was(data: st.DataObject) -> None:
    places = PLACES[: data.draw(st.integers(1, 3))]
    held_in = [places[0], *data.draw(st.sets(st.sampled_from(places))) - {places[0]}]
    held_in.sort(key=places.index)
    targets = data.draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True))
    good = data.draw(st.lists(st.sampled_from(targets), min_size=1, unique=True))
    by = policy(*places, targets=targets)
    slot = {"trigger": "Schedule", "scheduledTime": "2025-12-29T12:00:00Z"}
    wanted = [name for name in targets if name in good or data.draw(st.booleans())]
    part: dict[str, Any] = {"targets": wanted} if len(wanted) < len(targets) else {}
    of = run(uid=data.draw(st.text("abc-123", min_size=1)), **data.draw(st.sampled_from([slot, {}])), **part)
    manifests = [
        manifest(of, name, data.draw(st.integers(1, 15)),
                 THEN + timedelta(seconds=data.draw(st.integers(0, 99))), encrypted=data.draw(st.booleans()))
        .model_copy(update={"omissions": lacks(data.draw(st.sampled_from((0, 0, 1, 3, 30))))})
        for name in targets if name in good
    ]  # fmt: skip
    before = backed_up(of, by, manifests, held_in)
    found = page(surveyed(of, by, manifests, held_in), listed=places)
    decision = decide(by, [], found, NOW)
    assert (decision.write, decision.problems) == ((), ())
    (entry,) = decision.create
    after = imported(entry, by)
    assert after.spec.model_copy(update={"targets": None}) == before.spec.model_copy(update={"targets": None})
    assert set(after.spec.targets or ()) == set(before.spec.targets or ())
    assert after.metadata.name == before.metadata.name
    assert {name: getattr(after.status, name) for name in KEPT} == {
        name: getattr(before.status, name) for name in KEPT
    }
    told = {target.name: target for target in before.status.targets}
    for target in after.status.targets:
        for name in KEPT_OF_TARGETS:
            assert getattr(target, name) == getattr(told[target.name], name), name
    assert destinations_holding(after) == destinations_holding(before)
    assert backup_of(row_of(after), by.spec.destinations) == backup_of(row_of(before), by.spec.destinations)
    reason = after.status.reason or after.status.phase
    assert complete(after.status) == ("True", reason, after.status.message)
    # Neither does another look change anything, nor is what the ordinary way has left changed.
    assert decide(by, [after], found, NOW).write == ()
    assert decide(by, [before], found, NOW) == catalogue.PageDecision((), (), (), ())


def test_a_log_that_is_not_whole_is_noticed() -> None:
    lines = _Lines()
    lines.add(simple(f"r{number}")[1] for number in range(3))
    told = SurveyResult(listed=PLACES, lines=lines.count, sha256=lines.sha256)
    log = b"".join(lines._encoded)
    assert page_of(told, log, "", NOW) is not None
    for damaged in (log[:-5], log[5:], log + lines._encoded[0], b"".join(lines._encoded[1:]), b""):
        assert page_of(told, damaged, "", NOW) is None


def test_what_is_unfinished_never_starts_and_is_finished() -> None:
    _, entry = simple()
    made = imported_run(policy(), entry)
    made = made.model_copy(update={"metadata": made.metadata.model_copy(update={"uid": "other"})})
    assert made.metadata.annotations == {IMPORTED: "ru"}
    assert not is_waiting(row_of(made))
    decision = decide(policy(), [made], page(entry), NOW)
    ((_, status),) = decision.write
    assert status == imported(entry).status
    # Its entry has vanished before that.
    ((_, status),) = decide(policy(), [made], page(), NOW).write
    assert (status.phase, status.reason) == (RunPhase.EXPIRED, DATA_GONE)
    assert complete(status) == ("False", DATA_GONE, status.message)


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_duplicate_of_a_run_in_the_catalogue_gets_the_status_of_that_run(has_ended: bool) -> None:
    before, entry = simple()
    metadata = before.metadata.model_copy(update={"uid": "other", "annotations": {STARTED: "ru"}})
    made = run().model_copy(update={"metadata": metadata})
    if has_ended:
        made = made.model_copy(update={"status": lifecycle.end_duplicate(made, NOW).status})
    ((_, status),) = decide(policy(), [made], page(entry), NOW).write
    assert (status.phase, status.reason, status.copies) == (RunPhase.SUCCEEDED, None, "2/2")
    assert status.targets[0].artifacts == before.status.targets[0].artifacts
    assert decide(policy(), [made.model_copy(update={"status": status})], page(entry), NOW).write == ()
    foreign = entry.model_copy(update={"run_uid": "another"})
    decision = decide(policy(), [made], page(foreign), NOW)
    assert (decision.write, len(decision.problems)) == ((), 1)


@pytest.mark.parametrize("phase", [RunPhase.PENDING, RunPhase.RUNNING, RunPhase.COMMITTING, RunPhase.FAILED])
def test_what_is_under_way_or_failed_is_left_alone(phase: RunPhase) -> None:
    before, entry = simple()
    status = before.status.model_copy(update={"phase": phase})
    there = before.model_copy(update={"status": status})
    for found in (page(entry), page()):
        assert decide(policy(), [there], found, NOW).write == ()


def test_a_run_whose_data_is_gone_is_expired_and_comes_back() -> None:
    before, entry = simple()
    decision = decide(policy(), [before], page(), NOW)
    ((_, status),) = decision.write
    assert decision.expired == ("r",)
    assert (status.phase, status.reason, status.copies) == (RunPhase.EXPIRED, DATA_GONE, "0/2")
    assert "one, two does not have it" in (status.message or "")
    assert complete(status) == ("False", DATA_GONE, status.message)
    gone = before.model_copy(update={"status": status})
    assert decide(policy(), [gone], page(), NOW).write == ()
    ((_, again),) = decide(policy(), [gone], page(entry), NOW).write
    assert again.phase is RunPhase.SUCCEEDED
    assert complete(again) == ("True", "Succeeded", again.message)
    assert again.targets[0].artifacts == before.status.targets[0].artifacts


def damage(destination: str) -> SurveyedDamage:
    return SurveyedDamage(
        run="r", destination=destination, uri=f"s3://{destination}/r.json", message="is torn"
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (page(listed=("one",)), "another destination was not listed"),
        (page(damaged=[damage("one")]), "its entry is there, if damaged"),
        (page(after="r"), "it is on an earlier page"),
        (page(last="q"), "it is on a later page"),
        (page(asked=THEN), "it had not ended when the page was asked for"),
    ],
)
def test_what_is_not_known_to_be_gone_is_not_expired(found: Page, why: str) -> None:
    before, _ = simple()
    decision = decide(policy(), [before], found, NOW)
    assert decision.expired == (), why


def test_another_place_under_the_same_name_says_nothing() -> None:
    before, entry = simple()
    moved = policy()
    places = tuple(
        each.model_copy(update={"s3": each.spec.model_copy(update={"prefix": "new"})})
        for each in moved.spec.destinations
    )
    moved = moved.model_copy(update={"spec": moved.spec.model_copy(update={"destinations": places})})
    assert decide(moved, [before], page(), NOW).write == ()
    # But where the new place has the run, that is where it is.
    ((_, status),) = decide(moved, [before], page(entry), NOW).write
    assert status.destinations == places
    assert {a.uri for a in status.targets[0].artifacts if a.destination == "one"} == {
        "s3://bucket-one/new/ns/p/r/a/x/0.zst", "s3://bucket-one/new/ns/p/r/a/x/1.zst",
    }  # fmt: skip
    assert (status.phase, status.copies) == (RunPhase.SUCCEEDED, "2/2")


def renamed(**names: str) -> BackupPolicy:
    """The policy with other names of its places; without those that are not named."""
    by = policy()
    kept = [each for each in by.spec.destinations if each.name in names]
    places = tuple(each.model_copy(update={"name": names[each.name]}) for each in kept)
    return by.model_copy(update={"spec": by.spec.model_copy(update={"destinations": places})})


@pytest.mark.parametrize(
    ("by", "names"),
    [(renamed(one="prod", two="two"), {"prod", "two"}), (renamed(two="one"), {"one"})],
    ids=["renamed", "the name of a lost one"],
)
def test_a_place_with_another_name_is_no_second_copy(by: BackupPolicy, names: set[str]) -> None:
    before, entry = simple()
    entry = entry.model_copy(update={"destinations": tuple(names)})
    ((_, status),) = decide(by, [before], page(entry, listed=tuple(names)), NOW).write
    assert {each.name for each in status.destinations} == names
    assert (status.phase, status.copies) == (RunPhase.SUCCEEDED, f"{len(names)}/{len(names)}")
    after = before.model_copy(update={"status": status})
    assert destinations_holding(after) == backup_of(row_of(after), by.spec.destinations).destinations == names
    uris = [each.uri for each in status.targets[0].artifacts]
    assert len(uris) == len(set(uris)) == 2 * len(names)
    assert decide(by, [after], page(entry, listed=tuple(names)), NOW).write == ()


def test_a_copy_that_a_survey_finds_is_missing_no_more() -> None:
    before, entry = simple(places=("one",))
    targets = tuple(
        each.model_copy(update={"missing": {"two": "DestinationFull: two"}}) for each in before.status.targets
    )
    before = before.model_copy(update={"status": before.status.model_copy(update={"targets": targets})})
    entry = entry.model_copy(update={"destinations": ("one", "two")})
    ((_, status),) = decide(policy(), [before], page(entry), NOW).write
    assert [each.missing for each in status.targets] == [None, None]


def test_copies_that_come_and_go_are_counted() -> None:
    before, entry = simple()
    fewer = entry.model_copy(update={"destinations": ("one",)})
    ((_, status),) = decide(policy(), [before], page(fewer), NOW).write
    assert (status.phase, status.reason, status.copies) == (
        RunPhase.PARTIALLY_SUCCEEDED,
        "CopyMissing",
        "1/2",
    )
    assert "two: its catalogue does not have it" in (status.message or "")
    lost = before.model_copy(update={"status": status})
    assert destinations_holding(lost) == {"one"}
    # A damaged entry is not taken for a copy that is gone, nor one that was not looked at.
    assert decide(policy(), [before], page(fewer, damaged=[damage("two")]), NOW).write == ()
    assert decide(policy(), [before], page(fewer, listed=("one",)), NOW).write == ()
    ((_, again),) = decide(policy(), [lost], page(entry), NOW).write
    assert (again.phase, again.reason, again.copies) == (RunPhase.SUCCEEDED, None, "2/2")
    assert again.targets == before.status.targets


def test_a_hook_failure_outlives_a_copy_that_vanishes_and_comes_back() -> None:
    before, entry = simple()
    failed = before.status.to_json() | factories.hook_failed_after()
    there = BackupRun.model_validate(before.to_json() | {"status": failed})
    fewer = page(entry.model_copy(update={"destinations": ("one",)}))
    ((_, status),) = decide(policy(), [there], fewer, NOW).write
    assert (status.phase, status.reason) == (RunPhase.PARTIALLY_SUCCEEDED, "CopyMissing")
    lost = there.model_copy(update={"status": status})
    ((_, again),) = decide(policy(), [lost], page(entry), NOW).write
    assert (again.phase, again.reason) == (RunPhase.PARTIALLY_SUCCEEDED, "HookFailed")
    assert again.message == "after the backup: hook go-on: no pod"
    assert complete(again) == ("True", again.reason, again.message)
    # Nor does a destination that is added and holds the run change that.
    more = page(entry.model_copy(update={"destinations": PLACES}))
    ((_, wider),) = decide(policy(*PLACES), [there], more, NOW).write
    assert (wider.copies, wider.phase, wider.reason) == ("3/3", RunPhase.PARTIALLY_SUCCEEDED, "HookFailed")


def test_a_hook_failure_outlives_data_that_was_gone() -> None:
    before, entry = simple()
    failed = before.status.to_json() | factories.hook_failed_after()
    there = BackupRun.model_validate(before.to_json() | {"status": failed})
    ((_, gone),) = decide(policy(), [there], page(), NOW).write
    expired = there.model_copy(update={"status": gone})
    ((_, again),) = decide(policy(), [expired], page(entry), NOW).write
    assert (again.phase, again.reason) == (RunPhase.PARTIALLY_SUCCEEDED, "HookFailed")


def test_what_retention_deletes_is_left_to_it() -> None:
    before, entry = simple()
    for expiring in ({"begun": True}, {"gone": True}):
        status = before.status.to_json() | {"expiring": [{"destination": "two", **expiring}]}
        there = BackupRun.model_validate(before.to_json() | {"status": status})
        fewer = entry.model_copy(update={"destinations": ("one",)})
        assert decide(policy(), [there], page(fewer), NOW).write == ()
    assert decide(policy(), [there], page(), NOW).expired == ("r",), "what retention left is gone too"


def test_a_copy_that_retention_has_deleted_is_not_missing_when_another_comes() -> None:
    before, entry = simple(places=("one",))
    status = before.status.to_json() | {"expiring": [{"destination": "two", "gone": True}]}
    there = BackupRun.model_validate(before.to_json() | {"status": status})
    more = entry.model_copy(update={"destinations": ("one", "three")})
    ((_, after),) = decide(policy(*PLACES), [there], page(more), NOW).write
    assert (after.phase, after.copies) == (RunPhase.SUCCEEDED, "2/3")


def test_a_name_that_another_run_has_is_told() -> None:
    _, entry = simple(uid="elsewhere")
    here, _ = simple(uid="here")
    decision = decide(policy(), [here], page(entry), NOW)
    assert (decision.create, decision.write, decision.expired) == ((), (), ())
    (problem,) = decision.problems
    assert problem.uri == "s3://bucket-one/ns/p/catalogue/r.json"
    assert "BackupRun r is another run" in problem.message


def test_the_recovery_point_of_a_run_without_its_name_is_in_utc() -> None:
    _, entry = simple(uid="elsewhere")
    here, _ = simple(uid="here")
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    entry = entry.model_copy(update={"recovery_point": datetime(2026, 11, 23, 7, 45, 30, tzinfo=kathmandu)})
    (problem,) = decide(policy(), [here], page(entry), NOW).problems
    assert problem.message.endswith("the one of 2026-11-23T02:00:30Z is imported")


def test_a_copy_that_could_not_be_looked_for_is_not_called_missing() -> None:
    _, entry = simple()
    found = page(entry, listed=("one",))
    status = imported_status(policy(), imported_run(policy(), entry), found.runs["r"], found.listed, NOW)
    assert (status.phase, status.copies) == (RunPhase.PARTIALLY_SUCCEEDED, "1/2")
    assert "two: it could not be read" in (status.message or "")


def test_a_restore_of_it_reads_the_catalogue() -> None:
    request = RestoreRequest.model_validate(
        {"metadata": {"name": "back"}, "spec": {"source": {"runRef": {"name": "r"}}}}
    )
    assert RunOrigin(imported(simple()[1]), policy()).plan(request) is None


def test_history_takes_it_for_as_old_as_it_is() -> None:
    old = imported(simple()[1])
    metadata = old.metadata.model_copy(update={"creation_timestamp": NOW})
    old = old.model_copy(update={"metadata": metadata})
    assert row_of(old).age[0] == THEN
    assert runs_to_prune(rows([old]), policy().spec.history.model_copy(update={"succeeded": 0})) == []


# What the policy's status says of its surveys.


def after_page(by: BackupPolicy, found: Page, now: datetime = NOW, imported: int = 0, **failures: str) -> Any:
    told = {name: Failure(reason=reason, message="why") for name, reason in failures.items()}
    problems = decide(by, [], found, now).problems
    return survey.record_page(by, found, PageRecord(imported, (), problems, told), HOURS, now)


def with_status(by: BackupPolicy, step: Any) -> BackupPolicy:
    return by.model_copy(update={"status": step.status})


def reachable(by: BackupPolicy) -> tuple[str, str, str]:
    found = find_condition(by.status.conditions, survey.CONDITION)
    assert found is not None
    return found.status, found.reason, found.message


def test_a_survey_that_waits_says_so_as_long_as_nothing_is_known() -> None:
    by, place = policy(), Place(permits=0, position=3, line_length=9, limit=4, share=2)
    by = with_status(by, survey.wait(by, place, NOW))
    assert reachable(by)[:2] == ("Unknown", "WaitingForCapacity")
    assert "as number 3 of 9" in reachable(by)[2]
    by = with_status(by, survey.start(by, NOW))
    by = with_status(by, after_page(by, page(), NOW))
    known = reachable(by)
    assert known[0] == "True"
    assert reachable(with_status(by, survey.wait(by, place, NOW))) == known


def test_a_survey_goes_through_the_pages() -> None:
    by = policy()
    assert survey.seconds_until_due(by, NOW) == 0
    by = with_status(by, survey.start(by, NOW))
    assert survey.survey_of(by) is not None
    assert survey.catalogue_of(by).job == 1
    by = with_status(by, after_page(by, page(simple("r1")[1], last="r1"), imported=1))
    going = survey.survey_of(by)
    assert going is not None
    assert (going.after, survey.catalogue_of(by).job) == ("r1", 2)
    step = after_page(by, page(simple("r2")[1], damaged=[damage("one")], after="r1"), imported=1)
    by = with_status(by, step)
    assert survey.survey_of(by) is None
    seen = survey.catalogue_of(by)
    assert (seen.runs, seen.damaged, seen.time) == (2, 1, NOW)
    assert [each.uri for each in seen.problems] == ["s3://one/r.json"]
    assert [notice.reason for notice in step.notices] == ["CatalogueEntryDamaged", "RunsImported"]
    assert "2 runs" in step.notices[1].message
    assert reachable(by)[0] == "True"
    wait = survey.seconds_until_due(by, NOW)
    assert 0.75 * 6 * 3600 <= wait <= 1.25 * 6 * 3600
    changed = policy("one").spec
    assert survey.seconds_until_due(by.model_copy(update={"spec": changed}), NOW) == 0, "other destinations"


def test_a_damaged_entry_and_a_run_without_its_name_have_their_own_events() -> None:
    by = policy()
    by = with_status(by, survey.start(by, NOW))
    wrong = damage("one")
    problems = (CatalogueProblem(uri=wrong.uri, message="another run has its name"),)
    step = survey.record_page(by, page(damaged=[wrong]), PageRecord(0, (), problems), HOURS, NOW)
    assert [(notice.reason, notice.message) for notice in step.notices] == [
        ("CatalogueEntryDamaged", f"{wrong.uri}: {wrong.message}"),
        ("RunNotBroughtBack", f"{wrong.uri}: another run has its name"),
    ]


def test_a_survey_that_finds_no_run_says_where_it_looked_and_what_names_it_needs() -> None:
    by = policy()
    by = with_status(by, survey.start(by, NOW))
    step = after_page(by, page())
    (notice,) = step.notices
    assert (notice.reason, notice.warning) == ("CatalogueEmpty", False)
    assert notice.message == (
        "s3://bucket-one/ns/p/catalogue, s3://bucket-two/ns/p/catalogue hold no run: to import runs of a "
        "lost cluster, give the namespace and the policy the names that they had there, or restore by "
        "source.location"
    )
    by = with_status(by, step)
    assert survey.empty_catalogue(by) == notice.message
    by = with_status(by, survey.start(by, NOW))
    assert after_page(by, page()).notices == (), "once for these places"
    elsewhere = by.model_copy(update={"spec": policy("one").spec})
    assert survey.empty_catalogue(elsewhere) is None, "nobody has looked there"
    ran = by.model_copy(update={"status": by.status.model_copy(update={"last_run": "r"})})
    assert survey.empty_catalogue(ran) is None, "its commit came after the survey"


def test_a_survey_of_a_policy_with_runs_or_of_a_catalogue_with_runs_says_nothing_of_the_kind() -> None:
    by = policy()
    by = with_status(by, survey.start(by, NOW))
    assert after_page(by, page(simple()[1])).notices == ()
    ran = by.model_copy(update={"status": by.status.model_copy(update={"last_run": "r"})})
    assert after_page(ran, page()).notices == ()
    full = with_status(by, after_page(by, page(simple()[1])))
    assert survey.empty_catalogue(full) is None


def test_one_run_that_is_imported_is_one() -> None:
    by = policy()
    by = with_status(by, survey.start(by, NOW))
    (notice,) = after_page(by, page(simple()[1]), imported=1).notices
    assert notice.message == "1 run was imported from the catalogue"


def test_a_destination_that_fails_is_named_until_it_is_back() -> None:
    by = policy()
    by = with_status(by, survey.start(by, NOW))
    step = after_page(by, page(listed=("one",)), two="AccessDenied")
    assert [(notice.reason, notice.message) for notice in step.notices] == [
        ("DestinationUnreachable", "two: AccessDenied: why")
    ]
    by = with_status(by, step)
    assert reachable(by) == ("False", "AccessDenied", "two: AccessDenied: why")
    pauses = [survey.seconds_until_due(by, NOW)]
    for _ in range(12):
        by = with_status(by, survey.start(by, NOW))
        step = after_page(by, page(listed=("one",)), two="AccessDenied")
        assert step.notices == (), "told once"
        by = with_status(by, step)
        pauses.append(survey.seconds_until_due(by, NOW))
    assert pauses[:4] == [60, 120, 240, 480]
    assert pauses[-1] == 6 * 3600
    by = with_status(by, survey.start(by, NOW))
    step = after_page(by, page())
    assert [notice.reason for notice in step.notices] == ["DestinationReachable", "CatalogueEmpty"]
    assert reachable(with_status(by, step))[0] == "True"


def test_nothing_is_learnt_of_a_catalogue_that_no_destination_shows() -> None:
    by = policy()
    by = with_status(by, survey.start(by, NOW))
    by = with_status(by, after_page(by, page(simple()[1])))
    by = with_status(by, survey.start(by, NOW))
    by = with_status(by, after_page(by, page(listed=()), one="BucketNotFound", two="BucketNotFound"))
    assert survey.catalogue_of(by).runs == 1


def test_a_survey_that_fails_is_tried_again_with_a_growing_pause() -> None:
    by = policy()
    for wanted in (60, 120, 240):
        by = with_status(by, survey.start(by, NOW))
        step = survey.fail(by, Failure(reason="FailedMount", message="no secret s3"), HOURS, NOW)
        assert [notice.reason for notice in step.notices] == ["SurveyFailed"]
        by = with_status(by, step)
        assert survey.seconds_until_due(by, NOW) == wanted
        status, reason, message = reachable(by)
        assert (status, reason) == ("Unknown", "FailedMount")
        assert "no secret s3; it is retried at 2026-01-01T12:0" in message


def test_a_survey_that_waits_for_a_destination_says_so() -> None:
    by = policy()
    assert survey.report_wait(by, Progress(phase="listing the catalogue"), NOW).status == by.status
    said = "waiting for destination near for 20 s: http://near cannot be reached: Connection refused"
    (condition,) = survey.report_wait(by, Progress(phase=said), NOW).status.conditions
    assert (condition.type, condition.status, condition.reason) == (
        "DestinationsReachable", "Unknown", "DestinationUnreachable",
    )  # fmt: skip
    assert condition.message == f"the survey is {said}"


def test_what_a_store_cannot_do_is_said_once() -> None:
    by = with_status(policy(), survey.start(policy(), NOW))
    limited = DestinationProfile(conditional_writes=False, checksums=False, versions="Off")
    record = PageRecord(0, (), (), profiles={PLACES[0]: limited})
    step = survey.record_page(by, page(), record, HOURS, NOW)
    said = [notice.reason for notice in step.notices]
    assert {"ConditionalWritesMissing", "ChecksumsMissing"} <= set(said)
    (state,) = step.status.destinations
    assert (state.name, state.profile) == (PLACES[0], limited)
    later = survey.start(with_status(by, step), NOW)
    step = survey.record_page(with_status(by, later), page(), record, HOURS, NOW)
    assert not {"ConditionalWritesMissing", "ChecksumsMissing"} & {each.reason for each in step.notices}
