"""Which copies are made anew, which leftovers are cleared away, and what a status says of it afterwards."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import factories
from tests.factories import SHA, complete, hook_failed_after, rows, targets, with_status

from holdfast.api.policy import BackupPolicy, History
from holdfast.api.run import BackupRun
from holdfast.domain.backup.copies import (
    MAX_GAPS,
    LeftoversToClear,
    destinations_lacking,
    destinations_to_clear,
    gap_of,
    gaps_to_heal,
    leftovers_of,
    leftovers_to_clear,
    record_clearing,
    record_healing,
)
from holdfast.domain.policy.history import runs_to_prune
from holdfast.domain.rows import row_of
from holdfast.domain.stored import destinations_holding
from holdfast.protocol import DeletionOutcome, Gap, HealingOutcome

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
A = {"name": "a", "s3": {"bucket": "backups", "prefix": "prod"}}
B = {"name": "b", "required": False, "s3": {"bucket": "offsite"}}
C = {"name": "c", "required": False, "volume": {"claimName": "nearby", "path": "x"}}
PLACES: tuple[dict[str, Any], ...] = (A, B, C)
LAST = {"retention": {"keepLast": 2}}
NAMES = st.sampled_from("abc")
Places = tuple[dict[str, Any], ...]


def policy(*places: dict[str, Any], **fields: Any) -> BackupPolicy:
    return factories.policy(targets=targets("t"), destinations=places or PLACES, **fields)


def uri(place: dict[str, Any], run: str, path: str) -> str:
    if "s3" in place:
        parts = ("s3:/", place["s3"]["bucket"], place["s3"].get("prefix"))
    else:
        parts = ("pvc:/", place["volume"]["claimName"], place["volume"].get("path"))
    return "/".join(part for part in (*parts, "ns/p", run, path) if part)


def target(run: str, holders: str, name: str = "t", artifacts: int = 2) -> dict[str, Any]:
    return {
        "name": name,
        "engine": "redis",
        "phase": "Succeeded",
        "manifestSha256": SHA,
        "artifacts": [
            {
                "destination": place["name"],
                "uri": uri(place, run, f"{name}/x/{number}.zst"),
                "sizeBytes": 5,
                "sha256": SHA,
                "encrypted": True,
                "retainUntil": "2027-01-01T00:00:00Z",
            }
            for number in range(artifacts)
            for place in PLACES
            if place["name"] in holders
        ],
    }


def run(day: int, holders: str = "a", places: Places = PLACES, **status: Any) -> BackupRun:
    """A run that all of `holders` hold, of which the others are missing."""
    name = f"r{day:02}"
    full = len(holders) == len(places)
    body = {
        "phase": "Succeeded" if full else "PartiallySucceeded",
        "reason": None if full else "CopyMissing",
        "recoveryPoint": f"2026-11-{day:02}T02:00:05Z",
        "sizeBytes": 10,
        "destinations": list(places),
        "copies": f"{len(holders)}/{len(places)}",
        "targets": [target(name, holders)],
    } | status
    return factories.run(name, status=body)


def committing(places: Places = PLACES) -> BackupRun:
    targets = [target("r20", "abc") | {"snapshotTime": "2026-11-20T02:00:05Z"}]
    status = {"phase": "Committing", "recoveryPoint": None, "copies": None, "targets": targets}
    return run(20, "abc", places, **status)


def named(run: BackupRun, name: str, **metadata: Any) -> BackupRun:
    """The same run under another name."""
    return run.model_copy(update={"metadata": run.metadata.model_copy(update={"name": name, **metadata})})


def gaps(policy: BackupPolicy, run: BackupRun, runs: Sequence[BackupRun]) -> tuple[Gap, ...]:
    """What the commit of `run` is given to heal."""
    by_name = {each.metadata.name: each for each in runs}
    healings = gaps_to_heal(policy, run, rows(runs))
    return tuple(gap_of(by_name[healing.row.name], healing) for healing in healings)


def leftovers(policy: BackupPolicy, run: BackupRun, runs: Sequence[BackupRun]) -> list[LeftoversToClear]:
    return leftovers_to_clear(policy, run, rows(runs))


def wanted(found: tuple[Gap, ...]) -> dict[str, str]:
    return {gap.run: "".join(gap.lacking) for gap in found}


def failed(day: int, phase: str = "Failed", **status: Any) -> BackupRun:
    return run(day, "", phase=phase, reason="Broken", recoveryPoint=None, copies=None, **status)


def cleared_away(policy: BackupPolicy, run: BackupRun, runs: list[BackupRun]) -> dict[str, str]:
    return {
        clearing.row.name: "".join(sorted(clearing.destinations)) for clearing in leftovers(policy, run, runs)
    }


def test_a_gap_says_all_that_the_job_holds_the_good_copy_against() -> None:
    targets = [
        target("r03", "ac"),
        target("r03", "abc", "u"),
        {"name": "v", "engine": "x", "phase": "Failed"},
        {"name": "w", "engine": "x", "phase": "Skipped"},
    ]
    (gap,) = gaps(policy(), committing(), [run(3, "a", targets=targets), run(4, "abc"), committing()])
    assert gap == Gap(
        run="r03",
        trigger="Manual",
        manifests={"t": SHA, "u": SHA},
        failed_targets=("v", "w"),
        skipped_targets=("w",),
        sources=("a", "c"),
        lacking=("b",),
    )


def test_newest_runs_come_first_and_not_too_many() -> None:
    runs = [run(day) for day in range(1, 20)]
    assert list(wanted(gaps(policy(), committing(), runs))) == [f"r{day:02}" for day in range(19, 0, -1)]
    many = [named(run(1), f"x{number}") for number in range(MAX_GAPS + 5)]
    assert len(gaps(policy(), committing(), many)) == MAX_GAPS


@pytest.mark.parametrize(
    ("subject", "of", "lacking"),
    [
        (run(3), policy(), "bc"),
        (run(3, "ab"), policy(), "c"),
        (run(3, "b"), policy(), "ac"),
        (run(3, ""), policy(), ""),
        (run(3, "abc"), policy(), ""),
        (run(3, phase="Failed"), policy(), ""),
        (run(3, phase="Expired"), policy(), ""),
        # Another place by now, or no longer in the policy.
        (run(3), policy(A, B | {"s3": {"bucket": "other"}}, C), "c"),
        (run(3), policy(A, C), "c"),
        (run(3, places=(A, B | {"s3": {"bucket": "other"}}, C)), policy(), "c"),
        (run(3, places=(A | {"s3": {"bucket": "other"}}, B, C)), policy(), ""),
        # A destination that the run was never meant for.
        (run(3, places=(A, B)), policy(), "b"),
        # Deleted there, or its good copy is on the way out.
        (run(3, expiring=[{"destination": "b", "gone": True}]), policy(), "c"),
        (run(3, expiring=[{"destination": "b", "begun": True}]), policy(), "c"),
        (run(3, expiring=[{"destination": "a", "begun": True}]), policy(), ""),
        (run(3, "ab", expiring=[{"destination": "a", "begun": True}]), policy(), "c"),
        # Without the checksum there is nothing to hold the good copy against.
        (run(3, targets=[target("r03", "a") | {"manifestSha256": None}]), policy(), ""),
    ],
)  # fmt: skip
def test_what_is_healed(subject: BackupRun, of: BackupPolicy, lacking: str) -> None:
    found = wanted(gaps(of, committing(), [subject, committing()]))
    assert found == ({"r03": lacking} if lacking else {})


def test_a_destination_that_moved_since_the_run_started_is_not_healed() -> None:
    moved = (A, B | {"s3": {"bucket": "old"}}, C)
    assert wanted(gaps(policy(), committing(moved), [run(3)])) == {"r03": "c"}
    assert wanted(gaps(policy(*moved), committing(), [run(3)])) == {"r03": "c"}


def test_what_retention_would_not_keep_there_is_not_made_but_cleared_away() -> None:
    """Two are kept: the run that is being committed is one, and those that are missing count as well."""
    of = policy(A, B | LAST, C)
    runs = [run(1, "ac"), run(2, "ac"), run(3, "ac")]
    assert wanted(gaps(of, committing(), runs)) == {"r03": "b"}
    assert cleared_away(of, committing(), runs) == {"r01": "b", "r02": "b"}
    after = record_clearing(runs[0], {"b": DeletionOutcome.DELETED}).status
    assert destinations_lacking(row_of(with_status(runs[0], after))) == set()
    assert cleared_away(policy(A, C, **LAST), committing(), runs) == {}, "b is not the policy's any more"
    dry = policy(A, B | {"retention": {"keepLast": 2, "dryRun": True}}, C)
    assert len(gaps(dry, committing(), runs)) == 3
    assert cleared_away(dry, committing(), runs) == {}


def test_an_unknown_time_zone_makes_no_copies() -> None:
    assert gaps(policy(timeZone="Mars/Olympus"), committing(), [run(3)]) == ()
    assert cleared_away(policy(timeZone="Mars/Olympus"), committing(), [run(3), failed(1)]) == {"r01": "abc"}


def test_a_run_with_all_copies_is_succeeded() -> None:
    subject = run(3)
    step = record_healing(subject, {"b": HealingOutcome.HEALED, "c": HealingOutcome.HEALED}, NOW)
    status = step.status
    assert (status.phase, status.reason, status.copies) == ("Succeeded", None, "3/3")
    assert status.message == "1 target, 10B in 3/3 destinations"
    assert complete(status) == ("True", "Succeeded", status.message)
    assert [artifact.to_json() for artifact in status.targets[0].artifacts] == [
        {**artifact, "retainUntil": artifact["retainUntil"]}
        if artifact["destination"] == "a"
        else {key: value for key, value in artifact.items() if key != "retainUntil"}
        for artifact in target("r03", "abc")["artifacts"]
    ]
    (notice,) = step.notices
    assert (notice.reason, notice.warning) == ("CopyHealed", False)
    assert notice.message == "run r03: its copy in b, c was made from a and read back; copies: 3/3"
    again = subject.model_copy(update={"status": status})
    assert record_healing(again, {"b": HealingOutcome.HEALED}, NOW).status == status
    assert record_healing(again, {"b": HealingOutcome.HEALED}, NOW).notices == ()


def test_a_target_whose_copy_was_made_is_missing_there_no_more() -> None:
    lacking = target("r03", "a") | {"missing": {"b": "BucketNotFound: b", "c": "DestinationFull: c"}}
    step = record_healing(run(3, targets=[lacking]), {"b": HealingOutcome.HEALED}, NOW)
    assert step.status.targets[0].missing == {"c": "DestinationFull: c"}
    step = record_healing(run(3, targets=[lacking]), dict.fromkeys("bc", HealingOutcome.HEALED), NOW)
    assert step.status.targets[0].missing is None


def test_a_run_that_lacks_more_stays_what_it_is() -> None:
    step = record_healing(run(3), {"b": HealingOutcome.HEALED, "c": HealingOutcome.FAILED}, NOW)
    assert (step.status.phase, step.status.reason, step.status.copies) == (
        "PartiallySucceeded", "CopyMissing", "2/3",
    )  # fmt: skip
    assert step.status.message == "not in every destination: c: no commit has healed this copy yet"
    assert complete(step.status) == ("True", "CopyMissing", step.status.message)
    lost = {"name": "u", "engine": "redis", "phase": "Failed", "failure": {"reason": "Broken"}}
    targets = [target("r03", "a"), lost]
    step = record_healing(
        run(3, reason="Broken", targets=targets),
        {"b": HealingOutcome.HEALED, "c": HealingOutcome.HEALED},
        NOW,
    )
    assert (step.status.phase, step.status.reason, step.status.copies) == (
        "PartiallySucceeded", "Broken", "3/3",
    )  # fmt: skip
    assert complete(step.status) == ("True", "Broken", "target u: Broken")


def test_a_hook_failure_outlives_the_healing_of_every_copy() -> None:
    missing = {"type": "Complete", "status": "True", "reason": "CopyMissing", "message": "b and c",
               "lastTransitionTime": "2026-11-03T02:00:09Z"}  # fmt: skip
    subject = run(3, conditions=[missing], **hook_failed_after())
    status = record_healing(subject, {"b": HealingOutcome.HEALED, "c": HealingOutcome.HEALED}, NOW).status
    assert (status.phase, status.reason, status.copies) == ("PartiallySucceeded", "HookFailed", "3/3")
    assert complete(status) == ("True", "HookFailed", "after the backup: hook go-on: no pod")
    subject = run(3, **hook_failed_after("Continue"))
    status = record_healing(subject, {"b": HealingOutcome.HEALED, "c": HealingOutcome.HEALED}, NOW).status
    assert (status.phase, status.reason) == ("Succeeded", None)


@pytest.mark.parametrize(
    "outcome", [outcome for outcome in HealingOutcome if outcome is not HealingOutcome.HEALED]
)
def test_what_was_not_healed_changes_nothing(outcome: HealingOutcome) -> None:
    assert record_healing(run(3), {"b": outcome}, NOW).status == run(3).status


def test_a_target_that_was_there_already_is_not_named_twice() -> None:
    targets = [target("r03", "ab", artifacts=90), target("r03", "a", "u", artifacts=1)]
    status = record_healing(run(3, targets=targets), {"b": HealingOutcome.HEALED}, NOW).status
    for each in status.targets:
        found = [(artifact.destination, artifact.uri) for artifact in each.artifacts]
        assert len(found) == len(set(found))
        assert {destination for destination, _ in found} == {"a", "b"}
    listed = status.targets[0]
    assert (len(listed.artifacts), listed.artifacts_omitted) == (20, 160)
    assert status.targets[1].artifacts_omitted is None


def test_a_run_that_expired_meanwhile_is_left_alone() -> None:
    gone = run(3, "", phase="Expired", reason="RetentionExpired")
    assert record_healing(gone, {"b": HealingOutcome.HEALED}, NOW).status == gone.status


@settings(deadline=None)
@given(st.lists(st.tuples(st.sets(NAMES), st.dictionaries(NAMES, st.booleans())), max_size=6))
def test_healing_comes_to_an_end_and_never_takes_from_what_is_going(runs: list[Any]) -> None:
    """Whatever is held and expiring where: what is healed is not handed over again, and sources are whole."""
    history = [
        run(day, "".join(sorted(holders)), expiring=[
            {"destination": name, "begun": begun, "gone": not begun} for name, begun in expiring.items()
        ])
        for day, (holders, expiring) in enumerate(runs, 1)
    ]  # fmt: skip
    by_name = {each.metadata.name: each for each in history}
    found = gaps(policy(), committing(), history)
    for gap in found:
        subject = by_name[gap.run]
        assert set(gap.sources) <= destinations_holding(subject)
        taken = {each.destination for each in subject.status.expiring}
        assert not set(gap.lacking) & (set(gap.sources) | taken)
        status = record_healing(subject, dict.fromkeys(gap.lacking, HealingOutcome.HEALED), NOW).status
        by_name[gap.run] = subject.model_copy(update={"status": status})
        assert set(gap.lacking) <= destinations_holding(by_name[gap.run])
    assert gaps(policy(), committing(), list(by_name.values())) == ()
    # Nothing that may be restored from, or may be made, is deleted.
    for clearing in leftovers(policy(), committing(), history):
        assert not clearing.destinations & clearing.row.destinations_holding
        assert not clearing.destinations & set(wanted(found).get(clearing.row.name, ""))


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        (failed(3), "abc"),
        (failed(3, "Cancelled"), "abc"),
        (failed(3, "Expired"), "abc"),
        (failed(3, "Expired", expiring=[{"destination": "a", "gone": True}]), "bc"),
        (failed(3, expiring=[{"destination": "a", "begun": True}]), "abc"),
        (failed(3, expiring=[{"destination": "a", "message": "claimed"}]), "bc"),
        (failed(3, destinations=[A | {"s3": {"bucket": "other"}}, B]), "b"),
        (failed(3, "Missed", targets=[]), ""),
        (failed(3, targets=[]), ""),
        (failed(3, "Running"), ""),
        (failed(3, "Committing"), ""),
        (failed(3, "Pending"), ""),
        (run(3, "abc"), ""),
        (run(3), ""),
        (run(3, ""), ""),
    ],
)
def test_what_is_cleared_away(subject: BackupRun, names: str) -> None:
    assert cleared_away(policy(), committing(), [subject, committing()]) == ({"r03": names} if names else {})


def test_what_was_cleared_away_is_remembered() -> None:
    outcomes = {"a": DeletionOutcome.REFUSED, "b": DeletionOutcome.DELETED, "c": DeletionOutcome.FAILED}
    status = record_clearing(failed(3), outcomes).status
    assert {each.destination: each.gone for each in status.expiring} == {"a": False, "b": True}
    later = failed(3).model_copy(update={"status": status})
    assert destinations_to_clear(row_of(later), later.status.destinations) == {"c"}
    status = record_clearing(later, {"c": DeletionOutcome.DELETED}).status
    assert cleared_away(policy(), committing(), [later.model_copy(update={"status": status})]) == {}


def test_a_run_that_is_held_is_only_tidied() -> None:
    subject = run(3, "abc", leftovers=["a", "b"])
    assert cleared_away(policy(), committing(), [subject]) == {"r03": "ab"}
    assert [left.held for left in leftovers_of(leftovers(policy(), committing(), [subject, failed(1)]))] == [
        False, False, False, True, True,
    ]  # fmt: skip
    status = record_clearing(subject, {"a": DeletionOutcome.DELETED, "b": DeletionOutcome.FAILED}).status
    assert (status.leftovers, status.expiring) == (("b",), ())
    gone = run(3, "bc", leftovers=["a"], expiring=[{"destination": "a", "gone": True}])
    assert cleared_away(policy(), committing(), [gone]) == {}


@pytest.mark.parametrize(
    "outcome", [DeletionOutcome.LOCKED, DeletionOutcome.UNTOUCHED, DeletionOutcome.FAILED]
)
def test_what_could_not_be_cleared_away_is_tried_again(outcome: DeletionOutcome) -> None:
    assert record_clearing(failed(3), {"a": outcome}).status == failed(3).status


def test_history_keeps_the_runs_that_still_have_to_be_cleared_away() -> None:
    gone = [{"destination": name, "gone": True} for name in "abc"]
    kinds = [failed(1), failed(2, expiring=gone), failed(3, "Missed", targets=[]), failed(4)]
    runs = [
        named(each, f"r{day:02}", creation_timestamp=NOW + timedelta(days=day))
        for day, each in enumerate(kinds, 1)
    ]
    none, places = History(failed=0), policy().spec.destinations
    assert {row.name for row in runs_to_prune(rows(runs), none, places)} == {"r02", "r03"}
    moved = [place.model_copy(update={"name": f"new-{place.name}"}) for place in places]
    assert len(runs_to_prune(rows(runs), none, moved)) == 4
    many = [named(runs[0], f"x{number}") for number in range(70)]
    assert len(runs_to_prune(rows(many), none, places)) == 20
