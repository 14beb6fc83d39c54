"""What backup and restore share: connecting, reading rows by id, and telling whether rows are the same."""

import mmap
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from holdfast.engines.chroma.client import PARTS, Client, Place, Rows, TooLargeError, parse_rows
from holdfast.engines.chroma.format import FLOAT, Matrix
from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.transfer import BackupContext, RestoreContext, SourceError

TEMPORARY = "holdfast-restore-"
"""How the names of collections begin that a restore has not finished; they are never backed up."""
_THREADS = 4
_MAX_PAGE_ROWS = 1000
_PAGE_BYTES = 4 << 20
_ROW_BYTES = 1 << 16
_ENTRY = np.dtype([("id", "<u8"), ("high", "<u8"), ("low", "<u8")])
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)

Hashes = npt.NDArray[np.uint64]
Entries = npt.NDArray[np.void]
T = TypeVar("T")


def connect(context: BackupContext | RestoreContext, place: ChromaTarget | ChromaRestore,
            tls: bool) -> Client:  # fmt: skip
    """A client of the server at `place`, by the Secrets that the pod has mounted."""
    ca = context.secret("ca") / "ca.crt"
    return Client(
        place.address(context.namespace),
        context.secret("credentials"),
        ca if ca.exists() else None,
        tls=tls,
    )


class IdList:
    """All ids of a collection at one instant, on disk, because a million of them are 100 MB as strings."""

    def __init__(self, place: Place, scratch: Path) -> None:
        with TemporaryFile(dir=scratch) as file:
            with place.id_list() as chunks:
                for chunk in chunks:
                    file.write(chunk)
            file.flush()
            self._json = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.hashes: Hashes = id_hashes(self)

    def __len__(self) -> int:
        return len(self.hashes)

    def __iter__(self) -> Iterator[str]:
        start = self._json.find(b'"ids":[') + len(b'"ids":[')
        if start < len(b'"ids":['):
            raise SourceError("ReplyUnreadable", "the server's list of ids has no member ids")
        tokens = self._tokens(start)
        while batch := list(islice(tokens, _MAX_PAGE_ROWS)):
            yield from orjson.loads(b"[" + b",".join(batch) + b"]")

    def _tokens(self, position: int) -> Iterator[bytes]:
        """The JSON strings of the array that begins at `position`; no string holds a bare quote."""
        if self._json[position : position + 1] == b"]":
            return
        for match in _STRING.finditer(self._json, position):
            yield match[0]
            if self._json[match.end() : match.end() + 1] == b"]":
                return
        raise SourceError("ReplyUnreadable", "the server's list of ids has no end")

    def among(self, hashes: Hashes) -> Iterator[str]:
        """The ids whose hashes are in `hashes`."""
        wanted = np.isin(self.hashes, hashes)
        return (name for name, chosen in zip(self, wanted, strict=True) if chosen)

    def close(self) -> None:
        """Give the disk space back."""
        self._json.close()


class Fingerprint:
    """The ids and contents of rows, 24 bytes a row, whatever the order they came in."""

    def __init__(self) -> None:
        self._entries = np.empty(0, _ENTRY)
        self._new: list[Entries] = []

    def add(self, entries: Entries) -> None:
        """Add rows that were not there."""
        self._new.append(entries)

    def remove(self, hashes: Hashes) -> None:
        """Remove the rows of these ids."""
        self._entries = self._all()[~np.isin(self.ids, hashes)]

    def _all(self) -> Entries:
        if self._new:
            self._entries = np.concatenate([self._entries, *self._new])
            self._new.clear()
        return self._entries

    def __len__(self) -> int:
        return len(self._all())

    @property
    def ids(self) -> Hashes:
        """The hashes of the ids."""
        return self._all()["id"]

    def digest(self) -> str:
        """A SHA-256 over all rows, sorted; equal exactly when all rows are equal."""
        entries = self._all()
        order = np.lexsort((entries["low"], entries["high"]))
        content = np.stack([entries["high"][order], entries["low"][order]], axis=1)
        return sha256(content.tobytes()).hexdigest()


def fingerprints(rows: Rows, matrix: Matrix | None) -> Entries:
    """An entry of a Fingerprint for every row; without `matrix` its embedding does not count."""
    packed = bytearray()
    for number, (name, document, metadata, uri) in enumerate(
        zip(rows.ids, rows.documents, rows.metadatas, rows.uris, strict=True)
    ):
        row = sha256(orjson.dumps([name, document, uri]) + canonical(metadata))
        if matrix is not None:
            row.update(matrix[number].tobytes())
        packed += _id_hash(name) + row.digest()[:16]
    return np.frombuffer(bytes(packed), _ENTRY)


def canonical(metadata: dict[str, Any] | None) -> bytes:
    """Equal exactly for equal metadata: 1, 1.0 and true differ; none is as good as empty to Chroma."""
    return orjson.dumps(metadata or None, option=orjson.OPT_SORT_KEYS)


def id_hashes(names: Iterable[str]) -> Hashes:
    """What stands for ids in an IdList and a Fingerprint."""
    hashes = (int.from_bytes(_id_hash(name), "little") for name in names)
    return np.fromiter(hashes, np.uint64)


def _id_hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()


def to_matrix(rows: Rows, dimension: int) -> Matrix:
    """The embeddings; one that the server could not read becomes NaN."""
    width = next((len(row) for row in rows.embeddings if row), dimension)
    broken = [None] * width
    return np.array([row or broken for row in rows.embeddings], FLOAT).reshape(len(rows.ids), width)


def each_page(place: Place, ids: Iterable[str], transform: Callable[[Rows], T],
              parts: Sequence[str] = PARTS) -> Iterator[T]:  # fmt: skip
    """Read rows by id and give what `transform` makes of each page, in order.

    The server is asked by several threads; replies are parsed one at a time, so that memory is bounded by
    their text. Pages shrink as rows grow. A row that does not exist any more is left out.
    """
    parsing = Lock()
    row_bytes = _ROW_BYTES

    def read(names: list[str]) -> T:
        nonlocal row_bytes
        raw = place.rows_json(names, parts)
        with parsing:
            row_bytes = max(len(raw) // len(names), 1)
            return transform(parse_rows(raw))

    def halves(names: list[str]) -> Iterator[T]:
        try:
            yield read(names)
        except TooLargeError:
            middle = len(names) // 2
            yield from halves(names[:middle])
            yield from halves(names[middle:])

    remaining = iter(ids)
    waiting: deque[tuple[list[str], Future[T]]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            while True:
                size = min(max(_PAGE_BYTES // row_bytes, 1), _MAX_PAGE_ROWS)
                names = list(islice(remaining, size))
                if names:
                    waiting.append((names, threads.submit(read, names)))
                if not waiting:
                    return
                if names and len(waiting) <= _THREADS:
                    continue
                asked, page = waiting.popleft()
                try:
                    yield page.result()
                except TooLargeError:
                    yield from halves(asked)
        finally:
            for _, page in waiting:
                page.cancel()
