"""Lets a table take rows that its own rules refuse; the rules come back when all rows are there."""

from dataclasses import dataclass

from psycopg import sql

from holdfast.engines.postgres.connection import Connection

# CHECKs of the table and of those above it, and of the domains of its columns.
_CHECKS = """
WITH RECURSIVE up (oid) AS (
    SELECT %(table)s::regclass::oid UNION SELECT inhparent FROM pg_inherits JOIN up ON inhrelid = up.oid
), types (oid) AS (
    SELECT atttypid FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attnum > 0
    UNION SELECT unnest(ARRAY[typbasetype, typelem]) FROM pg_type t JOIN types USING (oid)
), owners (kind, oid, name) AS (
    SELECT 'TABLE', up.oid, format('%%I.%%I', nspname, relname)
      FROM up JOIN pg_class USING (oid) JOIN pg_namespace n ON n.oid = relnamespace
    UNION ALL SELECT 'DOMAIN', t.oid, format('%%I.%%I', nspname, typname)
      FROM types JOIN pg_type t USING (oid) JOIN pg_namespace n ON n.oid = typnamespace WHERE typtype = 'd'
)
SELECT format('CHECK CONSTRAINT %%s %%s', name, conname),
       format('ALTER %%s %%s DROP CONSTRAINT IF EXISTS %%I', kind, name, conname),
       format('ALTER %%s %%s ADD CONSTRAINT %%I %%s', kind, name, conname, pg_get_constraintdef(c.oid)),
       format('COMMENT ON CONSTRAINT %%I ON %%s %%s IS %%L', conname, nullif(kind, 'TABLE'), name,
              obj_description(c.oid, 'pg_constraint'))
  FROM owners JOIN pg_constraint c ON owners.oid IN (conrelid, contypid)
 WHERE contype = 'c' AND conislocal AND owners.oid <> 0 AND kind = %(kind)s
 ORDER BY conrelid, contypid, conname
"""
_EXPRESSIONS = """
SELECT attname FROM pg_attribute
 WHERE attrelid = %s::regclass AND attgenerated = 's' AND NOT attisdropped AND attinhcount = 0
"""
_PARENT = """
SELECT format('%%I.%%I', nspname, relname) FROM pg_inherits
  JOIN pg_class r ON r.oid = inhparent JOIN pg_namespace n ON n.oid = relnamespace
 WHERE inhrelid = %s::regclass
"""

Table = tuple[str, str]
"""Schema and name."""


@dataclass(frozen=True)
class Rule:
    """A CHECK, as what takes it away and what brings it back."""

    name: str
    """Such as `CHECK CONSTRAINT public.orders positive`."""
    drop: str
    add: str
    comment: str


def checks(inside: Connection, table: Table) -> list[Rule]:
    """The CHECKs that rows of a table must pass."""
    return _checks(inside, table, "TABLE")


def checks_of_domains(inside: Connection, table: Table) -> list[Rule]:
    """The CHECKs that values of a table's columns must pass. A server may not let all of them come back."""
    return _checks(inside, table, "DOMAIN")


def _checks(inside: Connection, table: Table, kind: str) -> list[Rule]:
    rows = inside.execute(_CHECKS, {"table": _name(inside, table), "kind": kind})
    return [Rule(*row) for row in rows]


def expressions(inside: Connection, table: Table) -> list[str]:
    """The columns of a table whose values an expression makes."""
    return [row[0] for row in inside.execute(_EXPRESSIONS, [_name(inside, table)])]


def drop_expression(inside: Connection, table: Table, column: str) -> None:
    """Make a generated column one like others, which is NULL in the rows that are loaded."""
    statement = sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP EXPRESSION")
    inside.execute(statement.format(sql.Identifier(*table), sql.Identifier(column)))


def detach(inside: Connection, table: Table) -> None:
    """Take a partition out of its table."""
    row = inside.execute(_PARENT, [_name(inside, table)]).fetchone()
    assert row is not None
    name = sql.Identifier(*table).as_string(inside)
    inside.execute(f"ALTER TABLE {row[0]} DETACH PARTITION {name}".encode())


def _name(inside: Connection, table: Table) -> str:
    return sql.Identifier(*table).as_string(inside)
