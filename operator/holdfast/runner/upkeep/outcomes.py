"""What became of the runs that a commit was given, as the Result says it and as notes for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from holdfast.api.text import some_of
from holdfast.protocol import Cure, Fate, Note
from holdfast.runner.stored.report import Outcome

O = TypeVar("O", Fate, Cure)  # noqa: E741 - an outcome

_MAX_NAMED = 5


@dataclass(frozen=True)
class Reason:
    """How an outcome is called in a note."""

    name: str
    is_warning: bool = False


@dataclass(frozen=True)
class _Record(Generic[O]):
    run: str
    destination: str
    outcome: O
    message: str


class Outcomes(Generic[O]):
    """In the order in which they were added, which is that of the Task."""

    def __init__(self, work: str, reasons: Mapping[O, Reason]) -> None:
        """`work` is its name in the report; `reasons` name the outcomes that become notes, in their order."""
        self._work = work
        self._reasons: Mapping[O, Reason] = reasons
        self._records: list[_Record[O]] = []

    def add(self, run: str, destination: str, outcome: O, message: str = "") -> None:
        """Record what became of a run in a destination, and why."""
        self._records.append(_Record(run, destination, outcome, message))

    @property
    def letters(self) -> str:
        """The outcomes as the Result has them, one letter each."""
        return "".join(record.outcome for record in self._records)

    def for_report(self) -> Iterator[Outcome]:
        """The outcomes as the report has them."""
        for record in self._records:
            yield Outcome(
                work=self._work,
                run=record.run,
                destination=record.destination,
                outcome=record.outcome.name.title(),
                message=record.message or None,
            )

    def notes(self) -> Iterator[Note]:
        """One note for each outcome in each destination: some of the runs, and why the first met it."""
        for outcome, reason in self._reasons.items():
            for destination in dict.fromkeys(record.destination for record in self._records):
                records = [r for r in self._records if (r.outcome, r.destination) == (outcome, destination)]
                if records:
                    message = f"destination {destination}: {some_of([r.run for r in records], _MAX_NAMED)}"
                    why = next((record.message for record in records if record.message), "")
                    message += f": {why}" if why else ""
                    yield Note(reason=reason.name, message=message, warning=reason.is_warning)
