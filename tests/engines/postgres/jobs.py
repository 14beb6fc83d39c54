"""Runs Jobs on the test servers, and holds one still in the middle of a dump."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.engines.postgres.servers import TestServer, secrets
from tests.harness import Runner, Running
from tests.processes import stop
from tests.waiting import wait_until

from holdfast.protocol import BackupResult, RestoreResult, RestoreTask

ROWS = 60_000
"""Of the table that `fill` makes."""
_COPYING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %' AND application_name = 'holdfast'"

_END_MAKING = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE query LIKE 'CREATE DATABASE %' AND wait_event_type = 'Lock'"
)


def backed_up(runner: Runner, target: Mapping[str, Any], **options: Any) -> BackupResult:
    """The Result of a backup, which must succeed."""
    code, result = runner.run_backup("postgres", target, **{"secrets": secrets(), **options})
    assert isinstance(result, BackupResult), result
    assert code == 0
    return result


def restored(runner: Runner, target: Mapping[str, Any], override: Mapping[str, Any]) -> RestoreResult:
    """The Result of a restore, which must succeed."""
    code, result = runner.run_restore("postgres", target, override, secrets())
    assert isinstance(result, RestoreResult), result
    assert code == 0
    return result


def reasons(result: Any) -> set[str]:
    """The reasons of a Result's notes."""
    return {note.reason for note in result.notes}


def stored_files(runner: Runner) -> list[str]:
    """Everything that a run left in the volume, but the roles."""
    return [
        str(path.relative_to(runner.run_folder()))
        for path in runner.run_folder().rglob("*")
        if path.is_file() and not path.name.startswith("globals.sql")
    ]


@contextmanager
def held_while_dumping(runner: Runner, target: Mapping[str, Any], reads: TestServer) -> Iterator[Running]:
    """A backup that is stopped while `reads` sends it rows; it goes on when the block ends."""
    running = runner.start(runner.backup_task("postgres", target), secrets=secrets())
    try:
        wait_until(lambda: running.process.poll() is not None or reads.value(_COPYING), "the dump runs")
        assert running.process.poll() is None, running.log()
        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            yield running
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        running.process.wait(120)
    finally:
        stop(running.process)


def lost_while_making(
    runner: Runner, task: RestoreTask, login: dict[str, dict[str, str]], server: TestServer
) -> tuple[int, object]:
    """The outcome of a restore whose session the server ends as it makes the first database."""
    with server.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("COMMENT ON DATABASE template0 IS 'locked: nobody can copy it now'")
        running = runner.start(task, secrets=login)
        wait_until(lambda: server.execute(_END_MAKING), "a database is being made")
    return running.result()


def fill(server: TestServer, database: str) -> None:
    """Make a table of 60 MB, `big`, which takes pg_dump a while."""
    server.execute(
        "CREATE TABLE big AS SELECT g AS id, repeat(md5(g::text), 30) AS text"
        " FROM generate_series(1, 60000) g",
        database=database,
    )
