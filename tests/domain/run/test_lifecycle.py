"""A run's phases as tables: what is seen, and what follows."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import factories
from tests.factories import ONE, REDIS, SHA, TWO, targets, with_status

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, Failure, RunPhase, Source
from holdfast.domain.complaints import Complaint
from holdfast.domain.labels import MISSED, SKIPPED
from holdfast.domain.rows import row_of
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing
from holdfast.domain.run.end import end_of_stored
from holdfast.domain.step import Step
from holdfast.domain.targets import JobFacts
from holdfast.domain.tasks import Upkeep, commit_task
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import BackupResult, CommitResult, Omission, StoredArtifact, WrittenReport

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
START = timedelta(minutes=2)
CAUSE = "s3://more/ns/p/r: PutObject: NoSuchBucket: the bucket does not exist"
JOB = Job("j", "ns", "ju", "ru", "t", "Backup", "", "", NOW)


def policy(**fields: Any) -> BackupPolicy:
    minimal: dict[str, Any] = {"targets": targets("a", "b"), "destinations": [ONE, TWO]}
    return factories.policy(metadata={"generation": 4}, **minimal | fields)


def run(trigger: str = "Manual", cancel: bool = False, **annotations: str) -> BackupRun:
    return factories.run(metadata={"annotations": annotations}, trigger=trigger, cancel=cancel)


def running() -> BackupRun:
    begun = run()
    return begun.model_copy(update={"status": lifecycle.admit(begun, policy(), Standing(), NOW).status})


def good(*destinations: str) -> Observation:
    result = BackupResult(
        snapshot_time=NOW, source=Source(address="redis:1"), contents={"keys": 1}, plain_bytes=9,
        size_bytes=5, artifacts=(StoredArtifact(name="x/d.zst", size_bytes=5, sha256=SHA),),
        manifest_sha256=SHA,
        destinations=destinations or ("one", "two"),
    )  # fmt: skip
    return Observation(JOB, 1, NOW, NOW + timedelta(seconds=5), result=result)


def test_artifacts_say_whether_they_are_encrypted() -> None:
    for encrypted in (False, True):
        made = good().result
        assert isinstance(made, BackupResult)
        result = made.model_copy(update={"encrypted": encrypted})
        seen = {"a": dataclasses.replace(good(), result=result)}
        step = lifecycle.advance(running(), JobFacts(seen, START), NOW)
        assert [artifact.encrypted for artifact in step.status.targets[0].artifacts] == [encrypted] * 2


def test_what_a_backup_lacks_is_listed_and_told_once() -> None:
    made = good().result
    assert isinstance(made, BackupResult)
    many = tuple(Omission(what=f"rows of table t{n}", count=n, reason="TestLeftOut") for n in range(15))
    lacking = dataclasses.replace(good(), result=made.model_copy(update={"omissions": many}))
    step = lifecycle.advance(running(), JobFacts({"a": lacking, "b": GOING}, START), NOW)
    told = [notice for notice in step.notices if notice.reason == "DataOmitted"]
    assert [(notice.message, notice.warning) for notice in told] == [(
        "target a: the backup lacks rows of table t0 (0), rows of table t1 (1), rows of table t2 (2) "
        "and 12 more", True,
    )]  # fmt: skip
    assert [(o.target, o.what, o.count, o.reason) for o in step.status.omissions[:2]] == [
        ("a", "rows of table t0", 0, "TestLeftOut"), ("a", "rows of table t1", 1, "TestLeftOut"),
    ]  # fmt: skip
    result = made.model_copy(update={"omissions": many, "omissions_omitted": 4})
    later = with_status(running(), step.status)
    step = lifecycle.advance(later, JobFacts({"b": dataclasses.replace(good(), result=result)}, START), NOW)
    assert [(n.subject, n.reason) for n in step.notices] == [("b", "TargetSucceeded"), ("b", "DataOmitted")]
    assert (len(step.status.omissions), step.status.omissions_omitted) == (20, 14)
    ended = end_of_stored(step.status, {})
    assert (ended.phase, ended.reason) == (RunPhase.SUCCEEDED, "DataOmitted")
    assert "target a: the backup lacks rows of table t0" in ended.message


def bad(reason: str = "Broken") -> Observation:
    return Observation(JOB, 1, NOW, NOW, failure=Failure(reason=reason, message="is broken"))


GOING = Observation(JOB, 1, NOW, running_pod="p")
RETRIED = Observation(JOB, 2, NOW, attempt_failure=Failure(reason="Unreachable"), running_pod="p")
STUCK = Observation(JOB, 1, complaint=Complaint("FailedMount", "no secret x"), waiting_since=NOW - START)
STARTING = Observation(JOB, 1, complaint=Complaint("FailedMount", "no secret x"), waiting_since=NOW)


FREE = Standing()
BUSY = Standing(active_run="other")
BEHIND = Standing(runs_ahead=("x", "y", "z"))
FULL = Standing(position=2, line_length=5, limit=3)
SLOT: dict[str, Any] = {"trigger": "Schedule", "scheduledTime": NOW - timedelta(hours=2)}
LATE = factories.run(**SLOT)
QUEUE = policy(concurrencyPolicy="Queue")


@pytest.mark.parametrize(
    ("subject", "of_policy", "standing", "phase", "reason"),
    [
        (run(), policy(), FREE, RunPhase.RUNNING, None),
        (run(), None, FREE, RunPhase.FAILED, "PolicyNotFound"),
        (run(), policy(objectives={"rpo": "1h"}), FREE, RunPhase.FAILED, "NotSupportedYet"),
        (run(cancel=True), policy(), FREE, RunPhase.CANCELLED, "Cancelled"),
        (run(), policy(), BUSY, RunPhase.PENDING, "WaitingForRun"),
        (run(), policy(), BEHIND, RunPhase.PENDING, "WaitingForRun"),
        (run(), policy(), FULL, RunPhase.PENDING, "WaitingForCapacity"),
        (run("Schedule"), policy(), FULL, RunPhase.PENDING, "WaitingForCapacity"),
        (run("Schedule"), policy(), BUSY, RunPhase.SKIPPED, "ConcurrentRun"),
        (run("CatchUp"), policy(), BUSY, RunPhase.SKIPPED, "ConcurrentRun"),
        (run("Schedule"), policy(), BEHIND, RunPhase.SKIPPED, "ConcurrentRun"),
        (run("Schedule"), QUEUE, BUSY, RunPhase.PENDING, "WaitingForRun"),
        (run("Schedule"), QUEUE, BEHIND, RunPhase.SKIPPED, "QueueFull"),
        (run("Schedule"), QUEUE, FREE, RunPhase.RUNNING, None),
        (LATE, policy(), FREE, RunPhase.RUNNING, None),
        (LATE, policy(), Standing(is_overtaken=True), RunPhase.MISSED, "StartingDeadlineExceeded"),
        (LATE, policy(catchUp="None"), FREE, RunPhase.MISSED, "StartingDeadlineExceeded"),
        (LATE, policy(catchUp="None", startingDeadline="3h"), FREE, RunPhase.RUNNING, None),
        (run("Schedule", False, **{MISSED: "too late"}), policy(), FREE, RunPhase.MISSED, "Missed"),
        (run("Schedule"), policy(suspend=True), FREE, RunPhase.SKIPPED, "Suspended"),
        (run("Schedule", False, **{SKIPPED: "4 slots"}), policy(), FREE, RunPhase.SKIPPED, "Suspended"),
        (run(), policy(suspend=True), FREE, RunPhase.RUNNING, None),
    ],
)  # fmt: skip
def test_admission(
    subject: BackupRun,
    of_policy: BackupPolicy | None,
    standing: Standing,
    phase: RunPhase,
    reason: str | None,
) -> None:
    step = lifecycle.admit(subject, of_policy, standing, NOW)
    assert (step.status.phase, step.status.reason) == (phase, reason)
    assert (step.status.completion_time is not None) is phase.has_ended


def test_run_that_waits_says_at_which_place_and_is_told_once() -> None:
    first = lifecycle.admit(run(), policy(), FULL, NOW)
    assert first.status.message == (
        "waits for a permit, as number 2 of 5: at most 3 Jobs of backups run at once"
    )
    later = lifecycle.admit(run(), policy(), Standing(position=1, line_length=4, limit=3), NOW)
    assert {(n.reason, n.subject) for n in (*first.notices, *later.notices)} == {("WaitingForCapacity", "")}


def test_admission_writes_down_what_the_policy_said() -> None:
    status = running().status
    assert [target.name for target in status.targets] == ["a", "b"]
    assert [destination.name for destination in status.destinations] == ["one", "two"]
    assert status.policy_generation == 4
    assert status.deadline == NOW + timedelta(hours=6)
    assert status.settings is not None
    assert (status.settings.active_deadline, status.settings.retries) == ("6h", 2)
    assert [planned.name for planned in status.plan] == ["a", "b"]
    assert json.loads(status.plan[0].spec) == REDIS | {"preferReplica": True}


def test_a_run_of_a_part_backs_up_nothing_else_and_is_no_run_of_all_targets() -> None:
    subject, of_policy = factories.run(targets=["b"]), policy(targets=targets("a", "b"))
    step = lifecycle.admit(subject, of_policy, FREE, NOW)
    assert step.notices[0].message.startswith("backing up b to ")
    assert [(t.name, t.phase.value, t.job is None) for t in step.status.targets] == [
        ("a", "Skipped", True), ("b", "Pending", False),
    ]  # fmt: skip
    assert [planned.name for planned in step.status.plan] == ["b"]
    part = with_status(subject, step.status)
    assert (row_of(part).is_part, row_of(part).is_whole, row_of(part).targets_under_way) == (True, False, 1)
    stored = lifecycle.advance(part, JobFacts({"b": good()}, START), NOW).status
    assert (stored.phase, stored.to_json()["targetsSucceeded"]) == (RunPhase.COMMITTING, "1/1")
    task = commit_task(with_status(part, stored), None, Upkeep(), None)
    assert ([t.name for t in task.targets], task.failed_targets, task.skipped_targets) == (
        ["b"],
        ("a",),
        ("a",),
    )
    broken = lifecycle.advance(part, JobFacts({"b": bad()}, START), NOW).status
    assert (broken.phase, broken.reason, broken.message) == (
        "Failed",
        "Broken",
        "target b: Broken: is broken",
    )


def test_a_run_that_names_all_targets_is_a_run_of_all() -> None:
    subject = factories.run(targets=["b", "a"])
    assert row_of(subject).is_part
    started = lifecycle.admit(subject, policy(targets=targets("a", "b")), FREE, NOW).status
    assert [target.phase.value for target in started.targets] == ["Pending", "Pending"]
    assert not row_of(with_status(subject, started)).is_part


def test_a_target_that_the_policy_lacks_fails_the_run_with_those_that_it_has() -> None:
    step = lifecycle.admit(
        factories.run(targets=["b", "c", "d"]), policy(targets=targets("a", "b")), BUSY, NOW
    )
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "TargetNotFound")
    assert step.status.message == "spec.targets: policy p has no target c, d; its targets: a, b"


@pytest.mark.parametrize(
    ("a", "b", "phase", "phases"),
    [
        (None, None, RunPhase.RUNNING, ["Pending", "Pending"]),
        (good(), GOING, RunPhase.RUNNING, ["Succeeded", "Running"]),
        (good(), RETRIED, RunPhase.RUNNING, ["Succeeded", "Running"]),
        (good(), STARTING, RunPhase.RUNNING, ["Succeeded", "Running"]),
        (good(), good(), RunPhase.COMMITTING, ["Succeeded", "Succeeded"]),
        (good(), bad(), RunPhase.COMMITTING, ["Succeeded", "Failed"]),
        (good(), STUCK, RunPhase.COMMITTING, ["Succeeded", "Failed"]),
        (bad(), bad(), RunPhase.FAILED, ["Failed", "Failed"]),
    ],
    ids=["new", "going", "retried", "starting", "both", "one", "stuck", "none"],
)
def test_targets_lead_the_run(
    a: Observation | None, b: Observation | None, phase: RunPhase, phases: list[str]
) -> None:
    seen = {name: each for name, each in (("a", a), ("b", b)) if each}
    step = lifecycle.advance(running(), JobFacts(seen, START), NOW)
    assert step.status.phase == phase
    assert [target.phase.value for target in step.status.targets] == phases


def test_what_holds_a_run_up_is_shown() -> None:
    waiting = lifecycle.advance(running(), JobFacts({"a": STARTING}, START), NOW).status
    assert (waiting.reason, waiting.message) == ("FailedMount", "target a cannot start: no secret x")
    assert lifecycle.advance(running(), JobFacts({"a": RETRIED}, START), NOW).status.reason == "Retrying"


def test_target_that_has_ended_stays_as_it_is() -> None:
    subject = running()
    first = lifecycle.advance(subject, JobFacts({"a": good(), "b": GOING}, START), NOW).status
    again = subject.model_copy(update={"status": first})
    later = lifecycle.advance(again, JobFacts({"a": bad(), "b": GOING}, START), NOW).status
    assert later.targets[0] == first.targets[0]
    assert lifecycle.advance(again, JobFacts({"b": GOING}, START), NOW).status.targets[0] == first.targets[0]


def test_the_plan_loses_a_target_that_has_its_job() -> None:
    later = lifecycle.advance(running(), JobFacts({"a": GOING}, START), NOW).status
    assert [planned.name for planned in later.plan] == ["b"]


def test_job_that_was_seen_and_is_gone_fails_its_target() -> None:
    subject = running()
    seen = lifecycle.advance(subject, JobFacts({"a": GOING, "b": GOING}, START), NOW).status
    later = lifecycle.advance(subject.model_copy(update={"status": seen}), JobFacts({"b": GOING}, START), NOW)
    failure = later.status.targets[0].failure
    assert failure is not None
    assert failure.reason == "JobDeleted"


def committing(*targets: Observation) -> BackupRun:
    subject = running()
    seen = dict(zip(("a", "b"), targets, strict=True))
    step = lifecycle.advance(subject, JobFacts(seen, START), NOW)
    assert step.status.phase is RunPhase.COMMITTING
    return subject.model_copy(update={"status": step.status})


def committed(*destinations: str, **missing: str) -> Observation:
    result = CommitResult(
        verified_bytes=10, recovery_point=NOW, skew_seconds=3, size_bytes=10, destinations=destinations,
        missing=missing,
    )  # fmt: skip
    return Observation(JOB, 1, NOW, NOW, result=result)


@pytest.mark.parametrize(
    ("targets", "seen", "phase", "reason", "copies"),
    [
        ((good(), good()), None, RunPhase.COMMITTING, None, None),
        ((good(), good()), GOING, RunPhase.COMMITTING, None, None),
        ((good(), good()), committed("one", "two"), RunPhase.SUCCEEDED, None, "2/2"),
        ((good(), good()), committed("one", two="away"), RunPhase.PARTIALLY_SUCCEEDED, "CopyMissing", "1/2"),
        ((good(), good()), committed("two", one="away"), RunPhase.FAILED, "CopyMissing", None),
        ((good(), bad()), committed("one", "two"), RunPhase.PARTIALLY_SUCCEEDED, "Broken", "2/2"),
        ((good(), good()), bad("ChecksumMismatch"), RunPhase.FAILED, "ChecksumMismatch", None),
        ((good(), good()), STUCK, RunPhase.FAILED, "FailedMount", None),
    ],
    ids=["no job", "going", "whole", "optional", "required", "partial", "failed", "stuck"],
)  # fmt: skip
def test_commit_decides(
    targets: tuple[Observation, ...],
    seen: Observation | None,
    phase: RunPhase,
    reason: str | None,
    copies: str | None,
) -> None:
    status = lifecycle.advance_commit(committing(*targets), seen, START, NOW).status
    assert (status.phase, status.reason, status.copies) == (phase, reason, copies)


def test_what_the_commit_did_not_find_is_named_no_more() -> None:
    """The targets were stored in both, but the commit read them back from one of them only."""
    seen = committed("one", two="its SHA-256 is another")
    assert isinstance(seen.result, CommitResult)
    seen = dataclasses.replace(seen, result=seen.result.model_copy(update={"untidy": ("one",)}))
    status = lifecycle.advance_commit(committing(good(), good("one")), seen, START, NOW).status
    assert [[each.destination for each in t.artifacts] for t in status.targets] == [["one"], ["one"]]
    assert status.leftovers == ("one",)


def without_two(why: str) -> Observation:
    """A backup that the optional destination `two` lacks."""
    made = good("one")
    assert isinstance(made.result, BackupResult)
    result = made.result.model_copy(update={"missing": {"two": why}})
    return dataclasses.replace(made, result=result)


@pytest.mark.parametrize("why", [CAUSE, f"destination two: {CAUSE}"], ids=["bare", "with its destination"])
def test_a_missing_copy_says_why_its_target_was_not_stored(why: str) -> None:
    """The commit only knows that the target is not there."""
    subject = committing(good(), without_two(why))
    assert subject.status.targets[1].missing == {"two": CAUSE}
    status = lifecycle.advance_commit(
        subject, committed("one", two="destination two lacks target b"), START, NOW
    ).status
    assert status.reason == "CopyMissing"
    assert status.message == f"not in every destination: two: target b was not stored there: {CAUSE}"


def test_a_copy_that_only_the_commit_misses_says_what_the_commit_did() -> None:
    status = lifecycle.advance_commit(
        committing(good(), good()), committed("one", two="its SHA-256 is another"), START, NOW
    ).status
    assert status.message == "not in every destination: two: its SHA-256 is another"


@pytest.mark.parametrize(
    ("written", "uri"),
    [
        (("two", "one"), "s3://backups/ns/p/r/report.json"),
        (("two",), "s3://more/ns/p/r/report.json"),
        (None, None),
    ],
    ids=["the required one", "another", "an older version"],
)
def test_the_report_of_a_run_is_named(written: tuple[str, ...] | None, uri: str | None) -> None:
    seen = committed("one", "two")
    assert isinstance(seen.result, CommitResult)
    report = written and WrittenReport(name="report.json", destinations=written)
    seen = dataclasses.replace(seen, result=seen.result.model_copy(update={"report": report}), more=3)
    step = lifecycle.advance_commit(committing(good(), good()), seen, START, NOW)
    assert (step.status.phase, step.status.report) == (RunPhase.SUCCEEDED, uri)
    (notice,) = [notice for notice in step.notices if notice.reason == "NotesOmitted"]
    where = "the run's report" if written else "the log of the pod"
    assert notice.message == f"commit: 3 more notes are in {where}"


def test_nothing_but_a_commit_makes_a_run_succeed() -> None:
    """No step before the commit's Result leads to Succeeded, whatever the targets say."""
    steps: list[Step[Any]] = [
        lifecycle.advance(running(), JobFacts({"a": good(), "b": good()}, START), NOW),
        lifecycle.advance_commit(committing(good(), good()), good(), START, NOW),
        lifecycle.advance_commit(committing(good(), good()), RETRIED, START, NOW),
    ]
    assert {step.status.phase for step in steps} == {RunPhase.COMMITTING}


