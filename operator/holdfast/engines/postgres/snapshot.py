"""One consistent view of one database, held open for pg_dump and for the counting."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

import psycopg
from psycopg import sql

from holdfast.engines.postgres import checks, failures, inspect
from holdfast.engines.postgres.connection import Connection
from holdfast.engines.postgres.inspect import Relation
from holdfast.engines.postgres.source import ChosenSource, standby_time
from holdfast.engines.transfer import SourceError

LOCK_MILLISECONDS = 900
"""How long a backup waits for the lock of a table; others wait behind it as long.

Less than deadlock_timeout's default of 1 s: else the server would look for a deadlock between the backup and
a transaction of the application, and might end the application's
(https://www.postgresql.org/docs/current/runtime-config-locks.html#GUC-DEADLOCK-TIMEOUT).
"""
SETTLE_SECONDS = 120.0
"""How long a backup looks for a moment in which it gets the locks of all tables."""
_MAX_PAUSE_SECONDS = 0.4
T = TypeVar("T")

# The column is as the snapshot has it, the function is as the catalogue is now.
_REWRITTEN = """
SELECT n.nspname, c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
   AND c.relfilenode <> 0 AND pg_relation_filenode(c.oid) <> c.relfilenode
"""


@dataclass(frozen=True)
class Locked:
    """The relations of a snapshot, whose tables cannot change any more."""

    relations: tuple[Relation, ...]
    rewritten: tuple[Relation, ...]
    """Those that have changed already: the snapshot does not show the rows that they had."""


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, valid as long as its connection's transaction is open."""

    connection: Connection
    database: str
    recovering: bool
    """Whether the server is a standby."""
    id: str
    time: datetime
    """Every commit up to this moment is in it."""
    lsn: str
    last: bool = False
    """Whether no other snapshot is taken when tables were rewritten."""

    def lock(self) -> Locked:
        """Lock all tables as pg_dump does. pg_dump must have its own locks already.

        Raises psycopg.Error or a SourceError when a table is not what it was when the snapshot was taken.
        TRUNCATE and some forms of ALTER TABLE ignore snapshots, so the dump has none of the rows
        (https://www.postgresql.org/docs/current/mvcc-caveats.html). Each of them gives a table a new file.
        """
        with self.conflicts(), failures.unsettled(f"locking the tables of {self.database}"):
            relations = tuple(inspect.relations(self.connection))
            remaining = iter([relation.identifier for relation in relations if relation.kind in "rp"])
            while batch := list(islice(remaining, inspect.BATCH)):
                tables = sql.SQL(", ").join(sql.SQL("ONLY ") + name for name in batch)
                self.connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(tables))
            changed = set(self.connection.execute(_REWRITTEN.encode()).fetchall())
        rewritten = tuple(one for one in relations if (one.schema, one.table) in changed)
        if rewritten and not self.last:
            what = (
                f"table {rewritten[0].name} of {self.database} was emptied or rewritten as the dump started"
            )
            if self.recovering:  # replay ends whoever reads the table, so pg_dump, too
                raise failures.StandbyConflictError("StandbyConflict", what)
            raise failures.UnsettledError("TablesChanging", what)
        return Locked(relations, rewritten)

    @contextmanager
    def conflicts(self) -> Iterator[None]:
        """A standby's replay ends sessions that are in its way; libpq does not always say why."""
        try:
            yield
        except (psycopg.OperationalError, SourceError) as error:
            if self.recovering and self.connection.closed:
                what = f"the standby ended the session that held the snapshot of {self.database}"
                raise failures.StandbyConflictError("StandbyConflict", what) from error
            raise


@contextmanager
def hold(source: ChosenSource, database: str, last: bool) -> Iterator[Snapshot]:
    """Open a snapshot of `database`. Raises TaskError when something in it cannot be read.

    No table is locked: a lock of ours would hold up whoever wants to change the table, and pg_dump would wait
    behind them.
    """
    with source.server.connect(database) as connection:
        with failures.unsettled(f"listing the tables of {database}"):
            relations = inspect.relations(connection, "rpmS")
        checks.everything_is_readable(connection, source.server.user, database, relations)
        connection.execute("SET max_parallel_workers_per_gather = 0")  # the dump and zstd need the CPUs
        connection.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}".encode())
        recovering = source.identity.role == "Standby"
        standby_moment = standby_time(source.server, source.primary, database) if recovering else None
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        position = "pg_last_wal_replay_lsn()" if recovering else "pg_current_wal_lsn()"
        # statement_timestamp() is when the statement came in: before its snapshot was taken.
        row = connection.execute(
            f"SELECT pg_export_snapshot(), statement_timestamp(), {position}::text".encode()
        ).fetchone()
        assert row is not None
        identifier, now, lsn = row
        yield Snapshot(connection, database, recovering, identifier, standby_moment or now, lsn, last)


def settled(work: Callable[[bool], T]) -> T:
    """Call `work`, which takes a snapshot, until no table changes before the dump has its locks.

    After SETTLE_SECONDS `work` is called a last time, with True. Raises what it then raises. Between two
    attempts the backup holds nothing, so that whoever waited behind it goes on.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        last = time.monotonic() > deadline
        try:
            return work(last)
        except failures.GaveWayError:
            deadline = time.monotonic() + SETTLE_SECONDS  # the dump ran: it had its locks
        except failures.UnsettledError:
            if last:
                raise
        time.sleep(random.uniform(0, _MAX_PAUSE_SECONDS))  # noqa: S311 no secret: out of step with the others
