"""What is in a database: counted in a backup's snapshot, and again in what a restore made of it."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import psycopg
from psycopg import sql

from holdfast.engines.postgres import count, failures
from holdfast.engines.postgres.connection import Connection, in_utf8, shown
from holdfast.engines.postgres.detail import Grant, Inventory, Properties, Setting

BATCH = 200
"""Tables in one LOCK statement, or counted before the locks of their indexes are given back."""

# Extensions' own tables are made by CREATE EXTENSION; pg_dump carries only the rows of those that the
# extension registered with pg_extension_config_dump, filtered by its condition:
# https://www.postgresql.org/docs/current/extend-extensions.html#EXTEND-EXTENSIONS-CONFIG-TABLES
_RELATIONS = """
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relispopulated,
       (SELECT ARRAY[rn.nspname, r.relname]
          FROM pg_partition_ancestors(CASE WHEN c.relispartition THEN c.oid END)
               WITH ORDINALITY AS a(relid, depth)
          JOIN pg_partitioned_table p ON p.partrelid = a.relid AND p.partstrat = 'h'
          JOIN pg_class r ON r.oid = a.relid
          JOIN pg_namespace rn ON rn.oid = r.relnamespace
         WHERE a.relid <> c.oid ORDER BY a.depth DESC LIMIT 1),
       coalesce(e.extcondition[array_position(e.extconfig, c.oid)], ''),
       has_table_privilege(c.oid, 'SELECT') IS NULL
       OR has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       row_security_active(c.oid)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
       AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  LEFT JOIN pg_extension e ON e.oid = d.refobjid
 WHERE c.relkind = ANY (%s) AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
   AND (e.oid IS NULL OR c.oid = ANY (e.extconfig))
 ORDER BY c.relpages, 1, 2
"""


@dataclass(frozen=True)
class Relation:
    """A table, partitioned table, materialised view or sequence that pg_dump reads."""

    schema: str
    table: str
    kind: str
    """pg_class.relkind: r, p, m, S."""
    unlogged: bool
    populated: bool
    hashed_below: str | None
    """The topmost hash-partitioned table that it is a partition of."""
    condition: str
    """An extension's condition for its configuration table, `WHERE …`."""
    name: str
    """Its name as in SQL, for people and manifests."""
    readable: bool
    """Also so of a relation that was dropped since the snapshot: the server cannot tell."""
    row_security: bool
    """Row-level security would hide rows from this role."""

    @property
    def identifier(self) -> sql.Identifier:
        """Its name for a statement."""
        return sql.Identifier(self.schema, self.table)


def qualified(*parts: str) -> str:
    """A name as in SQL, quoted the same whatever words a server's version reserves."""
    return ".".join(
        part if re.fullmatch("[a-z_][a-z0-9_]*", part) else '"' + part.replace('"', '""') + '"'
        for part in parts
    )


def relations(connection: Connection, kinds: str = "rpm") -> list[Relation]:
    """The user's relations of those kinds in the connection's database, small ones first."""
    rows = connection.execute(_RELATIONS, [list(kinds)])

    def name(*parts: str) -> str:
        return qualified(*(shown(connection, part) for part in parts))

    return [
        Relation(schema, table, kind, persistence == "u", populated, root and name(*root),
                 condition, name(schema, table), bool(readable), bool(row_security))
        for schema, table, kind, persistence, populated, root, condition, readable, row_security in rows
    ]  # fmt: skip


