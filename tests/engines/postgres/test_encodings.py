"""Databases and roles whose names are no UTF-8 are backed up and come back."""

from pathlib import Path

import psycopg
from tests.engines.postgres import direct, jobs
from tests.engines.postgres.servers import TestServer
from tests.harness import Runner

BYTES = 'public."table \\xff"'
UTF8 = 'public."täble"'


def test_names_in_a_database_without_an_encoding(
    source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    source_server.execute("CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with psycopg.connect(source_server.conninfo("bytes"), client_encoding="latin1") as connection:
            connection.execute('CREATE TABLE "table \xff" AS SELECT 1 AS "c\xfe"')
            connection.execute(f'CREATE TABLE "{"täble".encode().decode("latin1")}" AS SELECT 1 AS id')
        spec = source_server.target(databases=["bytes"])
        result = jobs.backed_up(runner, spec)
        assert result.contents["rows"] == 2
        assert jobs.restored(runner, spec, target_server.address()).mismatched == 0
    finally:
        source_server.drop("bytes")
        target_server.drop("bytes")


def test_names_are_shown_as_utf8_where_they_are(source_server: TestServer, tmp_path: Path) -> None:
    source_server.execute("CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with psycopg.connect(source_server.conninfo("bytes"), client_encoding="latin1") as connection:
            connection.execute('CREATE TABLE "table \xff" AS SELECT 1 AS "c\xfe"')
            connection.execute(f'CREATE TABLE "{"täble".encode().decode("latin1")}" AS SELECT 1 AS id')
        summary, _ = direct.backed_up(tmp_path, source_server, databases=["bytes"])
        assert direct.tables(summary) == {BYTES: 1, UTF8: 1}
    finally:
        source_server.drop("bytes")


def test_roles_of_a_database_in_latin1(source_server: TestServer, tmp_path: Path) -> None:
    source_server.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        source_server.execute('CREATE ROLE "müller"', database="latin")
        _, stored = direct.backed_up(tmp_path, source_server, databases=["latin"])
        assert 'CREATE ROLE "müller";' in stored.artifacts["globals.sql"].decode()
    finally:
        source_server.execute('DROP ROLE IF EXISTS "müller"', database="latin")
        source_server.drop("latin")
