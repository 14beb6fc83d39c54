"""What became of the runs that a commit was given, as the Result says it and as notes for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from holdfast.api.text import some_of
from holdfast.protocol import DeletionOutcome, HealingOutcome, Note
from holdfast.runner.stored.report import ReportedOutcome

O = TypeVar("O", DeletionOutcome, HealingOutcome)  # noqa: E741 - an outcome

_MAX_NAMED = 5


@dataclass(frozen=True)
class NoteKind:
    """The note that an outcome becomes."""

    reason: str
    is_warning: bool = False
    only_with_message: bool = False
    """Of an outcome that says no more than its letter nobody needs a note."""


@dataclass(frozen=True)
class _Record(Generic[O]):
    run: str
    destination: str
    outcome: O
    message: str


class Outcomes(Generic[O]):
    """In the order in which they were added, which is that of the Task."""

    def __init__(self, work: str, kinds: Mapping[O, NoteKind]) -> None:
        """`work` is its name in the report; `kinds` are of the outcomes that become notes, in their order."""
        self._work = work
        self._kinds: Mapping[O, NoteKind] = kinds
        self._records: list[_Record[O]] = []

    def add(self, run: str, destination: str, outcome: O, message: str = "") -> None:
        """Record what became of a run in a destination, and why."""
        self._records.append(_Record(run, destination, outcome, message))

    @property
    def letters(self) -> str:
        """The outcomes as the Result has them, one letter each."""
        return "".join(record.outcome for record in self._records)

    def letters_in(self, destination: str) -> str:
        """The same of one destination."""
        return "".join(record.outcome for record in self._records if record.destination == destination)

    def for_report(self) -> Iterator[ReportedOutcome]:
        """The outcomes as the report has them."""
        for record in self._records:
            yield ReportedOutcome(
                work=self._work,
                run=record.run,
                destination=record.destination,
                outcome=record.outcome.name.title(),
                message=record.message or None,
            )

    def notes(self) -> Iterator[Note]:
        """One note for each outcome in each destination: some of the runs, and why the first met it."""
        for outcome, kind in self._kinds.items():
            records = [record for record in self._records if record.outcome == outcome]
            if kind.only_with_message:
                records = [record for record in records if record.message]
            for destination in dict.fromkeys(record.destination for record in records):
                yield _note(kind, destination, [r for r in records if r.destination == destination])


def _note(kind: NoteKind, destination: str, records: Sequence[_Record[Any]]) -> Note:
    message = f"destination {destination}: {some_of([record.run for record in records], _MAX_NAMED)}"
    why = next((record.message for record in records if record.message), "")
    return Note(reason=kind.reason, message=f"{message}: {why}" if why else message, warning=kind.is_warning)
