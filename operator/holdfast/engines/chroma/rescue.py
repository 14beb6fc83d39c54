"""Reads what can be read of a collection that the server fails at, or even dies of.

Chroma keeps documents and metadata in SQLite, and the embeddings of each collection in an index, which it
loads when somebody asks for embeddings. One id that the index lacks fails the whole request
(https://github.com/chroma-core/chroma/blob/main/rust/frontend/src/executor/local.rs, `get`), an index that
does not load fails every request for embeddings, and Chroma 1.5.9 ends when it loads a file that was cut off.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from holdfast.engines.chroma.client import (
    PARTS,
    Client,
    CollectionRows,
    Rows,
    TooLargeError,
    parse_rows,
)
from holdfast.engines.chroma.patience import Failure, GivenUpError, Patience

_WITHOUT_EMBEDDINGS = tuple(part for part in PARTS if part != "embeddings")
_SAMPLES = 8
"""How many rows of a page are asked for alone: if all of them fail, the others are not tried."""
_DEADLY = 2
"""After so many deaths in a row the server is not asked any more for what it died of; one could be chance."""

Answer = TypeVar("Answer")


class CollectionRescue:
    """Asks for rows of one collection until it is known what the server gives of each."""

    def __init__(
        self, client: Client, collection_rows: CollectionRows, on_lost: Callable[[list[str]], None]
    ) -> None:
        """`on_lost` gets the ids of rows of which the server gives nothing."""
        self._on_lost = on_lost
        self._collection_rows = collection_rows
        self._patience = Patience(client, collection_rows.ask_beside)
        self._deaths: Counter[Sequence[str]] = Counter()

    @property
    def parts(self) -> Sequence[str]:
        """What is still asked for."""
        return _WITHOUT_EMBEDDINGS if self._is_deadly(PARTS) else PARTS

    def rows(self, names: Sequence[str], error: Exception | None) -> Iterator[Rows]:
        """The rows of a page that failed, without embeddings where these cannot be read.

        `error` is the failure, where it was the first. Raises GivenUpError when nothing more can be read.
        """
        if error is not None and self._patience.died(error):
            self._deaths[self.parts] += 1
        lacking: list[str] = []
        lost: list[str] = []
        yield from self._readable(names, PARTS, lacking)
        yield from self._readable(lacking, _WITHOUT_EMBEDDINGS, lost)
        self._on_lost(lost)

    def whole_rows(self, names: Sequence[str], lacking: list[str]) -> Iterator[Rows]:
        """The rows that the server gives with their embeddings; the names of the others go to `lacking`."""
        yield from self._readable(names, PARTS, lacking)

    def forget(self) -> None:
        """Be patient again: what failed may have failed for a while only."""
        self._patience.forget()

    def insist(self, act: Callable[[], Answer], parts: Sequence[str] = ()) -> Answer:
        """What `act` returns, which asks the collection once. Raises GivenUpError."""

        def bury(error: Failure) -> None:
            self._deaths[parts] += 1
            if self._is_deadly(parts):
                raise GivenUpError(error.reason, "the server dies when it is asked for it") from error

        answer = self._patience.ask(act, bury)
        self._deaths[parts] = 0
        return answer

    def _is_deadly(self, parts: Sequence[str]) -> bool:
        was_deadly = parts != PARTS and self._is_deadly(PARTS)
        return self._deaths[parts] >= (1 if was_deadly else _DEADLY)

    def _readable(self, names: Sequence[str], parts: Sequence[str], lacking: list[str]) -> Iterator[Rows]:
        """The rows that the server gives with these parts; the names of the others go to `lacking`."""
        if not names:
            return
        try:
            text = self._ask(names, parts)
        except TooLargeError:
            pass
        except GivenUpError:
            if parts != PARTS and self._is_deadly(parts):
                raise
            if not self._gives_some(names, parts):
                lacking += names
                return
        else:
            yield parse_rows(text)
            return
        middle = len(names) // 2
        for half in (names[:middle], names[middle:]):
            yield from self._readable(half, parts, lacking)

    def _gives_some(self, names: Sequence[str], parts: Sequence[str]) -> bool:
        """Whether the server gives some rows of a page that it does not give as a whole."""
        for name in names[:: max(len(names) // _SAMPLES, 1)] if len(names) > 1 else ():
            try:
                self._ask([name], parts)
            except GivenUpError:
                continue
            return True
        return False

    def _ask(self, names: Sequence[str], parts: Sequence[str]) -> bytes:
        if self._is_deadly(parts):
            raise GivenUpError("SourceUnreachable", "the server dies when it is asked for it")
        return self.insist(lambda: self._collection_rows.rows_json_once(names, parts), parts)
