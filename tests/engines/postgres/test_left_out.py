"""What a backup does not hold is named: by pg_dump's own rules, by the policy, by who may read what."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.postgres import direct
from tests.engines.postgres.servers import PASSWORD, TestServer

from holdfast.engines.postgres import databases
from holdfast.engines.transfer import TaskError

READER = "omitting_reader"


@pytest.fixture(scope="module")
def lacking(source_server: TestServer) -> Iterator[TestServer]:
    """A server with a role that only reads, and a database of what pg_dump leaves out."""
    password = PASSWORD.replace("'", "''")
    source_server.execute(
        "CREATE DATABASE lacking",
        f"CREATE ROLE {READER} LOGIN PASSWORD '{password}' IN ROLE pg_read_all_data",
    )
    source_server.execute(
        "CREATE EXTENSION hstore", "CREATE EXTENSION file_fdw",
        "CREATE TABLE queue AS SELECT generate_series(1, 5) AS id",
        "CREATE TABLE settled AS SELECT generate_series(1, 5) AS id",
        "CREATE INDEX made_before ON queue (id)",
        "ALTER EXTENSION hstore ADD TABLE queue",
        "CREATE INDEX made_later ON queue (id)",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE hosts (line text) SERVER files OPTIONS (filename '/etc/hosts')",
        "CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SUBSCRIPTION taken CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)",
        database="lacking",
    )  # fmt: skip
    yield source_server
    source_server.execute("DROP SUBSCRIPTION taken", database="lacking")
    source_server.drop("lacking")
    source_server.execute(f"DROP ROLE {READER}")


def test_what_pg_dump_leaves_out_is_named_and_counted(lacking: TestServer, tmp_path: Path) -> None:
    summary, _ = direct.backed_up(tmp_path, lacking, user=READER, databases=["lacking"])
    omitted = {omission.reason: omission for omission in summary.omissions}
    assert {reason: omission.count for reason, omission in omitted.items()} == {
        "ExtensionRows": 5, "AddedToExtension": 2, "ForeignRows": 1, "InSystemSchema": 1,
        "SubscriptionsNotDumped": 1,
    }  # fmt: skip
    assert omitted["ExtensionRows"].what == (
        "rows of table lacking.public.queue, which belongs to extension hstore"
    )
    assert omitted["ForeignRows"].what.endswith(": public.hosts")
    assert omitted["InSystemSchema"].what.endswith(": function mine")
    assert omitted["SubscriptionsNotDumped"].what.endswith(": taken")


def test_what_create_extension_makes_is_no_omission(lacking: TestServer, tmp_path: Path) -> None:
    """Rows that the extension's own script inserted come back with it."""
    lacking.execute("CREATE DATABASE complete")
    try:
        with lacking.connect("complete") as connection, connection.transaction():
            connection.execute("CREATE EXTENSION hstore")
            connection.execute("CREATE TABLE known AS SELECT generate_series(1, 5) AS id")
            connection.execute("CREATE INDEX ON known (id)")
            connection.execute("ALTER EXTENSION hstore ADD TABLE known")
        summary, _ = direct.backed_up(tmp_path, lacking, databases=["complete"])
        assert summary.omissions == ()
    finally:
        lacking.drop("complete")


def test_databases_that_are_left_out_are_named(lacking: TestServer) -> None:
    names = ("rdsadmin", "closed", "a_template", "interrupted")
    lacking.execute(
        "CREATE DATABASE rdsadmin", "CREATE DATABASE closed ALLOW_CONNECTIONS false",
        "CREATE DATABASE a_template IS_TEMPLATE true", "CREATE DATABASE interrupted",
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'interrupted'",
    )  # fmt: skip
    try:
        with lacking.connect() as connection:
            choice = databases.choose(connection, None)
            named = databases.choose(connection, ("lacking",))
            with pytest.raises(TaskError, match="databases: closed accepts no connections"):
                databases.choose(connection, ("lacking", "closed"))
    finally:
        lacking.execute("ALTER DATABASE a_template IS_TEMPLATE false")
        lacking.drop(*names)
    assert {"lacking", "postgres"} <= set(choice.names)
    assert not {*names, "template0", "template1"} & set(choice.names)
    (note,) = choice.notes
    assert note.reason == "DatabasesLeftOut"
    assert not note.warning
    for name, why in {
        "rdsadmin": "kept by the server's provider",
        "closed": "accepts no connections",
        "a_template": "a template",
    }.items():
        assert f"{name} ({why})" in note.message
    (omission,) = choice.omissions
    assert omission.reason == "DatabaseInvalid"
    assert "database interrupted" in omission.what
    assert named.names == ("lacking",)
    assert "postgres (not named)" in named.notes[0].message