def test_cancelled_run_keeps_what_had_ended() -> None:
    subject = running()
    status = lifecycle.advance(subject, JobFacts({"a": good(), "b": GOING}, START), NOW).status
    ended = lifecycle.end_cancelled(subject.model_copy(update={"status": status}), NOW).status
    assert [target.phase.value for target in ended.targets] == ["Succeeded", "Cancelled"]
    assert ended.phase is RunPhase.CANCELLED


def test_a_destination_that_was_left_out_after_the_start_has_its_cause_in_the_end() -> None:
    """A Job of before has stored one target there, and one of later has not."""
    why = "destinations[two].volume.claimName: pod postgres-0 mounts claim data"
    begun = running()
    step = lifecycle.leave_out(begun, {"two": why})
    assert [(notice.reason, notice.message) for notice in step.notices] == [("ClaimMounted", why)]
    subject = begun.model_copy(update={"status": step.status})
    facts = JobFacts({"a": good(), "b": good("one")}, START)
    subject = subject.model_copy(update={"status": lifecycle.advance(subject, facts, NOW).status})
    end = lifecycle.advance_commit(subject, committed("one"), START, NOW).status
    assert (end.phase, end.reason) == (RunPhase.PARTIALLY_SUCCEEDED, "CopyMissing")
    assert end.message == f"not in every destination: two: {why}"
    assert end.over_quota == {"two": why}
    whole = lifecycle.advance_commit(subject, committed("one", "two"), START, NOW).status
    assert whole.over_quota is None, "it was free again when the commit looked"
