"""Which BackupRun objects are more than a policy's history keeps."""

from collections.abc import Iterable
from datetime import UTC, datetime

from holdfast.api.destination import Destination
from holdfast.api.policy import History
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.copies import uncleared

_WITHOUT_DATA = {
    RunPhase.FAILED: "failed",
    RunPhase.MISSED: "failed",
    RunPhase.SKIPPED: "failed",
    RunPhase.CANCELLED: "failed",
    RunPhase.EXPIRED: "succeeded",
}
"""Runs that succeeded are not here: their data is kept, and so is the object that leads to it."""

_MOST_WAITING = 50
_EARLIEST = datetime.min.replace(tzinfo=UTC)


def beyond_history(
    runs: Iterable[BackupRun], history: History, destinations: Iterable[Destination] = ()
) -> list[BackupRun]:
    """The oldest ended runs without data, beyond those that the history keeps.

    Runs that may have left something in `destinations` stay until a commit has cleared it away, but for the
    oldest of very many: no other run knows where to look.
    """
    by_limit: dict[str, list[BackupRun]] = {"failed": [], "succeeded": []}
    for run in runs:
        if run.status.phase in _WITHOUT_DATA:
            by_limit[_WITHOUT_DATA[run.status.phase]].append(run)
    places = tuple(destinations)
    beyond = [
        run
        for limit, group in by_limit.items()
        for run in sorted(group, key=_age, reverse=True)[getattr(history, limit) :]
    ]
    waiting = [run for run in beyond if uncleared(run, places)]
    stays = {run.metadata.name for run in sorted(waiting, key=_age, reverse=True)[:_MOST_WAITING]}
    return [run for run in beyond if run.metadata.name not in stays]


def _age(run: BackupRun) -> tuple[datetime, str]:
    return run.metadata.creation_timestamp or _EARLIEST, run.metadata.name
