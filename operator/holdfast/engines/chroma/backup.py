"""Backs Chroma up over REST: first all ids of a collection, then their rows by id, never by offset.

Chroma has no snapshots, and its open-source server tells nothing of changes. What a backup promises:

- Rows that nobody touches during the backup are in it, whatever else is added and deleted. (Paging
  by offset loses such rows when others are deleted.)
- After its rows were read, a collection's ids are listed again: rows that are gone are taken out, new rows
  are read, and so on until a listing has nothing new, at most `_MAX_PASSES` times. Then a warning says
  how many rows are missing.
- A row that is overwritten during the backup is in it as it was before or after.

So every write that ended before `snapshot_time`, which is when the backup began to read, is in the backup or
was itself replaced by a later one; some later writes are in it too.

A collection that is deleted is no failure: what was read of it until then is kept. One that was created
again under its name is read last, in place of what was read of the former one. What the server cannot give,
also when it is asked once more at the end, is an omission, and what it can give is kept: rows without a
readable embedding get zeros in its place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np

from holdfast.api.run import Source
from holdfast.api.text import some_of
from holdfast.engines.chroma.choose import Choice, choose
from holdfast.engines.chroma.client import AwayError, Client, Collection, CollectionRows, NotFoundError, Rows
from holdfast.engines.chroma.format import (
    ARTIFACT,
    FORMAT,
    OVERFLOWED,
    Where,
    create_line,
    delete_line,
    emptied_lines,
    header,
    upsert_line,
)
from holdfast.engines.chroma.inspect import (
    MAX_NAMED,
    Entries,
    Fingerprint,
    Hashes,
    IdList,
    are_in,
    connect,
    each_page,
    fingerprints,
    id_hashes,
    list_ids,
    to_matrix,
)
from holdfast.engines.chroma.patience import GivenUpError
from holdfast.engines.chroma.rescue import CollectionRescue
from holdfast.engines.chroma.spec import ChromaTarget
from holdfast.engines.transfer import BackupContext, BackupSummary, Sink
from holdfast.protocol import Note, Omission

_MAX_PASSES = 4
_MAX_DELETED = 1000
"""How many ids a line names that deletes rows."""


class _Lacking:
    """Rows that cannot be read, or not as a whole: how many, and the ids of the first."""

    def __init__(self) -> None:
        self.count = 0
        self._names: list[str] = []
        self._hashes: list[Hashes] = []

    @property
    def hashes(self) -> Hashes:
        return np.concatenate([np.empty(0, np.uint64), *self._hashes])

    def add(self, names: Sequence[str]) -> None:
        self._hashes.append(id_hashes(names))
        for name in names:
            self.count += 1
            if len(self._names) < MAX_NAMED:
                self._names.append(name)

    def omission(self, what: str, reason: str) -> Iterator[Omission]:
        if self.count:
            what = f"{what}: {some_of(self._names, MAX_NAMED)}"
            yield Omission(what=what, reason=reason, count=self.count)


@dataclass
class _Changes:
    """What happened to one collection while it was read, and what could not be read."""

    added: int = 0
    deleted: int = 0
    missing: int = 0
    overflowed: int = 0
    is_gone: bool = False
    kept: int = 0
    """How many of its rows the backup has."""
    without_embedding: _Lacking = field(default_factory=_Lacking)
    lost: _Lacking = field(default_factory=_Lacking)
    failure: str = ""
    """What the server said when it could give nothing more."""
    unread: int | None = None
    """How many rows were not read then; None: not even their number is known."""


@dataclass(frozen=True)
class _Page:
    """What is written of some rows."""

    line: bytes
    entries: Entries
    overflowed: int
    without_embedding: list[str]


def backup(context: BackupContext) -> BackupSummary:
    """Store all collections that the target names.

    Raises TaskError (TenantNotFound, DatabaseNotFound, CollectionNotFound, AuthenticationFailed,
    ServerTooOld) and SourceError.
    """
    spec: ChromaTarget = context.spec
    with connect(context, spec, spec.credentials_secret, spec.tls) as client:
        context.progress.step(f"connecting to {client.address}")
        version = client.version()
        snapshot_time = datetime.now(UTC)
        choice = choose(client, spec)
        with context.store(ARTIFACT) as sink:
            sink.write(header(version))
            backup = _Backup(context, client, sink)
            backup.read(choice)
    return BackupSummary(
        snapshot_time=snapshot_time,
        source=Source(address=client.address, role="Primary", version=version),
        contents={
            "tenants": len({tenant for tenant, _ in choice.databases}),
            "databases": len(choice.databases),
            "collections": len(backup.details),
            "embeddings": sum(detail["count"] for detail in backup.details),
        },
        detail={"format": FORMAT, "databases": choice.databases, "collections": backup.details},
        notes=(*choice.notes, *_notes(backup.changes)),
        omissions=(*choice.omissions, *_omissions(backup.changes)),
    )


class _Backup:
    """Reads collections one after the other."""

    def __init__(self, context: BackupContext, client: Client, sink: Sink) -> None:
        self._details: dict[Where, dict[str, Any]] = {}
        self.changes: dict[Where, _Changes] = {}
        self._context, self._client, self._sink = context, client, sink

    def read(self, choice: Choice) -> None:
        """Read the collections. Raises GivenUpError when the server gives nothing of any of them."""
        failure = None
        for where, collection in choice.collections:
            failure = self._read(where, collection) or failure
        for where in [where for where, changes in self.changes.items() if changes.is_gone]:
            failure = self._read_remade(where) or failure
        if failure is not None and not self.details:
            raise failure

    @property
    def details(self) -> list[dict[str, Any]]:
        """What the manifest keeps of the collections."""
        return list(self._details.values())

    def _read_remade(self, where: Where) -> GivenUpError | None:
        """Read what has the name of a deleted collection now, in place of what was read of that one."""
        for _ in range(_MAX_PASSES):
            latest = self._client.collection(where.tenant, where.database, where.name)
            if latest is None:
                return None
            failure = self._read(where, latest)
            if not self.changes[where].is_gone:
                return failure
        if self._client.collection(where.tenant, where.database, where.name) is not None:
            self.changes[where].failure = "it is deleted and created again all the time"
        return None

    def _read(self, where: Where, collection: Collection) -> GivenUpError | None:
        """Write a collection, and add what the manifest keeps of it; why the server gives nothing of it."""
        reader = _Reader(self._context, self._client, self._sink, where, collection)
        former, self.changes[where] = self.changes.get(where), reader.changes
        try:
            if detail := reader.store():
                if where in self._details:
                    detail["former_copies"] = 1 + self._details[where].get("former_copies", 0)
                self._details[where] = detail
            elif former is not None:
                self.changes[where] = former
        except AwayError as error:
            raise AwayError(f"{error.message}; {where} was being read") from error
        except GivenUpError as error:
            return GivenUpError(error.reason, f"{where} cannot be read: {error.message}")
        return None


class _Reader:
    """Writes one collection's lines."""

    def __init__(
        self, context: BackupContext, client: Client, sink: Sink, where: Where, collection: Collection
    ) -> None:
        self.changes = _Changes()
        self._context = context
        self._sink = sink
        self._where = where
        self._collection = collection
        self._collection_rows: CollectionRows = client.at(where.tenant, where.database, collection)
        self._rescue = CollectionRescue(client, self._collection_rows, self._lose)
        self._held = Fingerprint(context.scratch)

    def store(self) -> dict[str, Any] | None:
        """Write the collection; what the manifest keeps of it, or None when it was deleted before.

        Raises GivenUpError when the server gives nothing of it.
        """
        self._context.progress.step(f"reading {self._where}")
        try:
            listing = self._list()
        except NotFoundError:
            self.changes.is_gone = True
            return None
        except GivenUpError as error:
            self.changes.failure = error.message
            raise
        self._sink.write(create_line(self._where, self._collection))
        if not len(listing) and self._collection.dimension:
            self._sink.write(emptied_lines(self._where, self._collection.dimension))
        self._follow(listing)
        detail = {
            "tenant": self._where.tenant,
            "database": self._where.database,
            "name": self._where.name,
            "count": len(self._held),
            "dimension": self._collection.dimension,
            "digest": self._held.digest(),
            "rounded": self._collection.rounds_embeddings,
            "without_embedding": self.changes.without_embedding.count,
        }
        self.changes.kept = len(self._held)
        self._held.close()
        return detail

    def _list(self) -> IdList:
        return self._rescue.insist(lambda: list_ids(self._collection_rows, self._context.scratch))

    def _follow(self, listing: IdList) -> None:
        """Read the rows listed, then what was added and deleted since, until nothing is new."""
        names: Iterable[str] = listing
        try:
            for _ in range(_MAX_PASSES):
                self._read(names)
                former, listing = listing, self._list()
                gone, new = self._held.compare(listing)
                self._delete(former.among(gone), gone)
                former.close()
                new = new[~are_in(new, self.changes.lost.hashes)]
                if not len(new):
                    break
                self.changes.added += len(new)
                names = listing.among(new)
            else:
                self.changes.missing = len(new)
            self._ask_again(listing)
        except NotFoundError:
            self.changes.is_gone = True
        except GivenUpError as error:
            self.changes.failure = error.message
            self.changes.unread = max(len(listing) - len(self._held) - self.changes.lost.count, 0)
        finally:
            listing.close()

    def _delete(self, names: Iterator[str], hashes: Hashes) -> None:
        """Delete rows that were written, and that the source does not have any more."""
        while some := list(islice(names, _MAX_DELETED)):
            self._sink.write(delete_line(self._where, some))
        if len(hashes):
            self._held.remove(hashes)
        self.changes.deleted += len(hashes)

    def _lose(self, names: list[str]) -> None:
        self.changes.lost.add(names)

    def _ask_again(self, listing: IdList) -> None:
        """Ask once more for what the server did not give: it may have failed for a while only."""
        lost, self.changes.lost = self.changes.lost, _Lacking()
        lacking, self.changes.without_embedding = self.changes.without_embedding, _Lacking()
        if lost.count or lacking.count:
            self._rescue.forget()
            self._read(listing.among(lost.hashes))
            names = listing.among(lacking.hashes)
            while some := list(islice(names, _MAX_DELETED)):
                failed: list[str] = []
                for rows in self._rescue.whole_rows(some, failed):
                    self._write_again(rows)
                self.changes.without_embedding.add(failed)

    def _write_again(self, rows: Rows) -> None:
        """Write rows that were written without embeddings."""
        if rows.ids:
            self._sink.write(delete_line(self._where, rows.ids))
            self._held.remove(id_hashes(rows.ids))
            self._write(rows)

    def _read(self, names: Iterable[str]) -> None:
        for rows in each_page(self._collection_rows, names, rescue=self._rescue):
            self._write(rows)
            self._context.progress.rows(len(rows.ids))

    def _write(self, rows: Rows) -> None:
        if rows.ids:
            page = self._page(rows)
            self._sink.write(page.line)
            self._held.add(page.entries)
            self.changes.overflowed += page.overflowed
            self.changes.without_embedding.add(page.without_embedding)

    def _page(self, rows: Rows) -> _Page:
        """A cosine embedding that overflowed can be written again; zeros stand for any other one."""
        matrix = to_matrix(rows, self._collection.dimension or 1)
        broken = np.flatnonzero(np.isnan(matrix).any(axis=1)).tolist()
        overflowed = [n for n in broken if self._collection.rounds_embeddings and rows.embeddings[n]]
        lacking = [n for n in broken if n not in set(overflowed)]
        matrix[overflowed] = OVERFLOWED
        matrix[lacking] = 0
        return _Page(
            upsert_line(self._where, rows, matrix),
            fingerprints(rows, matrix),
            len(overflowed),
            [rows.ids[number] for number in lacking],
        )


