"""A backup of a database that an application works with: nobody waits for it, and it is of one moment."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.engines.postgres import direct, jobs
from tests.engines.postgres.servers import TestServer
from tests.waiting import wait_until

from holdfast.engines.postgres import snapshot, waiters
from holdfast.engines.postgres.backup import backup
from holdfast.engines.transfer import SourceError

COPYING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %' AND application_name = 'holdfast'"
LOOKED = """
SELECT extract(epoch FROM clock_timestamp() - waitstart)::int FROM pg_locks WHERE NOT granted LIMIT 1
"""
"""The seconds that somebody has waited."""
PATIENCE = "5s"
"""How long the application waits for a lock before it gives up."""


@pytest.fixture
def busy(source_server: TestServer) -> Iterator[str]:
    """A database with a table that always has 100 rows, and one that is altered."""
    source_server.execute("CREATE DATABASE busy")
    source_server.execute(
        "CREATE TABLE replaced AS SELECT generate_series(1, 100) AS id",
        "CREATE TABLE altered AS SELECT generate_series(1, 10) AS id",
        database="busy",
    )
    yield "busy"
    source_server.drop("busy")


@contextmanager
def working(server: TestServer, *works: "Callable[[psycopg.Connection], None]") -> Iterator[None]:
    """An application that does each of `works` again and again, and fails if it waits too long for a lock."""
    ended = threading.Event()

    def repeat(work: "Callable[[psycopg.Connection], None]") -> None:
        with server.connect("busy") as connection:
            connection.execute(f"SET lock_timeout = '{PATIENCE}'".encode())
            while not ended.wait(0.4):
                work(connection)

    with ThreadPoolExecutor(len(works)) as pool:
        workers = [pool.submit(repeat, work) for work in works]
        try:
            yield
        finally:
            ended.set()
        for worker in workers:
            worker.result()


def replace(connection: "psycopg.Connection") -> None:
    with connection.transaction():
        connection.execute("TRUNCATE replaced")
        connection.execute("INSERT INTO replaced SELECT generate_series(1, 100)")


def alter(connection: "psycopg.Connection") -> None:
    connection.execute("ALTER TABLE altered ADD COLUMN more int")
    connection.execute("ALTER TABLE altered DROP COLUMN more")


def read(connection: "psycopg.Connection") -> None:
    connection.execute("SELECT count(*) FROM altered, replaced")


def make_and_drop(name: str) -> "Callable[[psycopg.Connection], None]":
    def work(connection: "psycopg.Connection") -> None:
        connection.execute(f"CREATE TABLE {name} AS SELECT 1 AS id".encode())
        connection.execute(f"DROP TABLE {name}".encode())

    return work


def test_tables_change_between_the_snapshot_and_the_dump(
    busy: str, source_server: TestServer, tmp_path: Path
) -> None:
    """Nobody waits then, and the backup takes another snapshot."""
    source_server.execute("CREATE TABLE dropped (id int)", database=busy)
    context = direct.Memory(tmp_path, source_server.target(databases=[busy]))

    def change() -> None:
        with source_server.connect(busy) as connection:
            connection.execute(f"SET lock_timeout = '{PATIENCE}'".encode())
            alter(connection)
            connection.execute("DROP TABLE dropped")
            replace(connection)

    context.during["busy.dump"] = change
    summary = backup(context)
    assert direct.tables(summary) == {"public.replaced": 100, "public.altered": 10}
    assert context.copied("busy.dump", "replaced") == 100


def test_nobody_waits_behind_a_backup(busy: str, source_server: TestServer, tmp_path: Path) -> None:
    with working(source_server, replace, alter, read):
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            summary, stored = direct.backed_up(tmp_path / str(number), source_server, databases=[busy])
            assert direct.tables(summary) == {"public.replaced": 100, "public.altered": 10}
            assert stored.copied("busy.dump", "replaced") == 100


def test_tables_that_come_and_go(busy: str, source_server: TestServer, tmp_path: Path) -> None:
    with working(source_server, *[make_and_drop(f"passing_{number}") for number in range(4)]):
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            summary, stored = direct.backed_up(tmp_path / str(number), source_server, databases=[busy])
            assert direct.tables(summary)["public.replaced"] == 100
            assert stored.copied("busy.dump", "replaced") == 100


def test_a_table_that_stays_locked_holds_up_nobody_else(
    busy: str, source_server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "SETTLE_SECONDS", 1.0)
    with working(source_server, replace), source_server.connect(busy) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE altered IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceError, match=r"pg_dump of busy: .* timeout") as failure:
            direct.backed_up(tmp_path, source_server, databases=[busy])
    assert failure.value.reason == "LockTimeout"


def test_an_index_that_cannot_be_planned_is_counted_all_the_same(
    busy: str, source_server: TestServer, tmp_path: Path
) -> None:
    """The function finds another one by the search path, which the backup does not have."""
    source_server.execute(
        "CREATE FUNCTION plain(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)'",
        "CREATE FUNCTION outer_plain(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT plain($1)'",
        "CREATE TABLE indexed AS SELECT g AS id, E'line\\nbreak' AS name FROM generate_series(1, 50) g",
        "CREATE INDEX ON indexed (outer_plain(name))",
        "CREATE TABLE bare ()",
        "INSERT INTO bare DEFAULT VALUES",
        "CREATE MATERIALIZED VIEW view AS SELECT * FROM indexed",
        "CREATE INDEX ON view (outer_plain(name))",
        database=busy,
    )
    summary, _ = direct.backed_up(tmp_path, source_server, databases=[busy])
    assert direct.tables(summary)["public.indexed"] == 50
    assert direct.tables(summary)["public.bare"] == 1


def test_a_dump_gives_way_to_who_wants_to_change_a_table(
    busy: str, source_server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destination is slow, so that the dump would hold its locks for long."""
    monkeypatch.setattr(waiters, "PATIENCE_SECONDS", 1.0)
    jobs.fill(source_server, busy)
    context = direct.Memory(tmp_path, source_server.target(databases=[busy]))
    ended = threading.Event()
    context.before_write = lambda: ended.wait(30)

    def change() -> None:
        try:
            wait_until(lambda: bool(source_server.value(COPYING)), "the dump runs")
            with source_server.connect(busy) as connection:
                connection.execute(f"SET lock_timeout = '{PATIENCE}'".encode())
                connection.execute("ALTER TABLE altered ADD COLUMN more int DEFAULT 7")
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        summary = backup(context)
        changing.result()
    assert direct.tables(summary)["public.big"] == jobs.ROWS
    assert b"more" in context.artifacts["busy.dump"]


