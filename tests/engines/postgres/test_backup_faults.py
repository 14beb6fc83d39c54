"""What a backup does when the source refuses or breaks: it says why, and nothing is stored as a backup."""

import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.engines.postgres import jobs
from tests.engines.postgres.servers import PASSWORD, TestServer, secrets
from tests.harness import Runner, failed
from tests.machine import free_port
from tests.processes import children
from tests.waiting import wait_until

from holdfast.engines.postgres import checks
from holdfast.engines.postgres.source import Identity
from holdfast.engines.transfer import TaskError
from holdfast.protocol import BackupResult


@pytest.fixture
def database(source_server: TestServer) -> Iterator[str]:
    """A database of 60 MB."""
    source_server.execute("CREATE DATABASE faulty")
    jobs.fill(source_server, "faulty")
    yield "faulty"
    source_server.drop("faulty")


def test_pg_dump_is_killed(database: str, source_server: TestServer, runner: Runner) -> None:
    spec = source_server.target(databases=[database])
    with jobs.held_while_dumping(runner, spec, source_server) as running:
        dumps = children(running.process.pid)
        for child in dumps:
            for name in ("cmdline", "environ"):
                assert PASSWORD not in Path(f"/proc/{child}/{name}").read_text()
            os.kill(child, signal.SIGKILL)
    assert len(dumps) == 1
    failed(running.result(), 3, "ProducerFailed")
    assert jobs.stored_files(runner) == []
    assert PASSWORD not in running.log() + running.stdout.read_text() + running.termination.read_text()


def test_the_server_crashes(database: str, source_server: TestServer, runner: Runner) -> None:
    spec = source_server.target(databases=[database])
    try:
        with jobs.held_while_dumping(runner, spec, source_server) as running:
            source_server.stop("immediate")
    finally:
        source_server.stop()
        source_server.start()
    failed(running.result(), 3, "SourceLost")
    assert jobs.stored_files(runner) == []
    jobs.backed_up(runner, spec)


def test_the_counting_connection_is_lost(database: str, source_server: TestServer, runner: Runner) -> None:
    """A dump whose rows could not be counted is no backup."""
    counter = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'holdfast' AND query NOT LIKE 'COPY %'"
    )
    spec = source_server.target(databases=[database])
    with jobs.held_while_dumping(runner, spec, source_server) as running:
        source_server.execute(counter)
    outcome = running.result()
    # The count may have been done before: then its loss does not matter.
    if outcome[0] != 0:
        failed(outcome, 3, "SourceLost")
        assert jobs.stored_files(runner) == []


def test_refusals(source_server: TestServer, runner: Runner) -> None:
    spec = source_server.target(databases=["postgres"])
    outcome = runner.run_backup("postgres", spec, secrets(password="wrong one"))
    failure = failed(outcome, 2, "AuthenticationFailed")
    assert "wrong one" not in failure.model_dump_json()
    message = failure.failure.message
    assert "check keys username and password of Secret pg (credentialsSecret)" in message
    assert "pgpass" not in message
    assert "\n" not in message
    empty = runner.run_backup("postgres", spec, secrets(password=""))
    message = failed(empty, 2, "CredentialsMissing").failure.message
    assert message == "key password of Secret pg (credentialsSecret) must be one line of text"
    failed(runner.run_backup("postgres", spec, secrets("nobody")), 2, "AuthenticationFailed")
    missing = source_server.target(databases=["postgres", "not there"])
    failure = failed(runner.run_backup("postgres", missing, secrets()), 2, "DatabaseNotFound")
    assert "not there" in failure.failure.message
    closed = spec | {"host": {"name": "127.0.0.1", "port": free_port()}}
    failed(runner.run_backup("postgres", closed, secrets()), 3, "SourceUnreachable")
    absent = source_server.target(databases=["postgres"]) | {"service": {"name": "pg-x", "port": 5432}}
    absent.pop("host")
    message = failed(runner.run_backup("postgres", absent, secrets()), 3, "SourceUnreachable").failure.message
    assert "pg-x.default.svc" in message
    assert "Errno" not in message
    plain = spec | {"tls": {"mode": "require"}}
    failed(runner.run_backup("postgres", plain, secrets()), 2, "TlsFailed")


