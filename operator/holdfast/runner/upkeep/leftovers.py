"""Clears away what runs that ended without a backup left in the destinations.

The operator hands over runs that have no pods any more. What an entry of the catalogue claims stays, whatever
became of the run otherwise: only what nothing leads to is removed from among it.
"""

import logging
import time
from collections.abc import Iterable, Sequence

from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.protocol import CommitTask, Fate, Leftovers, Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import CatalogueEntry, RunPath
from holdfast.runner.stored.report import Outcome
from holdfast.runner.upkeep.cleaning import Cleaning
from holdfast.runner.upkeep.erasure import RESERVED, erase

_LOG = logging.getLogger(__name__)
_MOST_SECONDS = 600
"""No run is begun later than this after the first, so that many do not hold up the next backup."""


class Clearing:
    """What a commit clears away, and what it has to tell of it. Never fails the commit."""

    def __init__(self, task: CommitTask, meter: Meter) -> None:
        self.fates = ""
        self.notes: list[Note] = []
        self.outcomes: list[Outcome] = []
        self._task = task
        self._meter = meter
        self._messages: dict[str, str] = {}
        """By run: why its leftovers stay, until that is in its outcome."""
        self._silent: set[str] = set()
        """Destinations that do not even answer; nothing more is tried there."""

    def carry_out(self, destinations: Sequence[Destination], until: float) -> None:
        """Clear away what was handed over, and begin nothing once `time.monotonic()` is `until`."""
        until = min(until, time.monotonic() + _MOST_SECONDS)
        by_name = {destination.name: destination for destination in destinations}
        for each in self._task.leftovers:
            for run, fate in zip(
                each.runs, self._of(each, by_name.get(each.destination), until), strict=True
            ):
                self.fates += fate
                self.outcomes.append(
                    Outcome(
                        work="Leftovers",
                        run=run,
                        destination=each.destination,
                        outcome=fate.name.title(),
                        message=self._messages.pop(run, None),
                    )
                )

    def _of(self, left: Leftovers, destination: Destination | None, until: float) -> Iterable[Fate]:
        for run in left.runs:
            if destination is None or destination.name in self._silent or time.monotonic() >= until:
                yield Fate.UNTOUCHED
                continue
            self._meter.step(f"clearing away what run {run} left in {destination.name}")
            path = RunPath(self._task.namespace, self._task.policy, run)
            try:
                entry = destination.read(path.entry)
            except TransferError as error:
                self._silent.add(destination.name)
                yield self._stays(run, Fate.FAILED, error)
                continue
            yield self._attempt(destination, path, entry, held=left.held)

    def _attempt(self, destination: Destination, path: RunPath, entry: bytes | None, *, held: bool) -> Fate:
        if path.run in RESERVED or path.run == self._task.run:
            return Fate.REFUSED
        try:
            if entry is not None:
                Cleaning(path, CatalogueEntry.parse(entry, destination.uri(path.entry))).remove(destination)
                return Fate.DELETED if held else Fate.REFUSED
            if held:
                raise destination.mismatch(path.entry, "it is not there")
            _clear(destination, path)
            return Fate.DELETED
        except LockedError as error:
            return self._stays(path.run, Fate.LOCKED, error)
        except MismatchError as error:
            return self._stays(path.run, Fate.REFUSED, error)
        except TransferError as error:
            return self._stays(path.run, Fate.FAILED, error)

    def _stays(self, run: str, fate: Fate, error: TransferError) -> Fate:
        _LOG.warning("leftovers of run %s stay: %s", run, error.message)
        self._messages[run] = error.message
        self.notes.append(Note(reason="CleanupFailed", message=f"run {run}: {error.message}", warning=True))
        return fate


def _clear(destination: Destination, path: RunPath) -> None:
    erase(destination, path)
    for key in list(destination.list(path.unfinished_entries)):
        destination.delete(key)
