"""What a run has stored, and in which destinations, by its status. Pure."""

from datetime import UTC, datetime

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import STORED, BackupRun, BackupRunStatus, RunPhase, TargetPhase

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""Sorts what has no time before everything that has one."""


def targets_held(run: BackupRun) -> set[str]:
    """The names of the targets that succeeded."""
    return {target.name for target in run.status.targets if target.phase is TargetPhase.SUCCEEDED}


def is_whole(status: BackupRunStatus) -> bool:
    """Whether every target of the run succeeded."""
    return all(target.phase is TargetPhase.SUCCEEDED for target in status.targets)


def destinations_being_deleted(run: BackupRun) -> set[str]:
    """The destinations where the run's data may be partly deleted."""
    return {copy.destination for copy in run.status.expiring if copy.begun}


def destinations_holding(run: BackupRun) -> set[str]:
    """The destinations that hold every target that succeeded, and where nothing of the run is deleted."""
    if run.status.phase not in STORED:
        return set()
    copies = [
        {artifact.destination for artifact in target.artifacts}
        for target in run.status.targets
        if target.phase is TargetPhase.SUCCEEDED
    ]
    return (set.intersection(*copies) if copies else set()) - destinations_being_deleted(run)


def copies_text(run: BackupRun, status: BackupRunStatus) -> str:
    """`status.copies` of a run with this status: the destinations that hold it, of how many."""
    holding = destinations_holding(run.model_copy(update={"status": status}))
    return f"{len(holding)}/{len(status.destinations)}"


def bytes_by_destination(run: BackupRun) -> dict[str, int]:
    """By destination: the bytes of the run's artifacts that it holds."""
    if run.status.phase not in STORED:
        return {}
    totals: dict[str, int] = {}
    for target in run.status.targets:
        for artifact in target.artifacts:
            totals[artifact.destination] = totals.get(artifact.destination, 0) + artifact.size_bytes
    # The status does not list all artifacts of a target that has many.
    size = run.status.size_bytes
    return totals if size is None else totals | dict.fromkeys(destinations_holding(run), size)


def may_hold_data(run: BackupRun) -> bool:
    """Whether a destination may hold something of the run."""
    status = run.status
    if status.start_time is None or status.phase is None or status.phase is RunPhase.EXPIRED:
        return False
    if not status.phase.terminal or any(target.artifacts for target in status.targets):
        return True
    deleted, ended = run.metadata.deletion_timestamp, status.completion_time
    # The deletion stopped its pods, and no Result says what they had written.
    return deleted is not None and ended is not None and ended >= deleted


def current_destination(recorded: Destination, policy: BackupPolicy | None) -> Destination:
    """The policy's destination of that name if it is the same place, because its credentials may be newer."""
    if policy is not None:
        for destination in policy.spec.destinations:
            if destination.name == recorded.name and destination.place == recorded.place:
                return destination
    return recorded