def test_a_role_that_may_read_everything(
    source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    role, spec = secrets("plain_reader"), source_server.target(databases=["rights"])
    source_server.execute("DROP ROLE IF EXISTS plain_reader", "CREATE DATABASE rights")
    source_server.execute(
        f"CREATE ROLE plain_reader LOGIN PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'"
    )
    source_server.execute(
        "CREATE SCHEMA closed", 'CREATE TABLE closed."A table" (id int)', "CREATE TABLE public.t (id int)",
        "INSERT INTO t VALUES (1), (2)", database="rights",
    )  # fmt: skip
    failure = failed(runner.run_backup("postgres", spec, role), 2, "PermissionDenied").failure
    assert 'closed."A table", public.t' in failure.message
    assert "GRANT pg_read_all_data TO plain_reader" in failure.message

    source_server.execute("GRANT pg_read_all_data TO plain_reader")
    assert jobs.backed_up(runner, spec, secrets=role).contents["rows"] == 2

    runner.run += "2"
    source_server.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY", database="rights")
    failure = failed(runner.run_backup("postgres", spec, role), 2, "PermissionDenied").failure
    assert "ALTER ROLE plain_reader BYPASSRLS" in failure.message
    source_server.execute("ALTER ROLE plain_reader BYPASSRLS", "SELECT 1")
    source_server.execute("SELECT lo_from_bytea(4711, 'x')", database="rights")
    failure = failed(runner.run_backup("postgres", spec, role), 2, "PermissionDenied").failure
    assert "4711" in failure.message
    source_server.execute("GRANT SELECT ON LARGE OBJECT 4711 TO plain_reader", database="rights")
    assert jobs.backed_up(runner, spec, secrets=role).contents["largeObjects"] == 1
    jobs.restored(runner, spec, target_server.address())
    source_server.drop("rights")
    target_server.drop("rights")


def test_writers_during_the_backup(
    source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    """Money moves between two tables while they are dumped: what comes back has neither lost nor made any."""
    source_server.execute("CREATE DATABASE bank")
    jobs.fill(source_server, "bank")
    for table in ("account_a", "account_z"):
        source_server.execute(f"CREATE TABLE {table} AS SELECT 0 AS step, 1000 AS money", database="bank")
    ended, steps = threading.Event(), 0

    def move() -> None:
        nonlocal steps
        with source_server.connect("bank") as connection:
            while not ended.is_set():
                steps += 1
                with connection.transaction():
                    connection.execute("INSERT INTO account_a VALUES (%s, -1)", [steps])
                    connection.execute("INSERT INTO account_z VALUES (%s, 1)", [steps])

    writer = threading.Thread(target=move)
    writer.start()
    try:
        spec = source_server.target(databases=["bank"])
        with jobs.held_while_dumping(runner, spec, source_server) as running:
            at_hold = steps
        assert running.result()[0] == 0
        assert steps > at_hold
    finally:
        ended.set()
        writer.join()
    result = running.result()[1]
    assert isinstance(result, BackupResult)
    assert jobs.restored(runner, spec, target_server.address()).mismatched == 0
    rows = target_server.execute(
        "SELECT (SELECT sum(money) FROM account_a), (SELECT sum(money) FROM account_z),"
        " (SELECT max(step) FROM account_a), (SELECT max(step) FROM account_z)", database="bank",
    )[0]  # fmt: skip
    assert rows[0] + rows[1] == 2000
    assert 0 < rows[2] == rows[3] < steps
    assert result.contents["rows"] == jobs.ROWS + 2 + 2 * rows[2]
    source_server.drop("bank")
    target_server.drop("bank")


def test_a_long_transaction_is_told(source_server: TestServer) -> None:
    with source_server.connect() as idle, source_server.connect() as connection:
        idle.execute("BEGIN")
        idle.execute("SELECT 'a secret'")
        (note,) = [
            note
            for note in checks.long_transactions(connection, timedelta(0))
            if f"pid {idle.info.backend_pid} of user postgres" in note.message
        ]
        assert note.warning
        assert "secret" not in note.message
        assert list(checks.long_transactions(connection)) == []


def test_a_newer_server_is_refused() -> None:
    identity = Identity("Primary", "18.1", 18, None)
    checks.server_not_newer(identity, 18)
    with pytest.raises(TaskError, match="newer than majorVersion: 17; set majorVersion: 18"):
        checks.server_not_newer(identity, 17)


def test_an_older_server_is_told() -> None:
    identity = Identity("Primary", "15.18", 15, None)
    assert list(checks.server_is_older(identity, 15)) == []
    (note,) = checks.server_is_older(identity, 17)
    assert note.warning
    assert "set majorVersion: 15" in note.message


def test_a_table_that_stays_locked(database: str, source_server: TestServer, runner: Runner) -> None:
    """Someone holds a table exclusively: the backup waits, and goes on when the table is free."""
    with source_server.connect(database) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
        running = runner.start(
            runner.backup_task("postgres", source_server.target(databases=[database])), secrets=secrets()
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: source_server.value(waiting) == 1, "the backup waits")
        other.execute("TRUNCATE big")
        other.execute("COMMIT")
    code, result = running.result()
    assert code == 0
    assert isinstance(result, BackupResult)
    assert result.contents["rows"] == 0
