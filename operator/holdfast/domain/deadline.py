"""When a run or a restore has taken too long, and why. Pure."""

from collections.abc import Iterable
from datetime import datetime

from holdfast.api.restore import RestoreRequestStatus
from holdfast.api.run import BackupRunStatus, Failure, RunSettings
from holdfast.domain.targets import JOB_NOT_CREATED, T, fail

EXCEEDED = "DeadlineExceeded"


def remaining(status: BackupRunStatus | RestoreRequestStatus, now: datetime) -> float:
    """Seconds until the deadline, 0 after it and where none is written down."""
    return 0.0 if status.deadline is None else max(0.0, (status.deadline - now).total_seconds())


def failure_of(status: BackupRunStatus | RestoreRequestStatus) -> Failure:
    """Why it has not ended in time, with what held it up last."""
    settings = status.settings or RunSettings()
    message = f"not done within activeDeadline ({settings.active_deadline})"
    if status.reason is not None:
        message += f"; it waited for this: {status.reason}: {status.message}"
    reason = JOB_NOT_CREATED if status.reason == JOB_NOT_CREATED else EXCEEDED
    return Failure(reason=reason, message=message)


def fail_overdue(targets: Iterable[T], failure: Failure, now: datetime) -> tuple[T, ...]:
    """The targets at the deadline: what has ended stays as it is."""
    return tuple(target if target.phase.has_ended else fail(target, failure, now)[0] for target in targets)
