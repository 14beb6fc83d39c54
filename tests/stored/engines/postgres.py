"""Two PostgreSQL databases of assorted types and objects, and a role that owns them."""

from pathlib import Path
from typing import Any

from tests.engines.postgres.servers import TestServer, primary, secrets
from tests.stored.engines.engine import Engine

LEDGER = "ledger"
ODD = 'Odd "database" / ü% it\'s'
_HERE = Path(__file__).parent
_RELATIONS = """
SELECT format('%I.%I', nspname, relname), relkind::text, pg_get_userbyid(relowner), relacl::text,
       obj_description(c.oid, 'pg_class'), pg_get_partkeydef(c.oid), pg_get_expr(relpartbound, c.oid),
       (SELECT array_agg(format('%s %s not null: %s, identity: %s, generated: %s, default: %s', attname,
                         format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                         pg_get_expr(adbin, adrelid)) ORDER BY attnum)
          FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
       (SELECT array_agg(pg_get_constraintdef(k.oid) ORDER BY conname)
          FROM pg_constraint k WHERE conrelid = c.oid),
       (SELECT array_agg(pg_get_indexdef(indexrelid) ORDER BY indexrelid::regclass::text)
          FROM pg_index WHERE indrelid = c.oid),
       (SELECT array_agg(pg_get_triggerdef(t.oid) ORDER BY tgname)
          FROM pg_trigger t WHERE tgrelid = c.oid AND NOT tgisinternal)
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE relkind IN ('r', 'm', 'p', 'v') AND nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1
"""
_PARTS = ("kind", "owner", "acl", "comment", "partitionKey", "bounds", "columns", "constraints", "indexes",
          "triggers")  # fmt: skip
_LISTS = {
    "settings": """
SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype, datacl::text,
       shobj_description(d.oid, 'pg_database'),
       (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setdatabase = d.oid)
  FROM pg_database d WHERE datname = current_database()
""",
    "sequences": """
SELECT schemaname, sequencename, data_type::text, start_value, increment_by, last_value
  FROM pg_sequences ORDER BY 1, 2
""",
    "functions": """
SELECT p.oid::regprocedure::text, prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
 WHERE nspname = 'public' ORDER BY 1
""",
    "largeObjects": """
SELECT oid::bigint, pg_get_userbyid(lomowner), lomacl::text, encode(sha256(lo_get(oid)), 'hex'),
       obj_description(oid, 'pg_largeobject')
  FROM pg_largeobject_metadata ORDER BY 1
""",
}
_ROLES = """
SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolconnlimit,
       rolvaliduntil::text, shobj_description(r.oid, 'pg_authid'),
       (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0),
       (SELECT array_agg(roleid::regrole::text ORDER BY 1) FROM pg_auth_members WHERE member = r.oid)
  FROM pg_authid r WHERE rolname !~ '^pg_' AND rolname <> 'postgres' ORDER BY 1
"""


def fill(server: TestServer) -> None:
    """Make the roles and both databases."""
    server.script((_HERE / "roles.sql").read_text())
    server.script((_HERE / "ledger.sql").read_text(), LEDGER)
    server.script((_HERE / "odd.sql").read_text(), ODD)


def change(server: TestServer) -> None:
    """Write some rows, and a large object."""
    server.script((_HERE / "change.sql").read_text(), LEDGER)


def held(server: TestServer) -> dict[str, Any]:
    """The roles; of each database its definitions, rows, sequences and large objects."""
    return {
        "roles": server.execute("SET TimeZone = 'UTC'", _ROLES),
        "databases": {name: _database(server, name) for name in (LEDGER, ODD)},
    }


def _database(server: TestServer, name: str) -> dict[str, Any]:
    with server.connect(name) as connection:
        # A superuser's own, so that policies and settings of the database hide nothing.
        connection.execute("SET row_security = off; SET extra_float_digits = 3; SET bytea_output = hex")
        connection.execute("SET TimeZone = 'UTC'; SET DateStyle = ISO; SET IntervalStyle = postgres")
        found: dict[str, Any] = {
            part: connection.execute(query.encode()).fetchall() for part, query in _LISTS.items()
        }
        relations = {}
        for relation, *parts in connection.execute(_RELATIONS.encode()).fetchall():
            query = f"COPY (SELECT * FROM {relation}) TO STDOUT"  # noqa: S608 quoted by format()
            with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
                lines = sorted(b"".join(copy).decode().split("\n")[:-1])
            relations[relation] = {**dict(zip(_PARTS, parts, strict=True)), "rows": lines}
    return {**found, "relations": relations}


POSTGRES = Engine(
    name="postgres",
    running=primary,
    target=lambda server: server.target(databases=[LEDGER, ODD]),
    address=lambda server: server.address(),
    fill=fill,
    change=change,
    held=held,
    secrets=secrets(),
)
