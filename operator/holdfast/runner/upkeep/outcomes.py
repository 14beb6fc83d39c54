"""What became of the runs that a commit was given, as the Result says it and as notes for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from holdfast.api.text import some_of
from holdfast.protocol import Cure, Fate, Note

O = TypeVar("O", Fate, Cure)  # noqa: E741 - an outcome

_MAX_NAMED = 5


@dataclass(frozen=True)
class Reason:
    """How an outcome is called in a note."""

    name: str
    is_warning: bool = False


class Outcomes(Generic[O]):
    """In the order in which they were added, which is that of the Task."""

    def __init__(self, reasons: Mapping[O, Reason]) -> None:
        """`reasons` name the outcomes that become notes, in the order of the notes."""
        self._reasons: Mapping[O, Reason] = reasons
        self._letters: list[O] = []
        self._runs: dict[tuple[O, str], list[str]] = {}
        self._messages: dict[tuple[O, str], str] = {}

    def add(self, run: str, destination: str, outcome: O, message: str = "") -> None:
        """Record what became of a run in a destination, and why."""
        self._letters.append(outcome)
        self._runs.setdefault((outcome, destination), []).append(run)
        if message:
            self._messages.setdefault((outcome, destination), message)

    @property
    def letters(self) -> str:
        """The outcomes as the Result has them, one letter each."""
        return "".join(self._letters)

    def notes(self) -> Iterator[Note]:
        """One note for each outcome in each destination: some of the runs, and why the first met it."""
        for outcome, reason in self._reasons.items():
            for (other, destination), runs in self._runs.items():
                if other is outcome:
                    why = self._messages.get((outcome, destination))
                    message = f"destination {destination}: {some_of(runs, _MAX_NAMED)}"
                    message += f": {why}" if why else ""
                    yield Note(reason=reason.name, message=message, warning=reason.is_warning)
