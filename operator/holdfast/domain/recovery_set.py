"""How the copies that a RestoreRequest loads are put in place or taken back: all of them or none. Pure.

Every target stages its copy and compares it. When all have, every copy is put in place. If a target fails
before that, what the others have staged is dropped; if one fails at it for good, what stands in place is
dropped too. The targets alone say how far that is: the operator may be killed between any two writes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from holdfast.api.restore import (
    CopyState,
    RestorePhase,
    RestoreRequest,
    RestoreRequestStatus,
    RestoreTargetStatus,
)
from holdfast.api.run import Failure, TargetPhase
from holdfast.api.text import some_of
from holdfast.domain.step import Notice, describe, updated
from holdfast.domain.targets import fail
from holdfast.domain.workload import Observation, end_failure, notices_of
from holdfast.protocol import ExitCode

_CHECKS_TIME = timedelta(seconds=20)
"""How long the first target that is refused waits for the checks of the others: all are listed at once."""
_COPIES = (CopyState.STAGED, CopyState.IN_PLACE)
_KEPT = (CopyState.STAGED, CopyState.LEFT)
_MAX_NAMED = 5
Targets = tuple[RestoreTargetStatus, ...]


class Course(Enum):
    """What is to be done for the targets of a request."""

    STAGING = auto()
    """Their copies are loaded and compared."""
    SWAPPING = auto()
    """All are staged, and are put in place."""
    TAKING_BACK = auto()
    """One has failed, or the request is cancelled: what was loaded is dropped."""
    KEPT = auto()
    """All are staged, and some lack objects: a user decides."""
    DONE = auto()
    """All are in place."""


@dataclass(frozen=True)
class SetFacts:
    """What is known of the Jobs of a request, each by its target."""

    restores: Mapping[str, Observation]
    swaps: Mapping[str, Observation]
    discards: Mapping[str, Observation]
    start_deadline: timedelta
    creation_failures: Mapping[str, Failure] = field(default_factory=dict)
    """Why Swap or Discard Jobs can never be created."""
    lost_pods: tuple[str, ...] | None = ()
    """Pods of Restore Jobs that will never end; None while one may still load something."""

    @property
    def is_swapping(self) -> bool:
        """Whether a Swap Job is under way."""
        return any(not job.has_ended for job in self.swaps.values())


def course_of(targets: Sequence[RestoreTargetStatus], now: datetime) -> Course:
    """What is to be done, by the targets as they are."""
    failed = [target for target in targets if _is_lost(target)]
    if failed:
        return Course.STAGING if _gathers_checks(targets, failed, now) else Course.TAKING_BACK
    if not all(t.phase.has_ended or t.copy_state is CopyState.STAGED for t in targets):
        return Course.STAGING
    if any(t.phase is TargetPhase.FAILED for t in targets):
        return Course.KEPT
    return Course.DONE if all(t.phase is TargetPhase.SUCCEEDED for t in targets) else Course.SWAPPING


def _is_lost(target: RestoreTargetStatus) -> bool:
    """Whether it has ended, and has no copy that could be put in place."""
    if target.phase is TargetPhase.FAILED:
        return target.copy_state is not CopyState.STAGED
    return target.phase.has_ended and target.phase is not TargetPhase.SUCCEEDED


def _gathers_checks(
    targets: Iterable[RestoreTargetStatus], failed: Sequence[RestoreTargetStatus], now: datetime
) -> bool:
    """Whether all that failed were asked for something wrong, and others may still say that they were too."""
    if not all(t.failure is not None and t.failure.exit_code == ExitCode.TASK_WRONG for t in failed):
        return False
    first = min((t.completion_time for t in failed if t.completion_time), default=now)
    return now < first + _CHECKS_TIME and any(not t.phase.has_ended and t.copy_state is None for t in targets)


def checks_end(targets: Iterable[RestoreTargetStatus], now: datetime) -> float | None:
    """Seconds until no more checks are waited for; None where none are."""
    ends = [t.completion_time for t in targets if _is_lost(t) and t.completion_time]
    return max(0.0, (min(ends) + _CHECKS_TIME - now).total_seconds()) if ends else None


def to_swap(targets: Iterable[RestoreTargetStatus]) -> tuple[str, ...]:
    """The targets whose copies are not in place yet."""
    return tuple(target.name for target in targets if target.copy_state is CopyState.STAGED)


def to_discard(
    targets: Iterable[RestoreTargetStatus], restores: Mapping[str, Observation]
) -> tuple[str, ...]:
    """The targets whose servers may hold something that this request has loaded."""
    return tuple(t.name for t in targets if t.copy_state in _COPIES or _may_have_loaded(t, restores))


def _may_have_loaded(target: RestoreTargetStatus, restores: Mapping[str, Observation]) -> bool:
    if target.copy_state is not None or target.start_time is None or target.phase is TargetPhase.SUCCEEDED:
        return False
    job = restores.get(target.name)
    return not (job is not None and job.refused and target.attempts <= 1)


def with_starts(targets: Targets, jobs_started: Collection[str], now: datetime) -> Targets:
    """The targets; of a pod that was stopped before anybody saw it start, it is now known that it has."""
    return tuple(
        updated(target, start_time=now)
        if target.start_time is None and target.job in jobs_started
        else target
        for target in targets
    )


def advance_swaps(
    targets: Targets, facts: SetFacts, now: datetime
) -> tuple[Targets, tuple[Notice, ...], tuple[str, ...]]:
    """The targets by what is known of their Swap Jobs, events, and what was finished by a later attempt."""
    after, finished = [], []
    notices: list[Notice] = []
    for target in targets:
        job = facts.swaps.get(target.name)
        failure = facts.creation_failures.get(target.name)
        if target.copy_state is not CopyState.STAGED or (job is None and failure is None):
            after.append(target)
            continue
        if job is not None and job.result is not None:
            if job.attempt_failure is not None:
                finished.append(
                    f"target {target.name} was put in place by a later attempt; "
                    f"the one before failed: {describe(job.attempt_failure)}"
                )
            warned = (note.message for note in job.notes if note.warning)
            target = updated(target, warnings=tuple(dict.fromkeys((*target.warnings, *warned))))
            after.append(in_place(target, job.ended or now))
            notices += (*notices_of(job, f"target {target.name}"), _restored(target))
            continue
        if job is not None:
            failure = end_failure(job, now, facts.start_deadline)
        if failure is None:
            after.append(target)
            continue
        failed, said = fail(updated(target, copy_state=None), failure, now)
        after.append(failed)
        notices += said
    return tuple(after), tuple(notices), tuple(finished)


def in_place(target: RestoreTargetStatus, ended: datetime) -> RestoreTargetStatus:
    """A target whose copy has its final names. One that has ended without them stays as it ended."""
    phase = target.phase if target.phase.has_ended else TargetPhase.SUCCEEDED
    return updated(target, phase=phase, completion_time=ended, copy_state=CopyState.IN_PLACE, staged=())


def _restored(target: RestoreTargetStatus) -> Notice:
    message = f"target {target.name}: put in place at {target.address}"
    return Notice("TargetSucceeded", message, target.name)


def advance_discards(
    targets: Targets, names: Collection[str], facts: SetFacts, now: datetime
) -> tuple[Targets, tuple[Notice, ...]]:
    """The targets by what is known of the Discard Jobs of some of them, and events."""
    after, notices = [], []
    for target in targets:
        job, failure = facts.discards.get(target.name), facts.creation_failures.get(target.name)
        if job is not None and job.result is None:
            failure = end_failure(job, now, facts.start_deadline)
        if target.name not in names or (job is None and failure is None):
            after.append(target)
        elif failure is not None:
            after.append(left(target, failure, now))
            message = f"target {target.name}: {_where(target)}: {describe(failure)}"
            notices.append(Notice("CopyLeft", message, target.name, warning=True))
        elif job is not None and job.result is not None:
            after.append(_ended(updated(target, copy_state=CopyState.DISCARDED, staged=()), now))
        else:
            after.append(target)
    return tuple(after), tuple(notices)


def left(target: RestoreTargetStatus, failure: Failure, now: datetime) -> RestoreTargetStatus:
    """A target whose copy could not be dropped."""
    warning = f"{_where(target)}: {describe(failure)}"
    warnings = tuple(dict.fromkeys((*target.warnings, warning)))
    return _ended(updated(target, copy_state=CopyState.LEFT, warnings=warnings), now)


def _where(target: RestoreTargetStatus) -> str:
    names = f" ({', '.join(target.staged)})" if target.staged else ""
    return f"what was loaded to {target.address or 'its server'}{names} could not be dropped and may be there"


def _ended(target: RestoreTargetStatus, now: datetime) -> RestoreTargetStatus:
    """A target without its copy: cancelled, unless it has failed itself."""
    if target.phase is TargetPhase.FAILED:
        return target
    return updated(target, phase=TargetPhase.CANCELLED, completion_time=now, progress=None)


def rollback(targets: Sequence[RestoreTargetStatus], swaps: Mapping[str, Observation]) -> str | None:
    """What became of what was loaded, where it was taken back; None where nothing was loaded."""
    was_in_place = {name for name, job in swaps.items() if job.result is not None}
    gone = [t.name for t in targets if t.copy_state is CopyState.DISCARDED]
    undone = [name for name in gone if name in was_in_place]
    dropped = [name for name in gone if name not in was_in_place]
    parts = []
    if undone:
        parts.append(f"undone: what {_listed(undone)} had in place already is deleted again")
    if dropped:
        parts.append(f"discarded: what {_listed(dropped)} had loaded is dropped again")
    parts += [
        f"left: target {t.name}: {_where(t)}; discard: true of the request, or its deletion, retries that"
        for t in targets
        if t.copy_state is CopyState.LEFT
    ]
    return "; ".join(parts) or None


def _listed(names: Sequence[str]) -> str:
    return f"target{'s' if len(names) > 1 else ''} {', '.join(names)}"


class Wish(Enum):
    """What is still to be done for the copies of a request that has ended."""

    SWAP = auto()
    DISCARD = auto()


def wish_of(request: RestoreRequest) -> Wish | None:
    """What the request, or its deletion, asks for; a copy that is dropped cannot be put in place any more."""
    copies = {target.copy_state for target in request.status.targets}
    is_unwanted = request.spec.discard or request.metadata.deletion_timestamp is not None
    if is_unwanted and copies & {CopyState.STAGED, CopyState.LEFT}:
        return Wish.DISCARD
    if request.spec.promote == "Swap" and CopyState.STAGED in copies:
        return Wish.SWAP
    return None


def has_copies(status: RestoreRequestStatus) -> bool:
    """Whether servers hold, or may hold, what is neither in place nor dropped."""
    return any(target.copy_state in _KEPT for target in status.targets)


def former_copies(request: RestoreRequest, others: Iterable[RestoreRequest]) -> tuple[Notice, ...]:
    """Says which requests that have ended still hold copies of targets that this one restores."""
    names = {target.name for target in request.status.targets}
    notices = []
    for other in others:
        phase: RestorePhase | None = other.status.phase
        if other.metadata.uid == request.metadata.uid or phase is None or not phase.has_ended:
            continue
        kept = [t for t in other.status.targets if t.copy_state in _KEPT and t.name in names]
        if kept:
            staged = [name for target in kept for name in target.staged]
            message = (
                f"request {other.metadata.name} has ended, and what it has loaded of "
                f"{', '.join(target.name for target in kept)} is still on a server"
                f"{f' ({some_of(staged, _MAX_NAMED)})' if staged else ''}: its deletion drops that"
            )
            notices.append(Notice("FormerCopies", message, other.metadata.name, warning=True))
    return tuple(notices)
