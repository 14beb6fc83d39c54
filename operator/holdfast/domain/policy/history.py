"""Which BackupRun objects are more than a policy's history keeps. Pure."""

from collections.abc import Iterable

from holdfast.api.destination import Destination
from holdfast.api.policy import History
from holdfast.api.run import RunPhase
from holdfast.domain.backup.copies import destinations_to_clear
from holdfast.domain.rows import RunRow

_WITHOUT_DATA = {
    RunPhase.FAILED: "failed",
    RunPhase.MISSED: "failed",
    RunPhase.SKIPPED: "failed",
    RunPhase.CANCELLED: "failed",
    RunPhase.EXPIRED: "succeeded",
}
"""By phase: the field of `history` that counts the run. Runs that hold data are kept, whatever it says."""

_MAX_UNCLEARED = 50


def runs_to_prune(
    rows: Iterable[RunRow], history: History, destinations: Iterable[Destination] = ()
) -> list[RunRow]:
    """The oldest ended runs without data, beyond those that the history keeps.

    A run that may have left something in `destinations` stays until a commit has cleared it, because no other
    object knows where to look. Of very many such runs the oldest go all the same.
    """
    by_limit: dict[str, list[RunRow]] = {"failed": [], "succeeded": []}
    for row in rows:
        if row.phase in _WITHOUT_DATA and row.is_understood:
            by_limit[_WITHOUT_DATA[row.phase]].append(row)
    destinations = tuple(destinations)
    beyond = [
        row
        for limit, group in by_limit.items()
        for row in sorted(group, key=lambda row: row.age, reverse=True)[getattr(history, limit) :]
    ]
    uncleared = [row for row in beyond if destinations_to_clear(row, destinations)]
    uncleared.sort(key=lambda row: row.age, reverse=True)
    kept = {row.name for row in uncleared[:_MAX_UNCLEARED]}
    return [row for row in beyond if row.name not in kept]
