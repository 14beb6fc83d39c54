"""What backup and restore share: connecting, reading rows by id, and telling whether rows are the same."""

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from hashlib import sha256
from itertools import islice
from os import SEEK_END
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from holdfast.api.base import SecretRef, ServerAddress
from holdfast.engines.access import authority_named, named
from holdfast.engines.chroma.client import (
    PARTS,
    AwayError,
    Client,
    CollectionRows,
    MountedSecrets,
    Rows,
    ServerFailedError,
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
_PAGE_BYTES = 4 << 20
_ROW_BYTES = 1 << 16
_CHUNK_ENTRIES = 1 << 19
_ID = np.dtype([("id", "<u8")])
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
        authority_named(tls),
    )
    address = addressed.address(context.namespace)
    return Client(address, secrets, tls=tls is not None, on_wait=context.progress.step)


class EntryFile:
    """Entries of rows on disk, so that memory holds only some of them at a time."""

    def __init__(self, scratch: Path, kind: np.dtype[np.void]) -> None:
        self._file = TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by close()
        self._kind = kind
        self.count = 0

    def add(self, entries: Entries) -> None:
        """Add entries."""
        self._file.seek(0, SEEK_END)
        self._file.write(entries.tobytes())
        self.count += len(entries)

    def chunks(self) -> Iterator[Entries]:
        """All entries, some at a time."""
        self._file.seek(0)
        while data := self._file.read(_CHUNK_ENTRIES * self._kind.itemsize):
            yield np.frombuffer(data, self._kind)

    def ids(self, part: int, parts: int) -> Hashes:
        """The hashes of the ids that fall into one of several parts of nearly equal size."""
        chosen = (chunk["id"][chunk["id"] % parts == part] for chunk in self.chunks())
        return np.concatenate([np.empty(0, np.uint64), *chosen])

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()


class IdList:
    """All ids of a collection at one instant, on disk, because a million of them are 100 MB as strings."""

    def __init__(self, chunks: Iterable[bytes], scratch: Path) -> None:
        """Read the list from the server's reply in pieces."""
        self._file = TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by close()
        self.hashes = EntryFile(scratch, _ID)
        tokens = _id_tokens(chunks)
        while some := list(islice(tokens, _MAX_PAGE_ROWS)):
            self._file.writelines(token + b"\n" for token in some)
            self.hashes.add(id_hashes(_names(some)).view(_ID))

    def __len__(self) -> int:
        return self.hashes.count

    def __iter__(self) -> Iterator[str]:
        """The ids in the server's order; one iteration at a time."""
        self._file.seek(0)
        while lines := list(islice(self._file, _MAX_PAGE_ROWS)):
            yield from _names(lines)

    def among(self, hashes: Hashes) -> Iterator[str]:
        """The ids whose hashes are in `hashes`."""
        names = iter(self if len(hashes) else ())
        while some := list(islice(names, _MAX_PAGE_ROWS)):
            chosen = are_in(id_hashes(some), hashes)
            yield from (name for name, is_wanted in zip(some, chosen, strict=True) if is_wanted)

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
        self.hashes.close()


def list_ids(collection_rows: CollectionRows, scratch: Path) -> IdList:
    """The ids of a collection, asked for once."""
    with collection_rows.id_list_once() as chunks:
        return IdList(chunks, scratch)


def _names(tokens: Iterable[bytes]) -> list[str]:
    names: list[str] = orjson.loads(b"[" + b",".join(tokens) + b"]")
    return names


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
    """The ids and contents of rows, 24 bytes of disk a row, whatever the order they came in."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._entries = EntryFile(scratch, _ENTRY)
        self._high = self._low = 0

    def add(self, entries: Entries) -> None:
        """Add rows that were not there."""
        self._entries.add(entries)
        self._sum(entries, 1)

    def remove(self, hashes: Hashes) -> None:
        """Remove the rows of these ids."""
        former, self._entries = self._entries, EntryFile(self._scratch, _ENTRY)
        for chunk in former.chunks():
            are_gone = are_in(chunk["id"], hashes)
            self._sum(chunk[are_gone], -1)
            self._entries.add(chunk[~are_gone])
        former.close()

    def _sum(self, entries: Entries, sign: int) -> None:
        self._high += sign * int(entries["high"].sum(dtype=np.uint64))
        self._low += sign * int(entries["low"].sum(dtype=np.uint64))

    def __len__(self) -> int:
        return self._entries.count

    def digest(self) -> str:
        """The sum of all rows' 128-bit hashes, in two halves: the same for the same rows, in any order."""
        return f"{self._high % (1 << 64):016x}{self._low % (1 << 64):016x}"

    def compare(self, listing: IdList) -> tuple[Hashes, Hashes]:
        """The hashes of the ids that only this has, and of those that only `listing` has."""
        parts = max(len(self), len(listing)) // _CHUNK_ENTRIES + 1
        gone, new = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for part in range(parts):
            held, listed = self._entries.ids(part, parts), listing.hashes.ids(part, parts)
            gone.append(held[~are_in(held, listed)])
            new.append(listed[~are_in(listed, held)])
        return np.concatenate(gone), np.concatenate(new)

    def close(self) -> None:
        """Give the disk space back."""
        self._entries.close()


