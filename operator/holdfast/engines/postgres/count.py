"""Counts the rows of a table exactly, whatever indexes and functions the application has on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection

VIEW_SECONDS = 5
"""How long the count of a materialized view may take: whoever refreshes the view waits behind it."""

# Class 08, 40, 53, 57, 58: the server or the connection, not the table.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_OF_THE_TABLE = ("08", "40", "53", "57", "58")

_NARROWEST_COLUMN = """
SELECT attname FROM pg_attribute
 WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
 ORDER BY attlen < 0, attlen, attnum LIMIT 1
"""


@contextmanager
def batch(connection: Connection) -> Iterator[None]:
    """What is counted together. At its end the planner's locks on indexes are given back."""
    connection.execute("SAVEPOINT counting")
    yield
    connection.execute("ROLLBACK TO SAVEPOINT counting")


def rows_of_table(connection: Connection, table: sql.Identifier, condition: str) -> int:
    """The rows of a table without its children; the connection is in a `batch`.

    The planner reads the expressions of indexes and statistics, and fails where a function in them finds its
    names by the search path. COPY of a table plans nothing, as pg_dump relies on it, but is slower.
    """
    try:
        query = sql.SQL("SELECT count(*) FROM ONLY {} ").format(table).as_bytes(connection)
        return _one(connection, query + condition.encode())
    except psycopg.DatabaseError as error:
        if condition or error.sqlstate is None or error.sqlstate[:2] in _NOT_OF_THE_TABLE:
            raise
        connection.execute("ROLLBACK TO SAVEPOINT counting")
        return _copied(connection, table)


def rows_of_view(connection: Connection, view: sql.Identifier) -> int | None:
    """The rows of a materialized view; None where they cannot be counted at once. A restore refreshes it."""
    connection.execute("SAVEPOINT one_view")
    try:
        connection.execute(f"SET LOCAL statement_timeout = '{VIEW_SECONDS}s'".encode())
        return _one(connection, sql.SQL("SELECT count(*) FROM {}").format(view).as_bytes(connection))
    except psycopg.DatabaseError as error:
        if error.sqlstate is None or (
            error.sqlstate[:2] in _NOT_OF_THE_TABLE and not isinstance(error, psycopg.errors.QueryCanceled)
        ):
            raise
        return None
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK TO SAVEPOINT one_view")


def _copied(connection: Connection, table: sql.Identifier) -> int:
    name = table.as_string(connection)
    column = connection.execute(_NARROWEST_COLUMN, [name]).fetchone()
    columns = sql.SQL("") if column is None else sql.SQL("({})").format(sql.Identifier(column[0]))
    statement = sql.SQL("COPY {} {} TO STDOUT").format(table, columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        # A line for each row: in this format a line break inside of a value is written as \\n.
        return sum(bytes(data).count(b"\n") for data in copy)


def _one(connection: Connection, query: bytes) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
