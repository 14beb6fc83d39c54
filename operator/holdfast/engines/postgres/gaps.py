"""What a standby lacks and its primary has: rows of unlogged tables, and how far sequences are.

Unlogged tables are not in the write-ahead log, and a sequence is logged once for the next 32 values, so that
on a standby it is ahead (SEQ_LOG_VALS in
https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/commands/sequence.c).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from holdfast.engines.postgres import count, dump, snapshot, source, tools
from holdfast.engines.postgres.connection import Connection, Server, shown
from holdfast.engines.postgres.inspect import Relation, qualified
from holdfast.engines.transfer import BackupContext

_LOGGED_AHEAD = 32
_POSITIONS = """
SELECT n.nspname, c.relname, c.relpersistence::text, s.seqincrement, s.seqcache,
       CASE WHEN c.relpersistence = 'p' OR NOT pg_is_in_recovery() THEN pg_sequence_last_value(c.oid) END
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND has_sequence_privilege(c.oid, 'USAGE,SELECT')
"""


@dataclass(frozen=True)
class _Position:
    unlogged: bool
    increment: int
    cache: int
    value: int | None
    """None: nextval was never called."""


def sequences(standby: Connection, primary: Connection) -> dict[str, int]:
    """The last values that sequences have on the primary and not on the standby, by their names as in SQL.

    Only where the standby is ahead as its log makes it so: any other value is of another moment.
    """
    there, here = _positions(primary), _positions(standby)
    values = {}
    for name, position in here.items():
        value = there[name].value if name in there else None
        if value is not None and value != position.value and _fills(position, value):
            values[name] = value
    return values


def _positions(connection: Connection) -> dict[str, _Position]:
    return {
        qualified(shown(connection, schema), shown(connection, name)):
            _Position(persistence == "u", increment, cache, value)
        for schema, name, persistence, increment, cache, value in connection.execute(_POSITIONS.encode())
    }  # fmt: skip


def _fills(position: _Position, value: int) -> bool:
    if position.value is None:
        return position.unlogged
    ahead = (position.value - value) / position.increment
    return 0 < ahead <= _LOGGED_AHEAD + position.cache


def dump_unlogged(
    context: BackupContext, primary: Server, artifact: str, database: str, relations: Sequence[Relation]
) -> Mapping[str, int]:
    """Store the rows that unlogged tables have on the primary now; their counts by name.

    Raises TransferError or psycopg.Error when the primary cannot be read.
    """
    major = tools.client_major(tools.program("pg_dump", context.spec.major_version))
    chosen = source.choose_primary(primary, (database,))

    def attempt() -> Mapping[str, int]:
        with snapshot.hold(chosen, database) as view, context.store(artifact) as sink:
            command = [
                tools.program("pg_dump", major), "--format=custom", "--compress=0", "--data-only",
                f"--snapshot={view.id}", f"--lock-wait-timeout={snapshot.LOCK_MILLISECONDS}ms",
                "--no-password", *(f"--table={_pattern(relation)}" for relation in relations),
                f"--dbname={primary.conninfo(database)}",
            ]  # fmt: skip
            lock = functools.cache(view.lock)
            dump.pump(f"pg_dump of {database}", command, sink, context.scratch, lambda: bool(lock()))
            with count.batch(view.connection):
                return {
                    relation.name: count.rows_of_table(view.connection, relation.identifier, "")
                    for relation in relations
                }

    return snapshot.settled(attempt)


def _pattern(relation: Relation) -> str:
    """A pattern for exactly one table: https://www.postgresql.org/docs/current/app-psql.html#APP-PSQL-PATTERNS"""
    return sql.Identifier(relation.schema, relation.table).as_string(None)
