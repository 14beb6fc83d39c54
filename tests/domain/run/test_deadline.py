"""What becomes of a run at its deadline, by what has been stored until then."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests import factories
from tests.factories import SHA, targets, with_status

from holdfast.api.run import BackupRun, Failure, RunPhase, RunSettings, Source, TargetPhase
from holdfast.domain.run import deadline, lifecycle
from holdfast.domain.run.admission import Standing
from holdfast.domain.step import updated
from holdfast.domain.targets import JobFacts
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import BackupResult, CommitResult

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMIT = timedelta(hours=1)
LATE = NOW + timedelta(hours=9)
JOB = Job("j", "ns", "ju", "ru", "t", "Backup", "", "", NOW)
GOING = Observation(JOB, 1, NOW, running_pod="p")
BROKEN = Observation(JOB, 1, NOW, NOW, failure=Failure(reason="Broken"))
GOOD = Observation(
    JOB, 1, NOW, NOW + timedelta(minutes=5),
    result=BackupResult(
        snapshot_time=NOW, source=Source(address="redis:1"), contents={}, plain_bytes=1, size_bytes=1,
        artifacts=(), manifest_sha256=SHA, destinations=("one",),
    ),
)  # fmt: skip
COMMITTED = replace(GOOD, result=CommitResult(
    verified_bytes=1, recovery_point=NOW, skew_seconds=0, size_bytes=1, destinations=("one",),
))  # fmt: skip


def running() -> BackupRun:
    policy = factories.policy(targets=targets("a", "b"), activeDeadline="1h")
    run = factories.run()
    return with_status(run, lifecycle.admit(run, policy, Standing(), NOW).status)


def facts(**jobs: Observation) -> JobFacts:
    return JobFacts(jobs, timedelta(minutes=2))


def committing(now: datetime = NOW) -> BackupRun:
    run = running()
    return with_status(run, lifecycle.advance(run, facts(a=GOOD, b=GOOD), now).status)


def test_a_run_ends_at_the_second_of_its_deadline() -> None:
    run = running()
    assert deadline.check(run, facts(), None, NOW + LIMIT - timedelta(seconds=1)) is None
    step = deadline.check(run, facts(a=GOING, b=GOING), None, NOW + LIMIT)
    assert step is not None
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "DeadlineExceeded")
    assert all(target.phase is TargetPhase.FAILED for target in step.status.targets)
    assert (step.status.duration_seconds, step.status.plan) == (3600, ())
    assert step.status.message == "not done within activeDeadline (1h)"


def test_targets_that_were_stored_in_time_are_committed_though_the_operator_was_down() -> None:
    run = running()
    assert deadline.check(run, facts(a=GOOD, b=GOOD), None, LATE) is None
    status = lifecycle.advance(run, facts(a=GOOD, b=GOOD), LATE).status
    assert status.phase is RunPhase.COMMITTING
    assert status.deadline == LATE + LIMIT, "the commit has as long again"
    assert committing().status.deadline == NOW + LIMIT


def test_what_is_stored_is_recorded_when_another_target_is_overdue() -> None:
    step = deadline.check(running(), facts(a=GOOD, b=GOING), None, LATE)
    assert step is not None
    assert [target.phase.value for target in step.status.targets] == ["Succeeded", "Failed"]
    assert [notice.reason for notice in step.notices] == ["TargetSucceeded", "Failed"]


@pytest.mark.parametrize(("commit", "is_overdue"), [(GOING, True), (COMMITTED, False), (BROKEN, False)])
def test_a_commit_that_has_ended_counts_whatever_the_clock_says(
    commit: Observation | None, is_overdue: bool
) -> None:
    step = deadline.check(committing(), facts(), commit, LATE)
    assert (step is not None) is is_overdue
    if step is not None:
        assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "DeadlineExceeded")


def test_a_commit_that_the_operator_could_not_ask_for_gets_the_time_once_more() -> None:
    run = committing()
    step = deadline.check(run, facts(), None, LATE)
    assert step is not None
    assert (step.status.phase, step.status.deadline) == (RunPhase.COMMITTING, LATE + LIMIT)
    again = deadline.check(with_status(run, step.status), facts(), None, LATE + LIMIT)
    assert again is not None
    assert (again.status.phase, again.status.reason) == (RunPhase.FAILED, "DeadlineExceeded")


def test_a_run_whose_jobs_cannot_be_created_ends_with_this_reason() -> None:
    run, why = running(), {"a": "POST /jobs: 500: failed calling webhook"}
    waiting = lifecycle.advance(run, JobFacts({}, LIMIT, creation_errors=why), NOW).status
    assert (waiting.phase, waiting.reason) == (RunPhase.RUNNING, "JobNotCreated")
    assert waiting.message == f"the Job of target a cannot be created: {why['a']}"
    assert len(waiting.plan) == 2
    step = deadline.check(with_status(run, waiting), facts(), None, NOW + LIMIT)
    assert step is not None
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "JobNotCreated")
    assert "failed calling webhook" in (step.status.message or "")


def test_a_commit_that_cannot_be_created_ends_with_this_reason() -> None:
    run = committing()
    waiting = lifecycle.wait_for_commit(run, "500: failed calling webhook").status
    step = deadline.check(with_status(run, waiting), facts(), None, NOW + LIMIT)
    assert step is not None
    assert step.status.reason == "JobNotCreated"


def test_a_run_of_an_earlier_release_writes_down_what_it_lives_by() -> None:
    before = running()
    bare = updated(before.status, settings=None, deadline=None, plan=())
    policy = factories.policy(targets=targets("a", "b"))
    status = deadline.with_settings(with_status(before, bare), RunSettings(retries=4), policy, LATE)
    assert status.deadline == NOW + timedelta(hours=6)
    assert [planned.name for planned in status.plan] == ["a", "b"]
    assert deadline.with_settings(with_status(before, bare), RunSettings(), None, LATE).plan == ()
