"""How a run is purged when its BackupRun is deleted and the policy says Delete. Pure.

A finalizer keeps a run that may hold data until a Purge Job reports that nothing more of it can be deleted.
The run is marked before that Job exists, so that no restore reads from it any more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from holdfast.api.base import format_time
from holdfast.api.conditions import Verdict, set_condition
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun, BackupRunStatus, Deletion, ExpiringCopy
from holdfast.api.text import counted, some_of
from holdfast.domain.labels import DATA
from holdfast.domain.rows import RunRow
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.workload import POD_LOST

DELETING, DELETION_FAILED = "Deleting", "DeletionFailed"
_MAX_NAMED = 5
_FIRST_PAUSE = timedelta(seconds=10)
_MAX_PAUSE = timedelta(hours=1)
_FOREGROUND = "foregroundDeletion"


def has_delete_policy(policy: BackupPolicy | None) -> bool:
    """Whether data goes with its run."""
    return policy is not None and policy.spec.deletion_policy == "Delete"


def run_finalizers(row: RunRow, policy: BackupPolicy) -> tuple[str, ...]:
    """The finalizers that a run should have, by its policy as it is now."""
    if not row.is_understood:
        return row.finalizers
    needs_purge = has_delete_policy(policy) and row.may_hold_data
    return _finalizers(row.finalizers, needs_purge, row.is_deleted)


def policy_finalizers(policy: BackupPolicy) -> tuple[str, ...]:
    """The finalizers that a policy should have."""
    metadata = policy.metadata
    is_deleted = metadata.deletion_timestamp is not None
    return _finalizers(metadata.finalizers, has_delete_policy(policy), is_deleted)


def _finalizers(present: tuple[str, ...], is_wanted: bool, is_deleted: bool) -> tuple[str, ...]:
    if not is_wanted:
        return without(present, DATA)
    # The API server lets nobody add one to an object that is being deleted.
    if DATA in present or is_deleted:
        return present
    return (*present, DATA)


def without_foreground(owner: BackupRun | RestoreRequest) -> tuple[str, ...]:
    """The finalizers of what is about to be purged or taken back, without the garbage collector's.

    After `--cascade=foreground` it deletes every Job of the owner, and would delete that one as well.
    """
    return without(owner.metadata.finalizers, _FOREGROUND)


def without(finalizers: Sequence[str], finalizer: str) -> tuple[str, ...]:
    """All but one."""
    return tuple(name for name in finalizers if name != finalizer)


def with_deletion_started(status: BackupRunStatus) -> BackupRunStatus:
    """The status of a run whose data is about to be deleted."""
    copies = tuple(
        ExpiringCopy(destination=destination.name, begun=True, message="it is deleted with its BackupRun")
        for destination in status.destinations
    )
    return updated(
        status, expiring=copies, deletion=Deletion(), reason=DELETING, message="its data is deleted"
    )


def start(run: BackupRun) -> Step[BackupRunStatus]:
    """The run's data is about to be deleted."""
    names = ", ".join(destination.name for destination in run.status.destinations)
    return Step(with_deletion_started(run.status), (Notice(DELETING, f"its data is deleted in {names}"),))


def retry_later(status: BackupRunStatus, message: str, now: datetime) -> Step[BackupRunStatus]:
    """The purge has failed; it is retried after twice the last pause."""
    attempts = status.deletion.attempts if status.deletion else 0
    pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2 ** min(attempts, 12))
    deletion = Deletion(attempts=attempts + 1, next_time=now + pause, message=message)
    said = f"{message}; the deletion is retried at {format_time(now + pause)}"
    notice = Notice(DELETION_FAILED, said, f"{attempts + 1}/{message}", warning=True)
    return Step(updated(status, deletion=deletion, reason=DELETION_FAILED, message=said), (notice,))


def with_obstacle(status: BackupRunStatus, message: str | None) -> BackupRunStatus:
    """The status while the purge goes on; `message` says what keeps its Job from running."""
    deletion = updated(status.deletion or Deletion(), message=message)
    return updated(status, deletion=deletion, reason=DELETING, message=message or "its data is deleted")


def notices_of_lost(pods: Sequence[str]) -> tuple[Notice, ...]:
    """The purge does not wait for these pods."""
    if not pods:
        return ()
    names = ", ".join(pods)
    message = f"{names} did not end: the node is probably lost. What the pod still writes is not deleted"
    return (Notice(POD_LOST, message, names, warning=True),)


def report_policy(policy: BackupPolicy, rows: Sequence[RunRow], now: datetime) -> Step[BackupPolicyStatus]:
    """What keeps a policy that is being deleted: the runs whose data is not deleted yet."""
    names = some_of(sorted(row.name for row in rows), _MAX_NAMED)
    message = f"waits until the data of {counted(len(rows), 'runs')} is deleted: {names}"
    verdict = Verdict("Ready", "False", DELETING, message)
    conditions = set_condition(policy.status.conditions, verdict, now, policy.metadata.generation)
    return Step(updated(policy.status, conditions=conditions))
