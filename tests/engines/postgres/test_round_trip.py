"""What is backed up comes back identical: every type, every kind of object, odd names, roles."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql
from tests.engines.postgres import servers, values
from tests.engines.postgres.jobs import backed_up
from tests.engines.postgres.same import assert_same
from tests.engines.postgres.servers import BINARIES, PASSWORD, TestServer, secrets
from tests.harness import Runner
from tests.readme import without_holdfast

from holdfast.protocol import BackupResult, RestoreResult

ODD_DATABASE = 'Odd "database" / ü% \\ it\'s'
HERE = Path(__file__).parent
# pg_dump loads a table that is hash-partitioned by an enum through its root, because an enum's hash depends
# on OIDs: its rows may land in another partition. The root itself is compared.
BY_ENUM = frozenset({"public.by_mood_0", "public.by_mood_1"})
ROLE_QUERY = """
SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
       rolconnlimit, rolvaliduntil, shobj_description(r.oid, 'pg_authid'),
       (SELECT array_agg(setconfig::text) FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0),
       (SELECT array_agg(roleid::regrole || ' ' || admin_option || ' ' || grantor::regrole ORDER BY roleid)
          FROM pg_auth_members WHERE member = r.oid)
  FROM pg_authid r WHERE rolname !~ '^pg_' ORDER BY 1
"""


@pytest.fixture(scope="module")
def everything(source_server: TestServer) -> Iterator[TestServer]:
    """A server with a database of everything, one with an odd name, and one that is empty."""
    source_server.script((HERE / "roles.sql").read_text())
    odd = sql.Identifier(ODD_DATABASE).as_string(None)
    source_server.execute(
        "CREATE DATABASE everything OWNER writer TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
        f"CREATE DATABASE {odd} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
        "CREATE DATABASE nothing TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'da-DK'",
        "ALTER DATABASE everything SET default_transaction_read_only = on",
        "ALTER DATABASE everything SET search_path = \"$user\", 'it''s, odd', public",
        "ALTER DATABASE everything SET my.setting = 'x''y\\z'",
        "ALTER ROLE writer IN DATABASE everything SET statement_timeout = '1h'",
        "ALTER ROLE ALL SET log_min_messages = 'error'",
        "REVOKE ALL ON DATABASE everything FROM PUBLIC",
        "GRANT CONNECT ON DATABASE everything TO reader WITH GRANT OPTION",
        "SET ROLE reader",
        'GRANT CONNECT ON DATABASE everything TO "Odd ""role"""',
        "RESET ROLE",
        "COMMENT ON DATABASE everything IS 'it''s everything'",
        "ALTER DATABASE everything CONNECTION LIMIT 17",
    )  # fmt: skip
    source_server.script(
        "SET default_transaction_read_only = off;\nSET search_path = public;\n"
        + values.script()
        + (HERE / "everything.sql").read_text(),
        "everything",
    )
    source_server.script(
        'DROP SCHEMA public; CREATE SCHEMA s; CREATE TABLE s."täble" AS SELECT \'ü\' AS "cöl"',
        ODD_DATABASE,
    )
    yield source_server
    with source_server.connect("everything") as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("ALTER SUBSCRIPTION subscribed SET (slot_name = NONE)")
        connection.execute("DROP SUBSCRIPTION subscribed")
    source_server.drop("everything", ODD_DATABASE, "nothing")
    source_server.execute("ALTER ROLE ALL RESET ALL")


def test_no_type_is_forgotten(everything: TestServer) -> None:
    found = {row[0] for row in everything.execute(values.BUILT_IN_TYPES)}
    assert found == values.VALUES.keys()


def test_everything_comes_back_identical(
    everything: TestServer, target_server: TestServer, runner: Runner
) -> None:
    code, result = runner.run_backup("postgres", everything.target(), secrets())
    assert code == 0, result
    assert isinstance(result, BackupResult)
    stored = result.contents
    assert stored["databases"] == 4
    assert stored["largeObjects"] == 3

    rename = {"nothing": "renamed", ODD_DATABASE: ODD_DATABASE}
    override = {**target_server.address(), "rename": rename}
    code, result = runner.run_restore("postgres", everything.target(), override, secrets())
    assert code == 0, result
    assert isinstance(result, RestoreResult)
    # Partitions by hash count as one table: three of hashed, two of by_mood.
    assert result.compared == stored["tables"] - 3
    assert result.contents == stored
    for name in ("everything", ODD_DATABASE, "postgres"):
        assert_same((everything, name), (target_server, name), BY_ENUM)
    assert_same((everything, "nothing"), (target_server, "renamed"))
    assert target_server.databases() == sorted(["everything", ODD_DATABASE, "postgres", "renamed"])
    assert target_server.execute(ROLE_QUERY) == everything.execute(ROLE_QUERY)
    hashes = "SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname <> 'postgres'"
    assert target_server.value(hashes) == 0
    reasons = {note.reason for note in result.notes}
    assert reasons == {"PasswordsNotRestored", "RolesLeftAlone", "SubscriptionsDisabled"}


def test_the_readmes_lines_restore_it(everything: TestServer, runner: Runner) -> None:
    everything.execute("CREATE DATABASE knowledge_base OWNER writer TEMPLATE template0")
    everything.script(
        values.script() + "ALTER DATABASE knowledge_base SET my.setting = 'x'", "knowledge_base"
    )
    backed_up(runner, everything.target(databases=["knowledge_base"]))
    (dump,) = runner.run_folder().rglob("knowledge_base.dump.zst")
    with servers.primary() as fresh:
        connection = {"PGHOST": "127.0.0.1", "PGPORT": str(fresh.port), "PGUSER": "postgres"}
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", without_holdfast("PostgreSQL")], cwd=dump.parent, check=True,
            env={"PATH": f"{BINARIES}:{os.environ['PATH']}", "PGPASSWORD": PASSWORD, **connection},
        )  # fmt: skip
        assert_same((everything, "knowledge_base"), (fresh, "knowledge_base"))
        assert fresh.execute(ROLE_QUERY) == everything.execute(ROLE_QUERY)
    everything.drop("knowledge_base")
