"""Which BackupRun objects are more than a policy's history keeps."""

from collections.abc import Iterable
from datetime import datetime

from holdfast.api.destination import Destination
from holdfast.api.policy import History
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.backup.copies import uncleared
from holdfast.domain.labels import IMPORTED
from holdfast.domain.stored import EARLIEST

_WITHOUT_DATA = {
    RunPhase.FAILED: "failed",
    RunPhase.MISSED: "failed",
    RunPhase.SKIPPED: "failed",
    RunPhase.CANCELLED: "failed",
    RunPhase.EXPIRED: "succeeded",
}
"""Runs that succeeded are not here: their data is kept, and so is the object that leads to it."""

_MOST_WAITING = 50


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
        for run in sorted(group, key=age, reverse=True)[getattr(history, limit) :]
    ]
    waiting = [run for run in beyond if uncleared(run, places)]
    stays = {run.metadata.name for run in sorted(waiting, key=age, reverse=True)[:_MOST_WAITING]}
    return [run for run in beyond if run.metadata.name not in stays]


def age(run: BackupRun) -> tuple[datetime, str]:
    """Sorts the oldest first; one that a catalogue has brought back is as old as what it holds."""
    if IMPORTED in run.metadata.annotations and run.status.start_time is not None:
        return run.status.start_time, run.metadata.name
    return run.metadata.creation_timestamp or EARLIEST, run.metadata.name
