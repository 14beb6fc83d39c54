"""Deletes the runs that retention no longer keeps, and checks in the destination that nothing good goes.

A run without an entry in the catalogue is deleted without a question: some of it may be deleted already. The
operator names it again until a commit has reported that nothing is left.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from holdfast.api.base import format_time, to_utc_second
from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.layout import RunPath
from holdfast.protocol import CommitTask, DeletionOutcome, Expiry, ExpiryCandidate, Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import read_entry
from holdfast.runner.stored.manifest import CatalogueEntry
from holdfast.runner.upkeep.budget import Budget
from holdfast.runner.upkeep.erasure import erase, is_shown
from holdfast.runner.upkeep.outcomes import NoteKind, Outcomes

_log = logging.getLogger(__name__)
_NOTE_KINDS = {
    DeletionOutcome.DELETED: NoteKind("RetentionDeleted"),
    DeletionOutcome.LOCKED: NoteKind("RetentionWaits", is_warning=True),
    DeletionOutcome.REFUSED: NoteKind("RetentionRefused", is_warning=True),
    DeletionOutcome.FAILED: NoteKind("RetentionFailed", is_warning=True),
    DeletionOutcome.UNTOUCHED: NoteKind("RetentionUnfinished"),
}
Entry = CatalogueEntry | MismatchError | None
"""A run's entry in the catalogue: sound, damaged or absent."""


@dataclass(frozen=True)
class _KnownRun:
    """A run that a destination's catalogue has."""

    name: str
    recovery_point: datetime
    is_whole: bool
    is_verified: bool


class ExpiredRuns:
    """The runs that one commit deletes. They never fail the commit."""

    def __init__(self, task: CommitTask, committed: CatalogueEntry, meter: Meter) -> None:
        self.outcomes = Outcomes[DeletionOutcome]("Retention", _NOTE_KINDS)
        self.letters: dict[str, str] = {}
        """By destination: the outcomes, in the order of the Task."""
        self._task = task
        self._committed = committed
        self._meter = meter

    def delete(self, holding: Sequence[Destination], lacking: Sequence[Destination], budget: Budget) -> None:
        """Delete what the Task names, in those that hold the committed run and in those that lack it."""
        budget = budget.for_one_part()
        committed = {destination.name: self._committed for destination in holding}
        by_name = {destination.name: destination for destination in (*lacking, *holding)}
        for expiry in self._task.retention:
            destination = by_name.get(expiry.destination)
            if destination is None:
                continue
            in_destination = _ExpiryInDestination(
                self._task, expiry, destination, committed.get(destination.name), self.outcomes
            )
            in_destination.delete(self._meter, budget)
            self.letters[destination.name] = self.outcomes.letters_in(destination.name)

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is reported."""
        return tuple(self.outcomes.notes())


class _ExpiryInDestination:
    """What one destination deletes; `committed` is the run of the commit, None where that is not stored."""

    def __init__(
        self,
        task: CommitTask,
        expiry: Expiry,
        destination: Destination,
        committed: CatalogueEntry | None,
        outcomes: Outcomes[DeletionOutcome],
    ) -> None:
        self._outcomes = outcomes
        self._task = task
        self._expiry = expiry
        self._destination = destination
        self._committed = committed

    def delete(self, meter: Meter, budget: Budget) -> None:
        """Delete run by run; once the destination breaks, no other is started."""
        try:
            entries = {run.run: self._entry(run.run) for run in (*self._expiry.keep, *self._expiry.delete)}
        except TransferError as error:
            for run in self._expiry.delete:
                self._add(run, DeletionOutcome.FAILED, error.message)
            return
        guarded = self._guarded(entries)
        is_broken = False
        for run in self._expiry.delete:
            entry = entries[run.run]
            if is_broken or not budget.has_room:
                self._add(run, DeletionOutcome.FAILED if entry is None else DeletionOutcome.UNTOUCHED)
            elif (why := self._refusal(run, entry, guarded)) is not None:
                self._add(run, DeletionOutcome.REFUSED, why)
            else:
                meter.step(f"deleting run {run.run} in {self._destination.name}")
                is_broken = self._delete(run) is DeletionOutcome.FAILED

    def _entry(self, run: str) -> Entry:
        try:
            return read_entry(self._destination, self._path(run))
        except MismatchError as error:
            return error

    def _guarded(self, entries: Mapping[str, Entry]) -> dict[str, str]:
        """The runs that stay whatever the Task says, and why, by what the catalogue has of them."""
        known = []
        if self._committed is not None:
            is_whole = not self._committed.failed_targets
            known.append(
                _KnownRun(self._committed.run, self._committed.recovery_point, is_whole, is_verified=False)
            )
        for run in (*self._expiry.keep, *self._expiry.delete):
            entry = entries[run.run]
            if isinstance(entry, CatalogueEntry):
                is_whole = not entry.failed_targets
                known.append(_KnownRun(run.run, entry.recovery_point, is_whole, run.verified))
        guarded: dict[str, str] = {}
        for why, group in (
            ("the newest run", known),
            ("the newest run with every target", [run for run in known if run.is_whole]),
            ("the newest verified run", [run for run in known if run.is_verified]),
        ):
            if group:
                guarded.setdefault(max(group, key=lambda run: run.recovery_point).name, why)
        return guarded

    def _refusal(self, run: ExpiryCandidate, entry: Entry, guarded: Mapping[str, str]) -> str | None:
        if not self._task.may_change(run.run):
            return f"{run.run} is not a run that may be deleted"
        if run.run in guarded:
            return f"{run.run} is {guarded[run.run]} in the catalogue"
        if isinstance(entry, MismatchError):
            return entry.message
        if entry is not None and to_utc_second(entry.recovery_point) != to_utc_second(run.recovery_point):
            return (
                f"the catalogue's {run.run} is of {format_time(entry.recovery_point)}, "
                f"not of {format_time(run.recovery_point)}"
            )
        return None

    def _delete(self, run: ExpiryCandidate) -> DeletionOutcome:
        path = self._path(run.run)
        try:
            erase(self._destination, path)
        except LockedError as error:
            is_whole = is_shown(self._destination, path)
            return self._add(
                run, DeletionOutcome.LOCKED if is_whole else DeletionOutcome.FAILED, error.message
            )
        except TransferError as error:
            return self._add(run, DeletionOutcome.FAILED, error.message)
        _log.info("deleted run %s in %s", run.run, self._destination.name)
        return self._add(run, DeletionOutcome.DELETED)

    def _add(self, run: ExpiryCandidate, outcome: DeletionOutcome, message: str = "") -> DeletionOutcome:
        if message:
            _log.warning("retention: %s", message)
        self._outcomes.add(run.run, self._destination.name, outcome, message)
        return outcome

    def _path(self, run: str) -> RunPath:
        return RunPath(self._task.namespace, self._task.policy, run)