def _notes(changes: Mapping[Where, _Changes]) -> Iterator[Note]:
    moved = {where: tally for where, tally in changes.items() if tally.added or tally.deleted}
    if moved:
        missing = sum(tally.missing for tally in moved.values())
        end = f"; {missing} rows added last are missing" if missing else "; all is followed"
        counts = [
            f"{where}: {tally.added} rows added, {tally.deleted} deleted" for where, tally in moved.items()
        ]
        yield Note(
            reason="ChangedDuringBackup",
            message=f"rows changed during the backup: {some_of(counts, MAX_NAMED)}{end}",
            warning=missing > 0,
        )
    if gone := [f"{where} ({tally.kept} rows are kept)" for where, tally in changes.items() if tally.is_gone]:
        text = f"collections were deleted during the backup: {some_of(gone, MAX_NAMED)}"
        yield Note(reason="DeletedDuringBackup", message=text)
    for where, tally in changes.items():
        if tally.overflowed:
            yield Note(
                reason="OverflowedEmbeddings",
                message=f"{where}: the server reads {tally.overflowed} cosine embeddings back as nulls,"
                " because their length overflows; they are backed up and restored as that",
                warning=True,
            )


def _omissions(changes: Mapping[Where, _Changes]) -> Iterator[Omission]:
    for where, tally in changes.items():
        yield from tally.without_embedding.omission(
            f"embeddings of rows of {where}, which the server does not give", "UnreadableEmbeddings"
        )
        yield from tally.lost.omission(f"rows of {where}, which the server does not give", "UnreadableRows")
        if tally.failure and tally.unread is None:
            what = f"collection {where}, which cannot be read: {tally.failure}"
            yield Omission(what=what, reason="UnreadableCollection")
        elif tally.unread:
            what = f"rows of {where}, which cannot be read any more: {tally.failure}"
            yield Omission(what=what, reason="UnreadableRows", count=tally.unread)
