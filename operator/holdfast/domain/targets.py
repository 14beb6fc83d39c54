"""How each target of a run or restore goes from phase to phase, by its Job. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from holdfast.api.restore import RestoreTargetStatus
from holdfast.api.run import Failure, Progress, TargetPhase, TargetStatus
from holdfast.domain.step import Notice, describe, updated
from holdfast.domain.workload import Observation, end_failure, notices_of, obstacle_of

T = TypeVar("T", bound=TargetStatus | RestoreTargetStatus)
Notices = tuple[Notice, ...]
JOB_NOT_CREATED = "JobNotCreated"
"""The API server has not created a Job yet; it is asked again."""
Succeed = Callable[[T, Observation, datetime], tuple[T, Notice]]
"""Makes a target and a notice of the Result of a Job that succeeded."""


@dataclass(frozen=True)
class JobFacts:
    """What is known of the Jobs, each by its target."""

    observations: Mapping[str, Observation]
    start_deadline: timedelta
    """How long a pod may be unable to start for a known reason."""
    creation_failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why Jobs can never be created."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    creation_errors: Mapping[str, str] = field(default_factory=dict)
    """Why Jobs could not be created this time."""


def advance_targets(
    targets: Iterable[T],
    facts: JobFacts,
    succeed: Succeed[T],
    now: datetime,
    place_of_rest: str | None = None,
) -> tuple[tuple[T, ...], Notices]:
    """Take all targets one step on, by what is known of their Jobs.

    `place_of_rest` has the notes that do not fit into a Result.
    """
    steps = [_advance(target, facts, succeed, now, place_of_rest) for target in targets]
    return tuple(target for target, _ in steps), tuple(notice for _, notices in steps for notice in notices)


def _advance(
    target: T, facts: JobFacts, succeed: Succeed[T], now: datetime, place_of_rest: str | None
) -> tuple[T, Notices]:
    job = facts.observations.get(target.name)
    if target.name in facts.creation_failures:
        return fail(target, facts.creation_failures[target.name], now)
    if target.phase.has_ended or (job is None and target.phase is TargetPhase.PENDING):
        return target, ()
    if job is None:
        message = f"somebody deleted its Job {target.job}"
        return fail(target, Failure(reason="JobDeleted", message=message), now)
    target, notices = _with_attempts(target, job), notices_of(job, f"target {target.name}", place_of_rest)
    if job.result is not None:
        target, success = succeed(target, job, now)
        return target, (*notices, success)
    failure = end_failure(job, now, facts.start_deadline)
    if failure is not None:
        target, failure_notices = fail(target, failure, job.ended or now)
        return target, (*notices, *failure_notices)
    progress = facts.progress.get(target.name) or target.progress
    return updated(target, phase=TargetPhase.RUNNING, progress=progress), notices


def _with_attempts(target: T, job: Observation) -> T:
    """The target with what the attempts of its Job say."""
    warnings = [*target.warnings, *(note.message for note in job.notes if note.warning)]
    if job.result is not None and job.attempt_failure is not None:
        warnings.append(f"an earlier attempt failed: {describe(job.attempt_failure)}")
    return updated(
        target,
        attempts=job.attempts,
        start_time=job.started,
        failure=job.failure or job.attempt_failure,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def fail(target: T, failure: Failure, ended: datetime) -> tuple[T, Notices]:
    """A target has failed and is not retried."""
    status = updated(target, phase=TargetPhase.FAILED, completion_time=ended, progress=None, failure=failure)
    message = f"target {target.name}: {describe(failure)}"
    return status, (Notice("TargetFailed", message, target.name, warning=True),)


def cancel(targets: Iterable[T], now: datetime) -> tuple[T, ...]:
    """The run or restore is cancelled, and the pods of targets that had not ended are gone."""
    return tuple(
        target
        if target.phase.has_ended
        else updated(target, phase=TargetPhase.CANCELLED, completion_time=now, progress=None)
        for target in targets
    )


def obstacle(targets: Iterable[T], facts: JobFacts) -> tuple[str | None, str | None]:
    """Reason and message of what keeps a Job from going on at the moment."""
    for target in targets:
        if target.name in facts.creation_errors:
            return not_created(f"target {target.name}", facts.creation_errors[target.name])
        job = facts.observations.get(target.name)
        if target.phase.has_ended or job is None:
            continue
        why = obstacle_of(job, f"target {target.name}")
        if why is not None:
            return why
    return None, None


def not_created(subject: str, error: str) -> tuple[str, str]:
    """Reason and message while the API server does not create the Job of `subject`."""
    return JOB_NOT_CREATED, f"the Job of {subject} cannot be created: {error}"


def not_ended(lost_pods: Iterable[str]) -> str:
    """What a message adds about pods that the cluster cannot end."""
    pods = ", ".join(lost_pods)
    return f"; {pods} did not end: the node is probably lost, and what runs there may go on" if pods else ""


def failures(targets: Iterable[T]) -> tuple[str, str]:
    """The reason of the first target that did not succeed, and the failures of all in words."""
    lacking = [target for target in targets if target.phase is not TargetPhase.SUCCEEDED]
    # A run of a part skips others, which are no failures.
    failed = [target for target in lacking if target.phase is not TargetPhase.SKIPPED] or lacking
    failed_targets = [(t.name, t.failure or Failure(reason=t.phase.value)) for t in failed]
    message = "; ".join(f"target {name}: {describe(failure)}" for name, failure in failed_targets)
    return failed_targets[0][1].reason, message