def fingerprints(rows: Rows, matrix: Matrix | None) -> Entries:
    """An entry of a Fingerprint for every row; without `matrix` its embedding does not count."""
    embeddings = memoryview(b"" if matrix is None else matrix.tobytes())
    width = len(embeddings) // max(len(rows.ids), 1)
    hashes = bytearray()
    columns = zip(rows.ids, rows.documents, rows.metadatas, rows.uris, strict=True)
    for number, (name, document, metadata, uri) in enumerate(columns):
        row = sha256(orjson.dumps([name, document, uri]) + canonical(metadata))
        row.update(embeddings[number * width : (number + 1) * width])
        hashes += row.digest()[:16]
    entries = np.empty(len(rows.ids), _ENTRY)
    entries["id"] = id_hashes(rows.ids)
    halves = np.frombuffer(bytes(hashes), "<u8").reshape(-1, 2)
    entries["high"], entries["low"] = halves[:, 0], halves[:, 1]
    return entries


def canonical(metadata: dict[str, Any] | None) -> bytes:
    """Equal exactly for equal metadata: 1, 1.0 and true differ; none is as good as empty to Chroma."""
    return orjson.dumps(metadata or None, option=orjson.OPT_SORT_KEYS)


def id_hashes(names: Iterable[str]) -> Hashes:
    """What stands for ids in an IdList and a Fingerprint; other in every process, so it is never stored."""
    return np.fromiter(map(hash, names), np.int64).view(np.uint64)


def to_matrix(rows: Rows, dimension: int) -> Matrix:
    """The embeddings; one that the server could not read becomes NaN."""
    width = next((len(row) for row in rows.embeddings if row), dimension)
    pack = struct.Struct(f"<{width}f").pack
    try:
        packed = b"".join([pack(*row) for row in rows.embeddings])  # type: ignore[misc]
    except (struct.error, TypeError, OverflowError):
        broken = [None] * width
        return np.array([row or broken for row in rows.embeddings], FLOAT).reshape(len(rows.ids), width)
    return np.frombuffer(bytearray(packed), FLOAT).reshape(len(rows.ids), width)


class Rescue(Protocol):
    """Reads what can be read of rows that the server did not give."""

    @property
    def parts(self) -> Sequence[str]:
        """What is still asked for."""

    def rows(self, names: Sequence[str], error: Exception | None) -> Iterator[Rows]:
        """The rows of a page; `error`, if the failure of that page is the first that is heard of."""


def each_page(
    collection_rows: CollectionRows, ids: Iterable[str], parts: Sequence[str] = PARTS,
    rescue: Rescue | None = None,
) -> Iterator[Rows]:  # fmt: skip
    """Read rows by id, in pages, in order; a row that does not exist any more is left out.

    Several threads wait for the server, and this one parses, so that memory is bounded: what waits is text.
    Pages shrink as rows grow. With `rescue` a page is asked for once, and what fails is left to it.
    """
    row_bytes = _ROW_BYTES
    remaining = iter(ids)
    waiting: deque[tuple[list[str], Future[bytes]]] = deque()
    ask = collection_rows.rows_json if rescue is None else collection_rows.rows_json_once
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            while True:
                size = min(max(_PAGE_BYTES // row_bytes, 1), _MAX_PAGE_ROWS)
                if names := list(islice(remaining, size)):
                    waiting.append((names, threads.submit(ask, names, rescue.parts if rescue else parts)))
                if not waiting:
                    return
                if names and len(waiting) <= _THREADS:
                    continue
                asked, reply = waiting.popleft()
                try:
                    text = reply.result()
                except TooLargeError:
                    row_bytes = _ROW_BYTES
                    yield from _halves(collection_rows, asked, rescue.parts if rescue else parts)
                except (AwayError, ServerFailedError) as error:
                    if rescue is None:
                        raise
                    yield from _rescued(rescue, asked, error, waiting)
                else:
                    row_bytes = max(len(text) // len(asked), 1)
                    yield parse_rows(text)
        finally:
            for _, reply in waiting:
                reply.cancel()


def _rescued(
    rescue: Rescue, names: list[str], error: Exception, waiting: deque[tuple[list[str], Future[bytes]]]
) -> Iterator[Rows]:
    """The rows of a page that failed and of those that were asked for with it; no others are, until then."""
    wait([reply for _, reply in waiting])
    yield from rescue.rows(names, error)
    while waiting:
        names, reply = waiting.popleft()
        if reply.exception() is None:
            yield parse_rows(reply.result())
        else:
            yield from rescue.rows(names, None)


def _halves(collection_rows: CollectionRows, names: list[str], parts: Sequence[str]) -> Iterator[Rows]:
    middle = len(names) // 2
    for half in (names[:middle], names[middle:]):
        try:
            text = collection_rows.rows_json(half, parts)
        except TooLargeError:
            yield from _halves(collection_rows, half, parts)
        else:
            yield parse_rows(text)
