"""What a standby lacks and its primary has: rows of unlogged tables, and how far sequences are.

Unlogged tables are not in the write-ahead log, and a sequence is logged once for the next 32 values, so that
on a standby it is ahead (SEQ_LOG_VALS in
https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/commands/sequence.c).
"""

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from holdfast.engines.postgres import count, dump, inspect, snapshot, source, tools
from holdfast.engines.postgres.connection import Connection, shown
from holdfast.engines.postgres.detail import DatabaseDetail
from holdfast.engines.postgres.inspect import Relation, qualified
from holdfast.engines.postgres.source import ChosenSource
from holdfast.engines.transfer import BackupContext, SourceError, TaskError
from holdfast.protocol import Omission

_log = logging.getLogger(__name__)
_LOGGED_AHEAD = 32
_POSITIONS = """
SELECT n.nspname, c.relname, c.relpersistence::text, s.seqincrement, s.seqcache,
       CASE WHEN c.relpersistence = 'p' OR NOT pg_is_in_recovery() THEN pg_sequence_last_value(c.oid) END
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence <> 't' AND has_sequence_privilege(s.seqrelid, 'USAGE,SELECT')
"""


@dataclass(frozen=True)
class _Position:
    unlogged: bool
    increment: int
    cache: int
    value: int | None
    """None: nextval was never called."""


def fill(
    context: BackupContext, standby: ChosenSource, detail: DatabaseDetail
) -> tuple[DatabaseDetail, list[Omission]]:
    """What the dump of a standby's database lacks, from the primary; what is not there is an omission."""
    database = detail.properties.name
    filled, here = detail, dict[str, _Position]()
    try:
        with standby.server.connect(database) as connection:
            here = _positions(connection)
        if standby.primary is None:
            raise SourceError("PrimaryUnreachable", "the backup has no primary to read")
        chosen = source.choose_primary(standby.primary, (database,))
        if chosen.identity.role != "Primary":
            raise SourceError("PrimaryInRecovery", f"{chosen.server.address} is a standby")
        with chosen.server.connect(database) as connection:
            positions = _sequences(here, _positions(connection))
            unlogged = [
                relation
                for relation in inspect.relations(connection, "r")
                if relation.name in detail.inventory.unlogged
            ]
        here = {}
        filled = detail.model_copy(update={"sequences": positions})
        if unlogged:
            filled = _with_rows(filled, _dump_unlogged(context, chosen, detail, unlogged))
    except (SourceError, TaskError, psycopg.Error) as error:
        _log.warning("what the standby lacks of %s is not filled from the primary: %s", database, error)
    return filled, list(_lacking(filled, here))


def _with_rows(detail: DatabaseDetail, rows: dict[str, int]) -> DatabaseDetail:
    inventory = detail.inventory
    lacking = tuple(name for name in inventory.unlogged if name not in rows)
    counted = inventory.model_copy(update={"tables": inventory.tables | rows, "unlogged": lacking})
    return detail.model_copy(update={"inventory": counted, "unlogged_artifact": _artifact(detail)})


def _artifact(detail: DatabaseDetail) -> str:
    """No database's dump has such a name: those end in `.dump`."""
    return f"{detail.artifact}.unlogged"


def _lacking(detail: DatabaseDetail, unknown: dict[str, _Position]) -> Iterator[Omission]:
    database = detail.properties.name
    unlogged = detail.inventory.unlogged
    if unlogged:
        what = f"rows of the unlogged tables of {database}, which a standby has not: {', '.join(unlogged)}"
        yield Omission(what=what, count=len(unlogged), reason="UnloggedTablesEmpty")
    ahead = [name for name, position in unknown.items() if position.value is not None]
    if ahead:
        what = f"exact last values of sequences of {database}, which a standby shows up to 32 values ahead"
        yield Omission(what=what, count=len(ahead), reason="SequencesAhead")


def _sequences(here: dict[str, _Position], there: dict[str, _Position]) -> dict[str, int]:
    """The last values that sequences have on the primary and not on the standby, by their names as in SQL.

    Only where the standby is ahead as its log makes it so: any other value is of another moment.
    """
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


def _dump_unlogged(
    context: BackupContext, primary: ChosenSource, detail: DatabaseDetail, relations: Sequence[Relation]
) -> dict[str, int]:
    """Store the rows that unlogged tables have on the primary now; their counts by name."""
    database = detail.properties.name
    program = tools.program("pg_dump", context.spec.major_version)

    def attempt(last: bool) -> dict[str, int]:
        with snapshot.hold(primary, database, last) as view, context.store(_artifact(detail)) as sink:
            command = [
                program, "--format=custom", "--compress=0", "--data-only",
                f"--snapshot={view.id}", f"--lock-wait-timeout={snapshot.LOCK_MILLISECONDS}ms",
                "--no-password", *(f"--table={_pattern(relation)}" for relation in relations),
                f"--dbname={primary.server.conninfo(database)}",
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
