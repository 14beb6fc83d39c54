"""What of the source a run's backups lack: in its status, and in words. Pure."""

from collections.abc import Sequence

from holdfast.api import run as api
from holdfast.api.run import MAX_OMISSIONS, BackupRunStatus
from holdfast.api.text import some_of
from holdfast.domain.step import Notice, updated
from holdfast.protocol import Omission

DATA_OMITTED = "DataOmitted"
_MAX_NAMED = 3


def with_omissions(
    status: BackupRunStatus, target: str, omissions: Sequence[Omission], more: int
) -> BackupRunStatus:
    """The status with what the backup of a target lacks; `more` are only in its manifest."""
    room = MAX_OMISSIONS - len(status.omissions)
    added = tuple(
        api.Omission(target=target, what=omission.what, count=omission.count, reason=omission.reason)
        for omission in omissions[:room]
    )
    unlisted = (status.omissions_omitted or 0) + len(omissions[room:]) + more
    return updated(status, omissions=(*status.omissions, *added), omissions_omitted=unlisted or None)


def warning(omissions: Sequence[Omission], more: int) -> str:
    """What the backup of a target lacks."""
    named = some_of([omission.text for omission in omissions], _MAX_NAMED)
    return f"the backup lacks {named}" + (f"; {more} more are in the manifest" if more else "")


def notice(target: str, omissions: Sequence[Omission], more: int) -> Notice:
    """The event that tells of it."""
    return Notice(DATA_OMITTED, f"target {target}: {warning(omissions, more)}", target, warning=True)
