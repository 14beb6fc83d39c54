"""How each target of a run or restore goes from phase to phase, told from its Job. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from holdfast.api.restore import RestoreTargetStatus
from holdfast.api.run import Failure, Progress, TargetPhase, TargetStatus
from holdfast.domain.step import Notice, describe, updated
from holdfast.domain.workload import Observation, cannot_start

T = TypeVar("T", bound=TargetStatus | RestoreTargetStatus)
Notices = tuple[Notice, ...]
Succeed = Callable[[T, Observation, datetime], tuple[T, Notice]]
"""What the Result of a Job that ended well makes of its target, and how that is told."""


@dataclass(frozen=True)
class JobFacts:
    """What is known of the Jobs, each by its target."""

    seen: Mapping[str, Observation]
    broken: Mapping[str, Failure]
    """Why Jobs could not be made."""
    progress: Mapping[str, Progress]
    start_deadline: timedelta
    """How long a pod may be unable to start for a known reason."""


def advance_targets(
    targets: Iterable[T], facts: JobFacts, succeed: Succeed[T], now: datetime
) -> tuple[tuple[T, ...], Notices]:
    """Take in what the Jobs of all targets have come to."""
    advanced = [_advance(target, facts, succeed, now) for target in targets]
    return tuple(target for target, _ in advanced), tuple(note for _, notes in advanced for note in notes)


def _advance(target: T, facts: JobFacts, succeed: Succeed[T], now: datetime) -> tuple[T, Notices]:
    seen = facts.seen.get(target.name)
    if target.name in facts.broken:
        return fail(target, facts.broken[target.name], now)
    if target.phase.terminal or (seen is None and target.phase is TargetPhase.PENDING):
        return target, ()
    if seen is None:
        failure = Failure(reason="JobDeleted", message=f"somebody deleted its Job {target.job}")
        return fail(target, failure, now)
    noted, notices = _take_notes(target, seen)
    if seen.result is not None:
        done, success = succeed(noted, seen, now)
        return done, (*notices, success)
    why = seen.failure if seen.failed else cannot_start(seen, now, facts.start_deadline)
    if seen.failed or why is not None:
        failed, told = fail(noted, why, seen.ended or now)
        return failed, (*notices, *told)
    progress = facts.progress.get(target.name) or target.progress
    return updated(noted, phase=TargetPhase.RUNNING, progress=progress), notices


def _take_notes(target: T, seen: Observation) -> tuple[T, Notices]:
    notices = tuple(
        Notice(n.reason, f"target {target.name}: {n.message}", f"{target.name}/{n.message}", n.warning)
        for n in seen.notes
    )
    if seen.more:
        message = f"target {target.name}: {seen.more} more notes are in its manifest"
        notices = (*notices, Notice("NotesOmitted", message, f"{target.name}/more"))
    warnings = [*target.warnings, *(note.message for note in seen.notes if note.warning)]
    if seen.result is not None and seen.failure is not None:
        warnings.append(f"an earlier attempt failed: {describe(seen.failure)}")
    noted = updated(
        target,
        attempts=seen.attempts,
        start_time=seen.started,
        failure=seen.failure,
        warnings=tuple(dict.fromkeys(warnings)),
    )
    return noted, notices


def fail(target: T, failure: Failure | None, ended: datetime) -> tuple[T, Notices]:
    """A target that has failed for good."""
    status = updated(target, phase=TargetPhase.FAILED, completion_time=ended, progress=None, failure=failure)
    why = describe(failure) if failure else "for no known reason"
    return status, (Notice("TargetFailed", f"target {target.name}: {why}", target.name, warning=True),)


def cancel(targets: Iterable[T], now: datetime) -> tuple[T, ...]:
    """All targets once the pods of those that had not ended are gone."""
    return tuple(
        target
        if target.phase.terminal
        else updated(target, phase=TargetPhase.CANCELLED, completion_time=now, progress=None)
        for target in targets
    )


def held_up(targets: Iterable[T], seen: Mapping[str, Observation]) -> tuple[str | None, str | None]:
    """What holds a Job up at the moment: reason and message, if anything does."""
    for target in targets:
        job = seen.get(target.name)
        if target.phase.terminal or job is None:
            continue
        if job.complaint is not None:
            return job.complaint.reason, f"target {target.name} cannot start: {job.complaint.message}"
        if job.failure is not None:
            return "Retrying", f"target {target.name} is tried again: {describe(job.failure)}"
    return None, None


def failures(targets: Iterable[T]) -> tuple[str, str]:
    """Why those that did not succeed did not: the first one's reason, and everything in words."""
    failed = [
        (target.name, target.failure or Failure(reason=target.phase.value))
        for target in targets
        if target.phase is not TargetPhase.SUCCEEDED
    ]
    message = "; ".join(f"target {name}: {describe(failure)}" for name, failure in failed)
    return failed[0][1].reason, message
