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
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from holdfast.api.run import Source
from holdfast.api.text import some_of
from holdfast.engines.chroma.client import Client, Collection, CollectionRows, NotFoundError, Rows
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
    TEMPORARY,
    Entries,
    Fingerprint,
    Hashes,
    IdList,
    are_in,
    connect,
    each_page,
    fingerprints,
    id_hashes,
    to_matrix,
)
from holdfast.engines.chroma.spec import EVERY, ChromaTarget, Collections, Tenant
from holdfast.engines.transfer import BackupContext, BackupSummary, Sink, TaskError
from holdfast.protocol import Note

_MAX_PASSES = 4


@dataclass
class _Changes:
    """What happened to one collection while it was read, and what could not be read."""

    added: int = 0
    deleted: int = 0
    missing: int = 0
    overflowed: int = 0
    left_out: int = 0
    left_out_names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Page:
    """What is written of some rows, and the ids of those that cannot be."""

    line: bytes
    entries: Entries
    overflowed: int
    left_out: list[str]


def backup(context: BackupContext) -> BackupSummary:
    """Store all collections that the target names.

    Raises TaskError (TenantNotFound, DatabaseNotFound, AuthenticationFailed, ServerTooOld) and SourceError.
    """
    spec: ChromaTarget = context.spec
    with connect(context, spec, spec.credentials_secret, spec.tls) as client:
        context.progress.step(f"connecting to {client.address}")
        version = client.version()
        snapshot_time = datetime.now(UTC)
        databases = _databases(client, spec.tenants)
        chosen = _choose(client, databases, spec.collections)
        details = []
        changes: dict[Where, _Changes] = {}
        vanished = []
        with context.store(ARTIFACT) as sink:
            sink.write(header(version))
            for where, collection in chosen:
                reader = _Reader(context, client, sink, where, collection)
                changes[where] = reader.changes
                if detail := reader.store():
                    details.append(detail)
                else:
                    vanished.append(where)
    return BackupSummary(
        snapshot_time=snapshot_time,
        source=Source(address=client.address, role="Primary", version=version),
        contents={
            "tenants": len({tenant for tenant, _ in databases}),
            "databases": len(databases),
            "collections": len(details),
            "embeddings": sum(detail["count"] for detail in details),
        },
        detail={"format": FORMAT, "databases": databases, "collections": details},
        notes=tuple(_notes(changes, vanished)),
    )


def _databases(client: Client, tenants: Iterable[Tenant]) -> list[tuple[str, str]]:
    """Each database to back up, after its tenant, sorted. Each tenant and database must exist."""
    databases = set()
    for tenant in tenants:
        if not client.has_tenant(tenant.name):
            raise TaskError("TenantNotFound", f"Chroma at {client.address} has no tenant {tenant.name!r}")
        for database in tenant.databases:
            if database == EVERY:
                databases |= {(tenant.name, name) for name in client.databases(tenant.name)}
            elif client.has_database(tenant.name, database):
                databases.add((tenant.name, database))
            else:
                raise TaskError(
                    "DatabaseNotFound",
                    f"Chroma at {client.address} has no database {database!r} in tenant {tenant.name!r}",
                )
    return sorted(databases)


def _choose(
    client: Client, databases: Iterable[tuple[str, str]], collections: Collections
) -> list[tuple[Where, Collection]]:
    """The collections to back up."""
    return [
        (Where(*database, name), collection)
        for database in databases
        for name, collection in sorted(client.collections(*database).items())
        if _is_chosen(name, collections)
    ]


def _is_chosen(name: str, collections: Collections) -> bool:
    if name.startswith(TEMPORARY):
        return False
    included = any(fnmatchcase(name, pattern) for pattern in collections.include)
    return included and not any(fnmatchcase(name, pattern) for pattern in collections.exclude)


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
        self._held = Fingerprint()
        self._left_out: list[Hashes] = []

    def store(self) -> dict[str, Any] | None:
        """Write the collection; what the manifest keeps of it, or None when it was deleted before."""
        self._context.progress.step(f"reading {self._where}")
        try:
            listing = IdList(self._collection_rows, self._context.scratch)
        except NotFoundError:
            return None
        self._sink.write(create_line(self._where, self._collection))
        if not len(listing) and self._collection.dimension:
            self._sink.write(emptied_lines(self._where, self._collection.dimension))
        self._follow(listing)
        return {
            "tenant": self._where.tenant,
            "database": self._where.database,
            "name": self._where.name,
            "count": len(self._held),
            "dimension": self._collection.dimension,
            "digest": self._held.digest(),
            "rounded": self._collection.rounds_embeddings,
        }

    def _follow(self, listing: IdList) -> None:
        """Read the rows listed, then what was added and deleted since, until nothing is new."""
        names: Iterable[str] = listing
        for _ in range(_MAX_PASSES):
            self._read(names)
            latest = IdList(self._collection_rows, self._context.scratch)
            gone = self._held.ids[~are_in(self._held.ids, latest.hashes)]
            if len(gone):
                self._sink.write(delete_line(self._where, list(listing.among(gone))))
                self._held.remove(gone)
                self.changes.deleted += len(gone)
            listing.close()
            listing = latest
            known = np.concatenate([self._held.ids, *self._left_out])
            new = latest.hashes[~are_in(latest.hashes, known)]
            if not len(new):
                break
            self.changes.added += len(new)
            names = latest.among(new)
        else:
            self.changes.missing = len(new)
        listing.close()

    def _read(self, names: Iterable[str]) -> None:
        for rows in each_page(self._collection_rows, names):
            page = self._page(rows)
            self._sink.write(page.line)
            self._held.add(page.entries)
            self._context.progress.rows(len(page.entries))
            self.changes.overflowed += page.overflowed
            if page.left_out:
                self.changes.left_out += len(page.left_out)
                self.changes.left_out_names = (self.changes.left_out_names + page.left_out)[:MAX_NAMED]
                self._left_out.append(id_hashes(page.left_out))

    def _page(self, rows: Rows) -> _Page:
        """A cosine embedding that overflowed can be written again; any other that is not there cannot."""
        matrix = to_matrix(rows, self._collection.dimension or 1)
        broken = np.flatnonzero(np.isnan(matrix).any(axis=1)).tolist()
        left_out: list[str] = []
        if self._collection.rounds_embeddings:
            matrix[broken] = OVERFLOWED
        elif broken:
            left_out = [rows.ids[number] for number in broken]
            whole = sorted(set(range(len(rows.ids))) - set(broken))
            rows, matrix = rows.at(whole), matrix[whole]
        return _Page(
            upsert_line(self._where, rows, matrix) if rows.ids else b"",
            fingerprints(rows, matrix),
            len(broken) - len(left_out),
            left_out,
        )


def _notes(changes: dict[Where, _Changes], vanished: list[Where]) -> Iterator[Note]:
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
    if vanished:
        names = some_of([str(where) for where in vanished], MAX_NAMED)
        yield Note(
            reason="DeletedDuringBackup", message=f"collections deleted before they were read: {names}"
        )
    for where, tally in changes.items():
        if tally.left_out:
            yield Note(
                reason="UnreadableEmbeddings",
                message=f"{where}: {tally.left_out} rows are left out, because the server does not give their"
                f" embeddings: {', '.join(tally.left_out_names)}; write them again or delete them",
                warning=True,
            )
        if tally.overflowed:
            yield Note(
                reason="OverflowedEmbeddings",
                message=f"{where}: the server reads {tally.overflowed} cosine embeddings back as nulls,"
                " because their length overflows; they are backed up and restored as that",
                warning=True,
            )
