"""Clears what runs that ended without a backup left in the destinations.

The operator names runs that have no pods any more. Whatever became of a run, the objects that its entry leads
to stay: only objects that no manifest names are deleted beside them.
"""

import logging
from collections.abc import Sequence

from holdfast.engines.transfer import MismatchError, TransferError
from holdfast.layout import RunPath
from holdfast.protocol import CommitTask, DeletionOutcome, Leftovers, Note
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.documents import parse_entry
from holdfast.runner.upkeep.budget import Budget
from holdfast.runner.upkeep.erasure import erase
from holdfast.runner.upkeep.outcomes import NoteKind, Outcomes
from holdfast.runner.upkeep.unreferenced import UnreferencedObjects

_log = logging.getLogger(__name__)
_STAYS = NoteKind("CleanupFailed", is_warning=True, only_with_message=True)
_NOTE_KINDS = dict.fromkeys((DeletionOutcome.LOCKED, DeletionOutcome.REFUSED, DeletionOutcome.FAILED), _STAYS)


class FailedRunLeftovers:
    """The leftovers that one commit clears. They never fail the commit."""

    def __init__(self, task: CommitTask, meter: Meter) -> None:
        self.outcomes = Outcomes[DeletionOutcome]("Leftovers", _NOTE_KINDS)
        self._task = task
        self._meter = meter
        self._unreachable: set[str] = set()
        """Destinations that do not answer; nothing more is tried there."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is reported."""
        return tuple(self.outcomes.notes())

    def clear(self, destinations: Sequence[Destination], budget: Budget) -> None:
        """Clear what the Task names, as far as the budget goes."""
        budget = budget.for_one_part()
        by_name = {destination.name: destination for destination in destinations}
        for leftovers in self._task.leftovers:
            destination = by_name.get(leftovers.destination)
            for run in leftovers.runs:
                outcome, message = self._clear_run(run, leftovers, destination, budget)
                self.outcomes.add(run, leftovers.destination, outcome, message)

    def _clear_run(
        self, run: str, leftovers: Leftovers, destination: Destination | None, budget: Budget
    ) -> tuple[DeletionOutcome, str]:
        if destination is None or destination.name in self._unreachable or not budget.has_room:
            return DeletionOutcome.UNTOUCHED, ""
        if not self._task.may_change(run):
            return DeletionOutcome.REFUSED, ""
        self._meter.step(f"clearing what run {run} left in {destination.name}")
        path = RunPath(self._task.namespace, self._task.policy, run)
        try:
            entry = destination.read(path.entry)
        except TransferError as error:
            self._unreachable.add(destination.name)
            return _stays(run, DeletionOutcome.FAILED, error)
        try:
            return self._outcome(destination, path, entry, is_held=leftovers.held), ""
        except LockedError as error:
            return _stays(run, DeletionOutcome.LOCKED, error)
        except MismatchError as error:
            return _stays(run, DeletionOutcome.REFUSED, error)
        except TransferError as error:
            return _stays(run, DeletionOutcome.FAILED, error)

    def _outcome(
        self, destination: Destination, path: RunPath, entry: bytes | None, *, is_held: bool
    ) -> DeletionOutcome:
        if entry is not None:
            UnreferencedObjects(path, parse_entry(destination, path.entry, entry)).clear(destination)
            return DeletionOutcome.DELETED if is_held else DeletionOutcome.REFUSED
        if is_held:
            raise destination.mismatch(path.entry, "it is not there")
        erase(destination, path)
        for key in list(destination.list(path.unfinished_entries)):
            destination.delete(key)
        return DeletionOutcome.DELETED


def _stays(run: str, outcome: DeletionOutcome, error: TransferError) -> tuple[DeletionOutcome, str]:
    _log.warning("leftovers of run %s stay: %s", run, error.message)
    return outcome, error.message