def test_a_dump_that_gave_way_often_goes_on(
    busy: str, source_server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiters, "MAX_TIMES", 0)
    monkeypatch.setattr(waiters, "PATIENCE_SECONDS", 0.5)
    jobs.fill(source_server, busy)
    context = direct.Memory(tmp_path, source_server.target(databases=[busy]))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    seen = threading.Event()
    context.before_write = lambda: seen.wait(30)

    def change() -> None:
        wait_until(lambda: bool(source_server.value(COPYING)), "the dump runs")
        source_server.execute("ALTER TABLE altered ADD COLUMN more int", database=busy)

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(backup, context)
        changing = pool.submit(change)
        try:
            wait_until(lambda: source_server.value(waiting) == 1, "somebody waits")
            wait_until(lambda: source_server.value(LOOKED) >= 2, "the backup has looked")
        finally:
            seen.set()
        changing.result()
        (note,) = [note for note in running.result().notes if note.warning]
    assert note.reason == "SessionsWaited"


def test_a_table_that_is_replaced_all_the_time_is_named(
    busy: str, source_server: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "SETTLE_SECONDS", 0.0)
    context = direct.Memory(tmp_path, source_server.target(databases=[busy]))

    def rewrite() -> None:
        source_server.execute("TRUNCATE replaced", "INSERT INTO replaced VALUES (1)", database=busy)
        context.during["busy.dump"] = rewrite

    context.during["busy.dump"] = rewrite  # the snapshot is taken by now
    (omission,) = backup(context).omissions
    assert omission.reason == "TableRewritten"
    assert omission.what == "rows of table public.replaced of busy, replaced again and again"
    assert context.copied("busy.dump", "altered") == 10
