"""What becomes of a run's data when its BackupRun is deleted and the policy says Delete. Pure.

A finalizer keeps a run that may hold data until a Purge Job has told that nothing more of it can be deleted.
The run is marked as going before that Job is made, so that no restore reads from it any more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from holdfast.api.meta import Metadata
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, BackupRunStatus, Deletion, Expiring, RunPhase
from holdfast.domain.labels import DATA
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.workload import Observation

_FIRST_PAUSE = timedelta(seconds=10)
_LONGEST_PAUSE = timedelta(hours=1)
_FOREGROUND = "foregroundDeletion"


def deletes(policy: BackupPolicy | None) -> bool:
    """Whether data goes with its run."""
    return policy is not None and policy.spec.deletion_policy == "Delete"


def may_hold_data(run: BackupRun) -> bool:
    """Whether a destination may hold something of the run."""
    status = run.status
    if status.start_time is None or status.phase is None or status.phase is RunPhase.EXPIRED:
        return False
    if not status.phase.terminal or any(target.artifacts for target in status.targets):
        return True
    deleted, ended = run.metadata.deletion_timestamp, status.completion_time
    # Its pods were stopped because of that, and what they had written is told by no Result.
    return deleted is not None and ended is not None and ended >= deleted


def finalizers(run: BackupRun, policy: BackupPolicy) -> tuple[str, ...]:
    """Those that a run should have, now that its policy says what it says."""
    return _finalizers(run.metadata, deletes(policy) and may_hold_data(run))


def finalizers_of(policy: BackupPolicy) -> tuple[str, ...]:
    """Those that a policy should have."""
    return _finalizers(policy.metadata, deletes(policy))


def _finalizers(metadata: Metadata, wanted: bool) -> tuple[str, ...]:
    if not wanted:
        return without(metadata.finalizers, DATA)
    # None can be added any more to what is being deleted.
    if DATA in metadata.finalizers or metadata.deletion_timestamp is not None:
        return metadata.finalizers
    return (*metadata.finalizers, DATA)


def unhindered(run: BackupRun) -> tuple[str, ...]:
    """The finalizers of a run that is about to be purged, without the garbage collector's.

    By `--cascade=foreground` it deletes whatever Job the run has, and would delete the Purge Job as well.
    """
    return without(run.metadata.finalizers, _FOREGROUND)


def without(finalizers: Sequence[str], finalizer: str) -> tuple[str, ...]:
    """All but one."""
    return tuple(each for each in finalizers if each != finalizer)


def begun(status: BackupRunStatus) -> BackupRunStatus:
    """The status of a run whose data is about to be deleted."""
    going = tuple(
        Expiring(destination=each.name, begun=True, message="it is deleted with its BackupRun")
        for each in status.destinations
    )
    return updated(status, expiring=going, deletion=Deletion())


def failed(status: BackupRunStatus, message: str, now: datetime) -> Step[BackupRunStatus]:
    """An attempt has failed; the next one is after twice the pause."""
    attempts = status.deletion.attempts if status.deletion else 0
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempts, 12))
    deletion = Deletion(attempts=attempts + 1, next_time=now + pause, message=message)
    notice = Notice("DeletionFailed", f"{message}; it is tried again", message, warning=True)
    return Step(updated(status, deletion=deletion), (notice,))


def waits_for(status: BackupRunStatus, message: str | None) -> BackupRunStatus:
    """The status while an attempt goes on; `message` says what holds it up."""
    deletion = status.deletion or Deletion()
    return updated(status, deletion=updated(deletion, message=message))


def told(seen: Observation) -> tuple[Notice, ...]:
    """What the Job has to tell, once for each thing said."""
    return tuple(Notice(note.reason, note.message, note.message, note.warning) for note in seen.notes)
