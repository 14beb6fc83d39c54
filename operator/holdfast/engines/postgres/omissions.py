"""What pg_dump leaves out of a database without a word, named and counted in the backup's snapshot."""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from holdfast.engines.postgres.connection import Connection, shown
from holdfast.engines.postgres.inspect import SUBSCRIPTIONS, qualified
from holdfast.protocol import Omission

MAX_NAMED = 5
"""Things that one omission names before it only counts."""
COUNT_SECONDS = 60
"""How long the count of one table of an extension may take: it is no part of the dump."""

# What CREATE EXTENSION makes comes back by CREATE EXTENSION. It has the transaction of the extension's own
# row, or of the row that makes the table a member: `ALTER EXTENSION … UPDATE` and `… ADD` write that one.
_EXTENSION_TABLES = """
SELECT n.nspname, c.relname, e.extname, ARRAY[e.xmin::text, d.xmin::text]
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND (e.extconfig IS NULL OR c.oid <> ALL (e.extconfig))
 ORDER BY 1, 2
"""
_FOREIGN_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'f' ORDER BY 1
"""
# https://www.postgresql.org/docs/current/system-catalog-initial-data.html#SYSTEM-CATALOG-OID-ASSIGNMENT
_IN_PG_CATALOG = """
SELECT what FROM (
    SELECT 'pg_class'::regclass, c.oid, format('relation %I', relname), relnamespace FROM pg_class c
     WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, format('function %I', proname), pronamespace FROM pg_proc p
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, format('type %I', typname), typnamespace FROM pg_type t
     WHERE typrelid = 0 AND typcategory <> 'A'
) AS made (catalogue, oid, what, namespace)
 WHERE namespace = 'pg_catalog'::regnamespace AND oid >= 16384
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = catalogue AND d.objid = made.oid AND d.deptype IN ('e', 'i'))
 ORDER BY 1
"""
_ADDED_TO_EXTENSIONS = """
WITH member AS (
    SELECT d.objid, e.extname, ARRAY[e.xmin::text, d.xmin::text] AS made
      FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
)
SELECT format('trigger %I of extension %I', t.tgname, m.extname)
  FROM pg_trigger t JOIN member m ON m.objid = t.tgrelid
  JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
 WHERE NOT t.tgisinternal GROUP BY t.oid, t.tgname, m.extname HAVING bool_and(d.xmin::text <> ALL (m.made))
UNION ALL
SELECT format('index %I of extension %I', c.relname, m.extname)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN member m ON m.objid = i.indrelid
  JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
 GROUP BY c.oid, c.relname, m.extname HAVING bool_and(d.xmin::text <> ALL (m.made))
 ORDER BY 1
"""
_DATABASE_LABELS = """
SELECT count(*) FROM pg_shseclabel
 WHERE classoid = 'pg_database'::regclass
   AND objoid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def of_database(connection: Connection, database: str) -> Iterator[Omission]:
    """What the dump of `database` lacks; the connection's transaction has the dump's snapshot."""
    name = qualified(database)
    yield from _rows_of_extensions(connection, database)
    foreign = Omission(
        what=f"rows of foreign tables of {name}, which another server has", reason="ForeignRows"
    )
    yield from _listed(connection, _FOREIGN_TABLES, foreign)
    made = Omission(what=f"what somebody made in schema pg_catalog of {name}", reason="InSystemSchema")
    yield from _listed(connection, _IN_PG_CATALOG, made)
    added = Omission(what=f"what somebody added to tables of extensions of {name}", reason="AddedToExtension")
    yield from _listed(connection, _ADDED_TO_EXTENSIONS, added)
    if connection.info.parameter_status("is_superuser") != "on":
        subscriptions = Omission(
            what=f"subscriptions of {name}, which only a superuser can dump", reason="SubscriptionsNotDumped"
        )
        yield from _listed(connection, SUBSCRIPTIONS, subscriptions)
    labels = connection.execute(_DATABASE_LABELS.encode()).fetchone()
    if labels and labels[0]:
        what = f"security labels of database {name} itself"
        yield Omission(what=what, count=labels[0], reason="DatabaseLabels")


def _rows_of_extensions(connection: Connection, database: str) -> Iterator[Omission]:
    for schema, table, extension, made in connection.execute(_EXTENSION_TABLES.encode()).fetchall():
        rows = _count(connection, sql.Identifier(schema, table), made)
        if rows != 0:
            name = qualified(database, shown(connection, schema), shown(connection, table))
            yield Omission(
                what=f"rows of table {name}, which belongs to extension {extension}",
                count=rows,
                reason="ExtensionRows",
            )


def _count(connection: Connection, table: sql.Identifier, made: list[str]) -> int | None:
    """The rows that CREATE EXTENSION did not make; None where they cannot be counted."""
    connection.execute("SAVEPOINT one_table")
    try:
        connection.execute(f"SET LOCAL statement_timeout = '{COUNT_SECONDS}s'".encode())
        query = sql.SQL("SELECT count(*) FROM ONLY {} WHERE xmin::text <> ALL (%s)").format(table)
        row = connection.execute(query, [made]).fetchone()
        return None if row is None else int(row[0])
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.QueryCanceled,
        psycopg.errors.UndefinedTable,
    ):
        return None
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK TO SAVEPOINT one_table")


def _listed(connection: Connection, query: str, omission: Omission) -> Iterator[Omission]:
    """The omission with the names that a query finds; none if it finds none."""
    names = [shown(connection, row[0]) for row in connection.execute(query.encode())]
    if names:
        named = ", ".join(names[:MAX_NAMED])
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield Omission(what=f"{omission.what}: {named}{more}", count=len(names), reason=omission.reason)
