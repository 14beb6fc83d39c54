"""Deletes the runs that a commit was handed, and checks in the destination itself that nothing good goes.

A run without an entry in the catalogue is deleted without a question: some of it may be gone already, and the
operator hands it over until a commit has told that nothing is left.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from holdfast.api.base import to_utc_second
from holdfast.api.text import some_of
from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.protocol import CommitTask, Expiry, Fate, HeldRun, Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import CatalogueEntry, RunPath
from holdfast.runner.stored.report import Outcome
from holdfast.runner.upkeep.erasure import RESERVED, erase, is_shown

_LOG = logging.getLogger(__name__)
_MOST_SECONDS = 600
"""No deletion is begun later than this after the first, so that a backlog does not hold up the next run."""
_NAMED = 5
_TOLD = {
    Fate.DELETED: ("RetentionDeleted", False),
    Fate.LOCKED: ("RetentionWaits", True),
    Fate.REFUSED: ("RetentionRefused", True),
    Fate.FAILED: ("RetentionFailed", True),
    Fate.UNTOUCHED: ("RetentionUnfinished", False),
}


@dataclass(frozen=True)
class _Known:
    """A run that a destination's catalogue has."""

    run: str
    recovery_point: datetime
    whole: bool
    verified: bool


class Retention:
    """What a commit deletes, and what it has to tell of it. Never fails the commit."""

    def __init__(self, task: CommitTask) -> None:
        self.fates: dict[str, str] = {}
        self.notes: list[Note] = []
        self.outcomes: list[Outcome] = []
        self._task = task

    def carry_out(
        self,
        committed: CatalogueEntry,
        holding: Sequence[Destination],
        lacking: Sequence[Destination],
        meter: Meter,
        until: float,
    ) -> None:
        """Delete what is due in those that hold the run that was `committed`, and in those that lack it.

        No deletion is begun once `time.monotonic()` is `until`.
        """
        by_name = {each.name: (each, None) for each in lacking} | {
            each.name: (each, committed) for each in holding
        }
        until = min(until, time.monotonic() + _MOST_SECONDS)
        for expiry in self._task.retention:
            if expiry.destination in by_name:
                destination, newest = by_name[expiry.destination]
                place = _Place(self._task, newest, destination, meter)
                fates = place.carry_out(expiry, until)
                self.fates[expiry.destination] = "".join(fates)
                self.notes += _notes(expiry, fates, place.whys)
                self.outcomes += [
                    Outcome(
                        work="Retention",
                        run=held.run,
                        destination=expiry.destination,
                        outcome=fate.name.title(),
                        message=place.messages.get(held.run),
                    )
                    for held, fate in zip(expiry.delete, fates, strict=True)
                ]


def _notes(expiry: Expiry, fates: Sequence[Fate], whys: dict[Fate, str]) -> Iterable[Note]:
    for fate, (reason, warning) in _TOLD.items():
        runs = [held.run for held, own in zip(expiry.delete, fates, strict=True) if own is fate]
        if runs:
            why = f": {whys[fate]}" if fate in whys else ""
            message = f"destination {expiry.destination}: {some_of(runs, _NAMED)}{why}"
            yield Note(reason=reason, message=message, warning=warning)


class _Place:
    """One destination; `committed` is the run of the commit, None where it is not there.

    `whys` says for a fate why the first run met it, `messages` for every run why it met its own.
    """

    def __init__(
        self, task: CommitTask, committed: CatalogueEntry | None, destination: Destination, meter: Meter
    ) -> None:
        self.whys: dict[Fate, str] = {}
        self.messages: dict[str, str] = {}
        self._task = task
        self._committed = committed
        self._destination = destination
        self._meter = meter

    def carry_out(self, expiry: Expiry, until: float) -> list[Fate]:
        """The fate of each run of `expiry.delete`; once the destination breaks, no other is begun."""
        try:
            entries = {held.run: self._entry(held) for held in (*expiry.keep, *expiry.delete)}
        except TransferError as error:
            self._why(Fate.FAILED, error.message, *(held.run for held in expiry.delete))
            return [Fate.FAILED] * len(expiry.delete)
        stay = self._guarded(expiry, entries)
        fates: list[Fate] = []
        for held in expiry.delete:
            entry = entries[held.run]
            if Fate.FAILED in fates or time.monotonic() >= until:
                fates.append(Fate.FAILED if entry is None else Fate.UNTOUCHED)
            elif (why := self._refusal(held, entry, stay)) is not None:
                self._why(Fate.REFUSED, why, held.run)
                fates.append(Fate.REFUSED)
            else:
                fates.append(self._attempt(held.run))
        return fates

    def _entry(self, held: HeldRun) -> CatalogueEntry | MismatchError | None:
        path = self._path(held.run)
        data = self._destination.read(path.entry)
        if data is None:
            return None
        try:
            return CatalogueEntry.parse(data, self._destination.uri(path.entry))
        except MismatchError as error:
            return error

    def _guarded(
        self, expiry: Expiry, entries: dict[str, CatalogueEntry | MismatchError | None]
    ) -> dict[str, str]:
        """The runs that stay whatever was handed over, and why: told from what the catalogue has of them."""
        known = []
        if self._committed is not None:
            whole = not self._committed.failed_targets
            known.append(_Known(self._committed.run, self._committed.recovery_point, whole, verified=False))
        for held in (*expiry.keep, *expiry.delete):
            entry = entries[held.run]
            if isinstance(entry, CatalogueEntry):
                whole = not entry.failed_targets
                known.append(_Known(held.run, entry.recovery_point, whole, held.verified))
        stay: dict[str, str] = {}
        for why, group in (
            ("the newest run", known),
            ("the newest run with every target", [each for each in known if each.whole]),
            ("the newest verified run", [each for each in known if each.verified]),
        ):
            if group:
                stay.setdefault(max(group, key=lambda each: each.recovery_point).run, why)
        return stay

    def _refusal(
        self, held: HeldRun, entry: CatalogueEntry | MismatchError | None, stay: dict[str, str]
    ) -> str | None:
        if held.run in RESERVED or held.run == self._task.run:
            return f"{held.run} is not a run that may be deleted"
        if held.run in stay:
            return f"{held.run} is {stay[held.run]} that the catalogue has there"
        if isinstance(entry, MismatchError):
            return entry.message
        if entry is not None and to_utc_second(entry.recovery_point) != to_utc_second(held.recovery_point):
            return (
                f"the catalogue's {held.run} is of {entry.recovery_point:%Y-%m-%dT%H:%M:%SZ}, "
                f"not of {held.recovery_point:%Y-%m-%dT%H:%M:%SZ}"
            )
        return None

    def _attempt(self, run: str) -> Fate:
        self._meter.step(f"deleting run {run} in {self._destination.name}")
        path = self._path(run)
        try:
            erase(self._destination, path)
        except LockedError as error:
            whole = is_shown(self._destination, path)
            self._why(Fate.LOCKED if whole else Fate.FAILED, error.message, run)
            return Fate.LOCKED if whole else Fate.FAILED
        except TransferError as error:
            self._why(Fate.FAILED, error.message, run)
            return Fate.FAILED
        _LOG.info("deleted run %s in %s", run, self._destination.name)
        return Fate.DELETED

    def _path(self, run: str) -> RunPath:
        return RunPath(self._task.namespace, self._task.policy, run)

    def _why(self, fate: Fate, message: str, *runs: str) -> None:
        _LOG.warning("retention: %s", message)
        self.whys.setdefault(fate, message)
        self.messages |= dict.fromkeys(runs, message)
