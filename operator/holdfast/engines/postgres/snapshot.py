"""One consistent view of one database, held open for pg_dump and for the counting."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from psycopg import sql

from holdfast.engines.postgres import checks, inspect
from holdfast.engines.postgres.connection import Connection
from holdfast.engines.postgres.inspect import Relation
from holdfast.engines.postgres.source import ChosenSource, standby_time
from holdfast.protocol import Note

LOCK_SECONDS = 60
"""How long a dump waits for a table that someone holds exclusively."""


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, valid as long as its connection's transaction is open."""

    connection: Connection
    id: str
    time: datetime
    """Every commit up to this moment is in it."""
    lsn: str
    relations: tuple[Relation, ...]
    notes: tuple[Note, ...]


@contextmanager
def hold(source: ChosenSource, database: str) -> Iterator[Snapshot]:
    """Open a snapshot of `database`. Raises TaskError when something in it cannot be read.

    Every table is locked (ACCESS SHARE, as pg_dump does) before the snapshot is taken: TRUNCATE and some
    forms of ALTER TABLE ignore snapshots, and would let the count and the dump see different rows
    (https://www.postgresql.org/docs/current/mvcc-caveats.html).
    """
    with source.server.connect(database) as connection:
        checks.everything_is_readable(
            connection, source.server.user, database, inspect.relations(connection, "rpmS")
        )
        notes = tuple(checks.what_is_left_out(connection, database))
        connection.execute("SET max_parallel_workers_per_gather = 0")  # the dump and zstd need the CPUs
        connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'".encode())
        before = inspect.relations(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        _lock(connection, before)
        recovering = source.identity.role == "Standby"
        standby_moment = standby_time(source.server, source.primary, database) if recovering else None
        position = "pg_last_wal_replay_lsn()" if recovering else "pg_current_wal_lsn()"
        # statement_timestamp() is when the statement came in: before its snapshot was taken.
        row = connection.execute(
            f"SELECT pg_export_snapshot(), statement_timestamp(), {position}::text".encode()
        ).fetchone()
        assert row is not None
        identifier, now, lsn = row
        relations = tuple(inspect.relations(connection))
        _lock(connection, relations)  # those that were made since `before`
        yield Snapshot(connection, identifier, standby_moment or now, lsn, relations, notes)


def _lock(connection: Connection, relations: "list[Relation] | tuple[Relation, ...]") -> None:
    remaining = iter([relation.identifier for relation in relations if relation.kind in "rp"])
    while batch := list(islice(remaining, inspect.BATCH)):
        tables = sql.SQL(", ").join(sql.SQL("ONLY ") + name for name in batch)
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(tables))
