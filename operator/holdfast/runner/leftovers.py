"""Clears away what runs that ended without a backup left in the destinations.

The operator hands over runs that have no pods any more. What an entry of the catalogue claims stays, whatever
became of the run otherwise: only what nothing leads to is removed from among it.
"""

import logging
import time
from collections.abc import Iterable, Sequence

from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.protocol import CommitTask, Fate, Note
from holdfast.runner.cleaning import Cleaning
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.erasure import erase_run
from holdfast.runner.manifest import CATALOGUE, CatalogueEntry, RunPath
from holdfast.runner.progress import Meter

_LOG = logging.getLogger(__name__)
_MOST_SECONDS = 600
"""No run is begun later than this after the first, so that many do not hold up the next backup."""
_RESERVED = (CATALOGUE, "wal")


class Clearing:
    """What a commit clears away, and what it has to tell of it. Never fails the commit."""

    def __init__(self, task: CommitTask, meter: Meter) -> None:
        self.fates: dict[str, str] = {}
        self.notes: list[Note] = []
        self._task = task
        self._meter = meter

    def carry_out(self, destinations: Sequence[Destination], until: float) -> None:
        """Clear away what was handed over, and begin nothing once `time.monotonic()` is `until`."""
        until = min(until, time.monotonic() + _MOST_SECONDS)
        by_name = {destination.name: destination for destination in destinations}
        for each in self._task.leftovers:
            if each.destination in by_name:
                self.fates[each.destination] = "".join(self._of(by_name[each.destination], each.runs, until))

    def _of(self, destination: Destination, runs: Iterable[str], until: float) -> Iterable[Fate]:
        answers = True
        for run in runs:
            if not answers or time.monotonic() >= until:
                yield Fate.UNTOUCHED
                continue
            self._meter.step(f"clearing away what run {run} left in {destination.name}")
            path = RunPath(self._task.namespace, self._task.policy, run)
            try:
                entry = destination.read(path.entry)
            except TransferError as error:
                answers = False
                yield self._stays(run, Fate.FAILED, error)
                continue
            yield self._attempt(destination, path, entry)

    def _attempt(self, destination: Destination, path: RunPath, entry: bytes | None) -> Fate:
        if path.run in _RESERVED or path.run == self._task.run:
            return Fate.REFUSED
        try:
            if entry is None:
                _clear(destination, path)
                return Fate.DELETED
            Cleaning(path, CatalogueEntry.parse(entry, destination.uri(path.entry))).remove(destination)
            return Fate.REFUSED
        except LockedError as error:
            return self._stays(path.run, Fate.LOCKED, error)
        except MismatchError as error:
            return self._stays(path.run, Fate.REFUSED, error)
        except TransferError as error:
            return self._stays(path.run, Fate.FAILED, error)

    def _stays(self, run: str, fate: Fate, error: TransferError) -> Fate:
        _LOG.warning("leftovers of run %s stay: %s", run, error.message)
        self.notes.append(Note(reason="CleanupFailed", message=f"run {run}: {error.message}", warning=True))
        return fate


def _clear(destination: Destination, path: RunPath) -> None:
    erase_run(destination, path)
    for key in list(destination.list(path.unfinished_entries)):
        destination.delete(key)
