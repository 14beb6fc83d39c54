"""What backup and restore share: connecting, reading rows by id, and telling whether rows are the same."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from holdfast.api.base import SecretRef, ServerAddress
from holdfast.engines.access import named
from holdfast.engines.chroma.client import (
    PARTS,
    Client,
    CollectionRows,
    MountedSecrets,
    Rows,
    TooLargeError,
    parse_rows,
)
from holdfast.engines.chroma.format import FLOAT, Matrix
from holdfast.engines.chroma.spec import ChromaTls
from holdfast.engines.transfer import BackupContext, RestoreContext, SourceError
from holdfast.mounts import CA, CA_FILE, CREDENTIALS

TEMPORARY = "holdfast-restore-"
"""How the names of collections begin that a restore has not finished; they are never backed up."""
MAX_NAMED = 5
"""How many collections, rows or settings a message names: a Result has 4096 bytes."""
_THREADS = 4
_MAX_PAGE_ROWS = 1000
_PAGE_BYTES = 1 << 20
_ROW_BYTES = 1 << 16
_ENTRY = np.dtype([("id", "<u8"), ("high", "<u8"), ("low", "<u8")])
_STRING = re.compile(rb',?("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)

Hashes = npt.NDArray[np.uint64]
Entries = npt.NDArray[np.void]


def connect(context: BackupContext | RestoreContext, addressed: ServerAddress,
            credentials: SecretRef | None, tls: ChromaTls | None) -> Client:  # fmt: skip
    """A client of the server at `addressed`, by the Secrets that the pod has mounted."""
    ca = context.secret(CA) / CA_FILE
    secrets = MountedSecrets(
        context.secret(CREDENTIALS),
        ca if ca.exists() else None,
        named("credentialsSecret", credentials),
        named("tls.caSecret", tls.ca_secret if tls else None),
    )
    return Client(addressed.address(context.namespace), secrets, tls=tls is not None)


class IdList:
    """All ids of a collection at one instant, on disk, because a million of them are 100 MB as strings."""

    def __init__(self, collection_rows: CollectionRows, scratch: Path) -> None:
        self._file = TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by close()
        with collection_rows.id_list() as chunks:
            for token in _id_tokens(chunks):
                self._file.write(token + b"\n")
        self.hashes: Hashes = id_hashes(self)

    def __len__(self) -> int:
        return len(self.hashes)

    def __iter__(self) -> Iterator[str]:
        """The ids in the server's order; one iteration at a time."""
        self._file.seek(0)
        while lines := list(islice(self._file, _MAX_PAGE_ROWS)):
            yield from orjson.loads(b"[" + b",".join(lines) + b"]")

    def among(self, hashes: Hashes) -> Iterator[str]:
        """The ids whose hashes are in `hashes`."""
        wanted = are_in(self.hashes, hashes)
        return (name for name, chosen in zip(self, wanted, strict=True) if chosen)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


def _id_tokens(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The JSON strings of the member `ids`, from a reply in pieces; in a string every quote is escaped."""
    text = b""
    is_inside = False
    for chunk in chunks:
        text += chunk
        if not is_inside:
            before, opening, after = text.partition(b'"ids":[')
            is_inside, text = bool(opening), after if opening else before
        at = 0
        while is_inside and text[at : at + 1] != b"]" and (match := _STRING.match(text, at)):
            yield match[1]
            at = match.end()
        if is_inside and text[at : at + 1] == b"]":
            return
        text = text[at:]
    raise SourceError("ReplyUnreadable", "the server's list of ids has no end")


def are_in(hashes: Hashes, those: Hashes) -> npt.NDArray[np.bool_]:
    """For each of `hashes`, whether it is in `those`; with less memory than numpy's isin."""
    if not len(those):
        return np.zeros(len(hashes), np.bool_)
    ordered = np.sort(those)
    at = np.searchsorted(ordered, hashes)
    at[at == len(ordered)] = 0
    are_equal: npt.NDArray[np.bool_] = ordered[at] == hashes
    return are_equal


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
        self._entries = self._all()[~are_in(self.ids, hashes)]

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
        """The sum of all rows' 128-bit hashes, in two halves: the same for the same rows, in any order."""
        entries = self._all()
        high, low = (int(entries[half].sum(dtype=np.uint64)) for half in ("high", "low"))
        return f"{high:016x}{low:016x}"


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


def each_page(
    collection_rows: CollectionRows, ids: Iterable[str], parts: Sequence[str] = PARTS
) -> Iterator[Rows]:
    """Read rows by id, in pages, in order; a row that does not exist any more is left out.

    Several threads wait for the server, and this one parses, so that memory is bounded: what waits is text.
    Pages shrink as rows grow.
    """
    row_bytes = _ROW_BYTES
    remaining = iter(ids)
    waiting: deque[tuple[list[str], Future[bytes]]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            while True:
                size = min(max(_PAGE_BYTES // row_bytes, 1), _MAX_PAGE_ROWS)
                if names := list(islice(remaining, size)):
                    waiting.append((names, threads.submit(collection_rows.rows_json, names, parts)))
                if not waiting:
                    return
                if names and len(waiting) <= _THREADS:
                    continue
                asked, reply = waiting.popleft()
                try:
                    text = reply.result()
                except TooLargeError:
                    yield from _halves(collection_rows, asked, parts)
                else:
                    row_bytes = max(len(text) // len(asked), 1)
                    yield parse_rows(text)
        finally:
            for _, reply in waiting:
                reply.cancel()


def _halves(collection_rows: CollectionRows, names: list[str], parts: Sequence[str]) -> Iterator[Rows]:
    middle = len(names) // 2
    for half in (names[:middle], names[middle:]):
        try:
            text = collection_rows.rows_json(half, parts)
        except TooLargeError:
            yield from _halves(collection_rows, half, parts)
        else:
            yield parse_rows(text)
