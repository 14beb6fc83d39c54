"""What the server lacks is said before anything is loaded, and what it does to sessions is borne."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from tests.engines.postgres import jobs
from tests.engines.postgres.same import assert_same, rows
from tests.engines.postgres.servers import TestServer, secrets
from tests.harness import Runner, failed

from holdfast.protocol import RestoreResult, RestoreTask

COPYING = (
    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY public.big %' AND application_name = 'holdfast'"
)
LIMITS = ("idle_session_timeout", "idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout")


@pytest.fixture(scope="module")
def backup(
    source_server: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Runner, dict[str, object]]]:
    """A backup of a database whose event trigger writes at every statement."""
    source_server.execute("CREATE DATABASE watched")
    jobs.fill(source_server, "watched")
    source_server.execute(
        "CREATE EXTENSION citext",
        "CREATE TABLE ddl (tag text)",
        "CREATE MATERIALIZED VIEW viewed AS SELECT count(*) FROM big",
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.ddl VALUES (tg_tag); END $$",
        "CREATE EVENT TRIGGER a_first ON ddl_command_end EXECUTE FUNCTION note()",
        "CREATE EVENT TRIGGER b_second ON ddl_command_start EXECUTE FUNCTION note()",
        "COMMENT ON EVENT TRIGGER a_first IS 'it writes'",
        "ALTER DATABASE watched SET search_path = public",
        database="watched",
    )
    # As a newer major does it that has dropped the parameter: the source knows no more of it.
    source_server.execute(
        "UPDATE pg_db_role_setting SET setconfig = setconfig || '{vacuum_no_more=1}'"
        " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = 'watched')"
    )
    runner = Runner(tmp_path_factory.mktemp("target") / "root")
    target = source_server.target(databases=["watched"])
    jobs.backed_up(runner, target)
    source_server.execute(
        "UPDATE pg_db_role_setting SET setconfig = array_remove(setconfig, 'vacuum_no_more=1')"
        " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = 'watched')"
    )
    yield runner, target
    source_server.drop("watched")


@pytest.fixture
def stored(
    backup: tuple[Runner, dict[str, object]], target_server: TestServer
) -> Iterator[tuple[Runner, dict[str, object]]]:
    """The backup, and a server that is empty again afterwards."""
    yield backup
    target_server.drop("watched")
    assert target_server.databases() == ["postgres"]


def test_neither_time_limits_nor_triggers_nor_monitoring_hit(
    stored: tuple[Runner, dict[str, object]], source_server: TestServer, target_server: TestServer
) -> None:
    runner, target = stored
    target_server.execute(
        *(f"ALTER ROLE postgres SET {limit} = '50ms'" for limit in LIMITS),
        "ALTER ROLE postgres SET default_transaction_read_only = on",
    )
    try:
        with _monitoring(target_server):
            result = jobs.restored(runner, target, target_server.address())
    finally:
        options = "-c statement_timeout=0 -c default_transaction_read_only=off"
        with target_server.connect(options=options) as connection:
            connection.execute("ALTER ROLE postgres RESET ALL")
    assert [check.message for check in result.preflight if check.state == "Warned"] == [
        'database watched: setting vacuum_no_more: unrecognized configuration parameter "vacuum_no_more"'
    ]
    assert "SettingRefused" in jobs.reasons(result)
    assert_same((source_server, "watched"), (target_server, "watched"))


def test_a_server_that_goes_away_ends_the_reading(
    stored: tuple[Runner, dict[str, object]], target_server: TestServer
) -> None:
    runner, target = stored
    running = runner.start(
        runner.restore_task("postgres", target, target_server.address()), secrets=secrets()
    )
    ended = threading.Event()
    watcher = threading.Thread(target=_end_loading, args=(target_server, ended))
    watcher.start()
    outcome = running.result()
    ended.set()
    watcher.join()
    assert "COPY" not in failed(outcome, 3, "SourceLost").failure.message
    (dump,) = runner.run_folder().rglob("watched.dump.zst")
    assert running.progress()[-1]["storedBytes"] < dump.stat().st_size


def test_a_server_that_goes_away_as_databases_are_made_blocks_nothing(
    stored: tuple[Runner, dict[str, object]], target_server: TestServer
) -> None:
    runner, target = stored
    task = runner.restore_task("postgres", target, target_server.address())
    outcome = jobs.lost_while_making(runner, task, secrets(), target_server)
    assert "terminating connection" in failed(outcome, 3, "SourceLost").failure.message


def test_everything_that_the_server_lacks_is_said_at_once(
    stored: tuple[Runner, dict[str, object]], target_server: TestServer
) -> None:
    runner, target = stored
    with _changed(runner) as database:
        database["properties"] |= {"collate": "xx_XX.UTF-8", "ctype": "xx_XX.UTF-8", "owner": "nobody_there"}
        database["inventory"]["extensions"] |= {"not_there": "1.0", "plpgsql": "99.0"}
    blocked = failed(runner.run_restore("postgres", target, target_server.address(), secrets()), 2)
    assert {check.check for check in blocked.preflight if check.state == "Blocked"} == {
        "OwnerMissing", "ExtensionMissing", "ExtensionVersion",
    }  # fmt: skip
    assert all(check.remedy for check in blocked.preflight if check.state == "Blocked")
    with _changed(runner) as database:
        database["properties"]["owner"] = "postgres"
        database["properties"]["collation_version"] = "0.1"
        del database["inventory"]["extensions"]["not_there"]
    task = runner.restore_task("postgres", target, target_server.address())
    accepted = RestoreTask.model_validate(task.model_dump() | {"accepted_risks": ["ExtensionVersion"]})
    blocked = failed(runner.finish(accepted, secrets=secrets()), 2, "PreflightBlocked")
    assert {check.check for check in blocked.preflight if check.state == "Blocked"} == {"Locale"}
    accepted = accepted.model_copy(update={"accepted_risks": ("ExtensionVersion", "Locale")})
    code, result = runner.finish(accepted, secrets=secrets())
    assert isinstance(result, RestoreResult), result
    assert code == 0
    with _changed(runner) as database:
        database["properties"] |= {"collate": "C.UTF-8", "ctype": "C.UTF-8"}
        database["inventory"]["extensions"]["plpgsql"] = "1.0"


def test_extensions_of_an_empty_database_stay(
    stored: tuple[Runner, dict[str, object]], source_server: TestServer, target_server: TestServer
) -> None:
    runner, target = stored
    target_server.execute("CREATE DATABASE watched")
    target_server.execute("CREATE EXTENSION pg_stat_statements", database="watched")
    jobs.restored(runner, target, target_server.address())
    assert target_server.value("SELECT count(*) FROM pg_extension", "watched") == 3
    assert rows(target_server, "watched") == rows(source_server, "watched")


@contextmanager
def _monitoring(server: TestServer) -> Iterator[None]:
    """Somebody who is always connected to every database, as a superuser."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            with suppress(psycopg.Error):
                for name in server.databases():
                    with server.connect(name, options="-c idle_session_timeout=0"):
                        ended.wait(0.02)

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        ended.set()
        for watcher in watchers:
            watcher.join()


def _end_loading(server: TestServer, ended: threading.Event) -> None:
    while not ended.is_set():
        for (pid,) in server.execute(COPYING):
            server.execute(f"SELECT pg_terminate_backend({pid})")
            return


@contextmanager
def _changed(runner: Runner) -> Iterator[dict[str, Any]]:
    """What the manifest says of its database; what is changed there is written back."""
    (path,) = runner.run_folder().rglob("manifest.json")
    manifest = json.loads(path.read_text())
    yield manifest["detail"]["databases"][0]
    path.write_text(json.dumps(manifest))
