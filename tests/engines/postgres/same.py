"""Asserts that two databases are the same: every definition, every row, every large object."""

import difflib
import hashlib
import subprocess

from tests.engines.postgres.servers import BINARIES, TestServer

_TABLES = """
SELECT format('%I.%I', nspname, relname), relkind::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE relkind IN ('r', 'm', 'p') AND relispopulated AND relpersistence <> 't'
   AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1
"""
_SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
_LARGE_OBJECTS = (
    "SELECT oid, pg_get_userbyid(lomowner), lomacl::text, md5(lo_get(oid)),"
    " obj_description(oid, 'pg_largeobject') FROM pg_largeobject_metadata ORDER BY 1"
)
_DATABASE = """
SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider,
       daticulocale, datconnlimit, datistemplate, datallowconn, datacl::text, spcname,
       shobj_description(d.oid, 'pg_database'),
       (SELECT array_agg(coalesce(setrole::regrole::text, '') || setconfig::text ORDER BY setrole)
          FROM pg_db_role_setting WHERE setdatabase = d.oid)
  FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = current_database()
"""


def definitions(server: TestServer, database: str) -> str:
    """`pg_dump --schema-only`, with the same key for its \\restrict lines."""
    return subprocess.run(
        [BINARIES / "pg_dump", "--schema-only", "--restrict-key=same", "-d", server.conninfo(database)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def rows(
    server: TestServer, database: str, without: frozenset[str] = frozenset()
) -> dict[str, tuple[int, str]]:
    """For each table, partitioned table and materialised view: rows, and a digest of them in sorted order."""
    found = {}
    with server.connect(database) as connection:
        # A superuser's own, so that policies and settings of the database hide nothing.
        connection.execute("SET row_security = off; SET extra_float_digits = 3; SET bytea_output = hex")
        connection.execute("SET TimeZone = 'UTC'; SET DateStyle = ISO; SET IntervalStyle = postgres")
        for name, kind in connection.execute(_TABLES.encode()).fetchall():
            if name in without:
                continue
            what = f"(SELECT * FROM {'ONLY ' if kind == 'r' else ''}{name})"  # noqa: S608 quoted by format()
            with connection.cursor() as cursor, cursor.copy(f"COPY {what} TO STDOUT".encode()) as copy:
                lines = b"".join(copy).split(b"\n")[:-1]
            digest = hashlib.sha256(b"\n".join(sorted(lines)))
            found[name] = (len(lines), digest.hexdigest())
    return found


def assert_same(
    before: tuple[TestServer, str], after: tuple[TestServer, str], without: frozenset[str] = frozenset()
) -> None:
    """Assert it, but for the rows of the tables in `without`, which pg_dump does not keep apart."""
    difference = list(
        difflib.unified_diff(definitions(*before).splitlines(), definitions(*after).splitlines(), lineterm="")
    )
    assert not difference, "\n".join(difference)
    _equal(rows(*before, without), rows(*after, without))
    for query in (_SEQUENCES, _LARGE_OBJECTS, _DATABASE):
        _equal(before[0].execute(query, database=before[1]), after[0].execute(query, database=after[1]))


def _equal(expected: object, found: object) -> None:
    assert found == expected, f"expected {expected}\nfound {found}"
