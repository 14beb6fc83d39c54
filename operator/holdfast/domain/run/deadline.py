"""What becomes of a run that has taken too long. Pure."""

from datetime import datetime

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import (
    BackupRun,
    BackupRunStatus,
    Failure,
    RunPhase,
    RunSettings,
    TargetPhase,
    TargetStatus,
)
from holdfast.domain.deadline import EXCEEDED, fail_overdue, failure_of, remaining
from holdfast.domain.run import hooks
from holdfast.domain.run.lifecycle import (
    RunStep,
    end,
    planned_targets,
    record_targets,
    with_commit_due,
)
from holdfast.domain.step import End, Step, updated
from holdfast.domain.targets import JOB_NOT_CREATED, JobFacts
from holdfast.domain.workload import Observation


def budget(status: BackupRunStatus, now: datetime) -> float:
    """The seconds of a commit's budget.

    Half of what remains, because the last deletion that starts has to end in time too.
    """
    return remaining(status, now) / 2


def is_pressing(status: BackupRunStatus) -> bool:
    """Whether the deadline ends what goes on now. Hooks after the targets run on after it."""
    is_running = status.phase is RunPhase.RUNNING
    return not (is_running and all(target.phase.has_ended for target in status.targets))


def check(run: BackupRun, jobs: JobFacts, commit: Observation | None, now: datetime) -> RunStep | None:
    """The end of a run that takes longer than it may; None as long as it does not.

    What is stored counts, however late the operator sees it. While hooks after the targets are still due, the
    run does not end yet, but its targets have failed.
    """
    if remaining(run.status, now) > 0:
        return None
    if run.status.phase is RunPhase.COMMITTING:
        if commit is not None and commit.has_ended:
            return None
        if commit is None and _was_away(run.status):
            return Step(with_commit_due(run.status, now))
        return _end(run, run.status, failure_of(run.status), now)
    recorded, notices = record_targets(run, jobs, now)
    targets = recorded.targets
    failure = next((target.failure for target in targets if _is_overdue(target)), None)
    if failure is None and all(target.phase.has_ended for target in targets):
        return None
    failure = failure or failure_of(run.status)
    targets = fail_overdue(targets, failure, now)
    status = updated(recorded, targets=targets, plan=())
    if hooks.next_after(status) is not None:
        return Step(hooks.with_hook_given_up(status, failure.message, now), notices)
    step = _end(run, status, failure, now)
    return Step(step.status, (*notices, *step.notices))


def _was_away(status: BackupRunStatus) -> bool:
    """Whether the operator was down before it could ask for the commit's Job; it gets the time once more."""
    if status.settings is None or status.start_time is None or status.deadline is None:
        return False
    has_had_its_time = status.deadline > status.settings.deadline_from(status.start_time)
    return not has_had_its_time and status.reason is None


def _is_overdue(target: TargetStatus) -> bool:
    if target.failure is None or target.phase is not TargetPhase.FAILED:
        return False
    return target.failure.reason in (EXCEEDED, JOB_NOT_CREATED)


def _end(run: BackupRun, status: BackupRunStatus, failure: Failure, now: datetime) -> RunStep:
    return end(run, status, End(RunPhase.FAILED, failure.reason, failure.message), now)


def with_old_definitions(status: BackupRunStatus) -> BackupRunStatus:
    """The status of a run whose settings the API server drops."""
    message = (
        "the CustomResourceDefinition of BackupRuns is of an earlier release, so the API server drops "
        "status.settings: apply those of this release"
    )
    return updated(status, reason="DefinitionsOutdated", message=message)


def with_settings(
    run: BackupRun, settings: RunSettings, policy: BackupPolicy | None, now: datetime
) -> BackupRunStatus:
    """The status of a run that an earlier release started: it did not write down what the run lives by."""
    status = run.status
    start = status.start_time or now
    waiting = {target.name for target in status.targets if target.phase is TargetPhase.PENDING}
    targets = [target for target in policy.spec.targets if target.name in waiting] if policy else []
    return updated(
        status,
        start_time=start,
        deadline=settings.deadline_from(start),
        settings=settings,
        plan=planned_targets(targets),
    )
