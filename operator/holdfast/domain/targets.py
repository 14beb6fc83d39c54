"""How each target of a run or restore goes from phase to phase, by its Job. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from holdfast.api.restore import RestoreTargetStatus
from holdfast.api.run import Failure, Progress, TargetPhase, TargetStatus
from holdfast.domain.step import Notice, describe, updated
from holdfast.domain.workload import Observation, cannot_start

T = TypeVar("T", bound=TargetStatus | RestoreTargetStatus)
Notices = tuple[Notice, ...]
Succeed = Callable[[T, Observation, datetime], tuple[T, Notice]]
"""Makes a target and a notice of the Result of a Job that succeeded."""


@dataclass(frozen=True)
class JobFacts:
    """What is known of the Jobs, each by its target."""

    observations: Mapping[str, Observation]
    start_deadline: timedelta
    """How long a pod may be unable to start for a known reason."""
    creation_failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why Jobs could not be created."""
    progress: Mapping[str, Progress] = field(default_factory=dict)


def advance_targets(
    targets: Iterable[T], facts: JobFacts, succeed: Succeed[T], now: datetime
) -> tuple[tuple[T, ...], Notices]:
    """Take all targets one step on, by what is known of their Jobs."""
    steps = [_advance(target, facts, succeed, now) for target in targets]
    return tuple(target for target, _ in steps), tuple(notice for _, notices in steps for notice in notices)


def _advance(target: T, facts: JobFacts, succeed: Succeed[T], now: datetime) -> tuple[T, Notices]:
    job = facts.observations.get(target.name)
    if target.name in facts.creation_failures:
        return fail(target, facts.creation_failures[target.name], now)
    if target.phase.terminal or (job is None and target.phase is TargetPhase.PENDING):
        return target, ()
    if job is None:
        failure = Failure(reason="JobDeleted", message=f"somebody deleted its Job {target.job}")
        return fail(target, failure, now)
    target, notices = _with_notes(target, job)
    if job.result is not None:
        target, success = succeed(target, job, now)
        return target, (*notices, success)
    why = job.failure if job.failed else cannot_start(job, now, facts.start_deadline)
    if job.failed or why is not None:
        target, failure_notices = fail(target, why, job.ended or now)
        return target, (*notices, *failure_notices)
    progress = facts.progress.get(target.name) or target.progress
    return updated(target, phase=TargetPhase.RUNNING, progress=progress), notices


def _with_notes(target: T, job: Observation) -> tuple[T, Notices]:
    notices = tuple(
        Notice(n.reason, f"target {target.name}: {n.message}", f"{target.name}/{n.message}", n.warning)
        for n in job.notes
    )
    if job.more:
        message = f"target {target.name}: {job.more} more notes are in its manifest"
        notices = (*notices, Notice("NotesOmitted", message, f"{target.name}/more"))
    warnings = [*target.warnings, *(note.message for note in job.notes if note.warning)]
    if job.result is not None and job.failure is not None:
        warnings.append(f"an earlier attempt failed: {describe(job.failure)}")
    target = updated(
        target,
        attempts=job.attempts,
        start_time=job.started,
        failure=job.failure,
        warnings=tuple(dict.fromkeys(warnings)),
    )
    return target, notices


def fail(target: T, failure: Failure | None, ended: datetime) -> tuple[T, Notices]:
    """A target has failed and is not retried."""
    status = updated(target, phase=TargetPhase.FAILED, completion_time=ended, progress=None, failure=failure)
    why = describe(failure) if failure else "for no known reason"
    return status, (Notice("TargetFailed", f"target {target.name}: {why}", target.name, warning=True),)


def cancel(targets: Iterable[T], now: datetime) -> tuple[T, ...]:
    """The run or restore is cancelled, and the pods of targets that had not ended are gone."""
    return tuple(
        target
        if target.phase.terminal
        else updated(target, phase=TargetPhase.CANCELLED, completion_time=now, progress=None)
        for target in targets
    )


def obstacle(targets: Iterable[T], observations: Mapping[str, Observation]) -> tuple[str | None, str | None]:
    """Reason and message of what keeps a Job from going on at the moment."""
    for target in targets:
        job = observations.get(target.name)
        if target.phase.terminal or job is None:
            continue
        if job.complaint is not None:
            return job.complaint.reason, f"target {target.name} cannot start: {job.complaint.message}"
        if job.failure is not None:
            return "Retrying", f"target {target.name} is retried: {describe(job.failure)}"
    return None, None


def failures(targets: Iterable[T]) -> tuple[str, str]:
    """The reason of the first target that did not succeed, and the failures of all in words."""
    failed_targets = [
        (target.name, target.failure or Failure(reason=target.phase.value))
        for target in targets
        if target.phase is not TargetPhase.SUCCEEDED
    ]
    message = "; ".join(f"target {name}: {describe(failure)}" for name, failure in failed_targets)
    return failed_targets[0][1].reason, message