def inventory(
    connection: Connection, relations: Iterable[Relation], counted: Callable[[int], None], recovering: bool
) -> Inventory:
    """Count everything in `relations` exactly; the connection is in a transaction, whose snapshot decides.

    `counted` gets the rows of each table. With `recovering` the server is a standby, where unlogged tables
    cannot be read and pg_dump leaves their rows out.
    """
    tables: dict[str, int] = {}
    views: dict[str, int | None] = {}
    hashed: dict[str, str] = {}
    unlogged: list[str] = []
    remaining = iter([relation for relation in relations if relation.kind in "rm"])
    while batch := list(islice(remaining, BATCH)):
        with count.batch(connection):
            for relation in batch:
                if relation.kind == "m":
                    able = relation.readable and relation.populated
                    views[relation.name] = (
                        count.rows_of_view(connection, relation.identifier) if able else None
                    )
                    continue
                if relation.hashed_below:
                    hashed[relation.name] = relation.hashed_below
                if relation.unlogged and recovering:
                    unlogged.append(relation.name)
                    tables[relation.name] = 0
                    continue
                tables[relation.name] = rows = _count(connection, relation)
                counted(rows)
    return Inventory(
        tables=tables,
        materialized_views=views,
        hashed=hashed,
        unlogged=tuple(unlogged),
        extensions=dict(connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1")),
        large_objects=_one(connection, "SELECT count(*) FROM pg_largeobject_metadata"),
        has_public_schema=_one(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = 'public'") == 1,
        tablespaces=tuple(_names(connection, _TABLESPACES)),
        subscriptions=tuple(_names(connection, SUBSCRIPTIONS)),
    )


_TABLESPACES = """
SELECT spcname FROM pg_tablespace
 WHERE spcname NOT IN ('pg_default', 'pg_global')
   AND oid IN (SELECT reltablespace FROM pg_class
               UNION SELECT dattablespace FROM pg_database WHERE datname = current_database())
 ORDER BY 1
"""
SUBSCRIPTIONS = """
SELECT subname FROM pg_subscription
 WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1
"""


def _count(connection: Connection, relation: Relation) -> int:
    try:
        return count.rows_of_table(connection, relation.identifier, relation.condition)
    except psycopg.Error as error:
        doing = f"counting table {relation.name} of {connection.info.dbname}"
        raise failures.from_error(doing, error) from error


def _one(connection: Connection, query: bytes | str) -> int:
    row = connection.execute(query.encode() if isinstance(query, str) else query).fetchone()
    assert row is not None
    return int(row[0])


def _names(connection: Connection, query: str) -> Iterator[str]:
    return (row[0] for row in connection.execute(query.encode()))


_PROPERTIES = f"""
SELECT to_jsonb(d), d.oid::text, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), spcname,
       shobj_description(d.oid, 'pg_database')
  FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE {in_utf8("datname")} = %s
"""  # noqa: S608 no value of a user


def properties(connection: Connection, name: str) -> Properties | None:
    """What makes database `name` besides its contents; None when the server has no such database."""
    row = connection.execute(
        _PROPERTIES.encode(),
        [name.encode()],
    ).fetchone()
    if row is None:
        return None
    columns, oid, owner, encoding, tablespace, comment = row
    return Properties(
        name=name,
        owner=shown(connection, owner),
        encoding=encoding,
        collate=columns["datcollate"],
        ctype=columns["datctype"],
        provider=columns.get("datlocprovider", "c"),  # new in 15
        locale=columns.get("datlocale", columns.get("daticulocale")),  # 17; 15 and 16
        icu_rules=columns.get("daticurules"),  # new in 16
        collation_version=columns.get("datcollversion"),  # new in 15
        tablespace=tablespace,
        connection_limit=columns["datconnlimit"],
        is_template=columns["datistemplate"],
        comment=comment and shown(connection, comment),
        settings=tuple(_settings(connection, oid)),
        grants=None if columns["datacl"] is None else tuple(_grants(connection, oid)),
    )


def _settings(connection: Connection, oid: str) -> Iterator[Setting]:
    rows = connection.execute(
        "SELECT rolname, setting FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole,"
        "       unnest(setconfig) WITH ORDINALITY AS one(setting, number)"
        " WHERE setdatabase = %s::oid ORDER BY rolname NULLS FIRST, number",
        [oid],
    )
    for role, setting in rows:
        name, _, value = setting.partition("=")
        yield Setting(role=role and shown(connection, role), name=name, value=shown(connection, value))


def _grants(connection: Connection, oid: str) -> Iterator[Grant]:
    """The owner's grants first: others' depend on them."""
    rows = connection.execute(
        "SELECT pg_get_userbyid(grantor), CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END,"
        "       privilege_type, is_grantable"
        "  FROM pg_database, aclexplode(datacl) WHERE oid = %s::oid ORDER BY grantor <> datdba",
        [oid],
    )
    for grantor, grantee, privilege, grantable in rows:
        yield Grant(
            grantor=shown(connection, grantor), grantee=grantee and shown(connection, grantee),
            privilege=privilege, grantable=grantable,
        )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What a restored database has against what was counted in its backup."""

    compared: int
    mismatches: tuple[str, ...]
    remarks: tuple[str, ...]
    """Differences that a restore by pg_dump's own design makes."""


def compare(database: str, backup: Inventory, restored: Inventory) -> Comparison:
    """Compare table by table, partitions of a hash-partitioned table together.

    Rows of a table hashed by an enum may land in another partition: an enum's hash depends on its OIDs
    (https://www.postgresql.org/docs/current/app-pgdump.html, --load-via-partition-root). A materialised view
    is refreshed by a restore, so one that was stale may differ: a remark, not a mismatch.
    """
    hashed = backup.hashed | restored.hashed
    expected, actual = _folded(backup.tables, hashed), _folded(restored.tables, hashed)
    mismatches = [
        f"{database}: table {name}: the backup held {_rows(expected.get(name))}, "
        f"restored are {_rows(actual.get(name))}"
        for name in sorted(expected.keys() | actual.keys())
        if expected.get(name) != actual.get(name)
    ]
    if backup.large_objects != restored.large_objects:
        mismatches.append(
            f"{database}: the backup held {backup.large_objects} large objects, "
            f"restored are {restored.large_objects}"
        )
    for kind, before, after in (
        ("extension", backup.extensions, restored.extensions),
        ("materialized view", backup.materialized_views, restored.materialized_views),
    ):
        mismatches += [f"{database}: {kind} {name} is missing" for name in sorted(before.keys() - after)]
        mismatches += [f"{database}: {kind} {name} is new" for name in sorted(after.keys() - before)]
    return Comparison(len(expected), tuple(mismatches), tuple(_remarks(database, backup, restored)))


def _folded(tables: dict[str, int], hashed: dict[str, str]) -> dict[str, int]:
    folded: dict[str, int] = {}
    for name, rows in tables.items():
        top = hashed.get(name, name)
        folded[top] = folded.get(top, 0) + rows
    return folded


def _rows(count: int | None) -> str:
    return "no such table" if count is None else f"{count} rows"


def _remarks(database: str, backup: Inventory, restored: Inventory) -> Iterator[str]:
    for name, version in backup.extensions.items():
        now = restored.extensions.get(name, version)
        if now != version:
            yield f"{database}: extension {name} was {version} and is {now}: the version that this server has"
    for name, rows in backup.materialized_views.items():
        now_rows = restored.materialized_views.get(name)
        if None not in (rows, now_rows) and rows != now_rows:
            yield f"{database}: materialized view {name} held {rows} rows; refreshed it has {now_rows}"
