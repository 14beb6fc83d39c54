"""What a restore does when the target is not free, when it is killed, and when the bytes are not right."""

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.postgres import jobs
from tests.engines.postgres.same import assert_same
from tests.engines.postgres.servers import PASSWORD, TestServer, secrets
from tests.harness import Runner, failed

from holdfast.api.base import CredentialsSecret
from holdfast.domain.tasks import swap_task
from holdfast.engines.postgres.connection import Server
from holdfast.engines.postgres.detail import Inventory
from holdfast.engines.postgres.inspect import compare
from holdfast.engines.postgres.staging import staged_name, user_object
from holdfast.protocol import RestoreResult

DATABASES = ["first", "second"]


OCCUPANTS = (
    "CREATE TABLE public.x ()",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA s",
    "CREATE TYPE e AS ENUM ()",
    "CREATE EXTENSION citext; CREATE TABLE public.y (c citext)",
    "SELECT lo_create(7)",
    "CREATE DOMAIN d AS int",
    "CREATE PUBLICATION p",
    "CREATE SEQUENCE public.q",
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """One for the module: a backup that all its tests restore."""
    return Runner(tmp_path_factory.mktemp("restores") / "root")


@pytest.fixture(scope="module")
def backup(source_server: TestServer, runner: Runner) -> Iterator[dict[str, object]]:
    """A backup of two databases; the target that it is of."""
    for name in DATABASES:
        source_server.execute(f"CREATE DATABASE {name}", f"COMMENT ON DATABASE {name} IS 'it is {name}'")
        source_server.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text)",
            "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 20000) g",
            "CREATE VIEW w AS SELECT count(*) FROM t",
            database=name,
        )
    target = source_server.target(databases=DATABASES)
    jobs.backed_up(runner, target)
    yield target
    source_server.drop(*DATABASES)


@pytest.fixture
def stored(backup: dict[str, object], target_server: TestServer) -> Iterator[dict[str, object]]:
    """The backup, and a server that is empty again afterwards."""
    yield backup
    target_server.drop(*DATABASES)
    assert target_server.databases() == ["postgres"]


@pytest.mark.parametrize("occupant", OCCUPANTS)
def test_anything_in_a_database_is_found(occupant: str, target_server: TestServer, tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.touch(0o600)
    passfile.write_text("*:*:*:*:" + PASSWORD.replace("\\", "\\\\").replace(":", "\\:"))
    secret = CredentialsSecret(name="pg")
    server = Server("127.0.0.1", target_server.port, "postgres", passfile, secret, None, None)
    target_server.execute("CREATE DATABASE occupied")
    try:
        assert user_object(server, "occupied") is None
        target_server.execute("CREATE EXTENSION hstore", "CREATE EXTENSION seg", database="occupied")
        assert user_object(server, "occupied") is None
        target_server.execute(occupant, database="occupied")
        assert user_object(server, "occupied") is not None
    finally:
        target_server.drop("occupied")


def test_a_database_with_something_in_it_is_refused(
    stored: dict[str, object], target_server: TestServer, runner: Runner
) -> None:
    target_server.execute("CREATE DATABASE second")
    target_server.execute(
        "CREATE TABLE kept AS SELECT 1 AS id, 'large'::text AS text",
        "CREATE INDEX a_first_one ON kept (id)",
        "CREATE VIEW a_view AS SELECT id FROM kept",
        database="second",
    )
    outcome = runner.run_restore("postgres", stored, target_server.address(), secrets())
    failure = failed(outcome, 2, "TargetNotEmpty")
    assert failure.refused
    assert "database second on" in failure.failure.message
    assert "is not empty (table public.kept)" in failure.failure.message
    assert target_server.databases() == ["postgres", "second"]
    assert target_server.value("SELECT id FROM kept", "second") == 1


def test_an_empty_database_is_replaced(
    stored: dict[str, object], source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    target_server.execute("CREATE DATABASE second TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    assert jobs.restored(runner, stored, target_server.address()).compared == 2
    for name in DATABASES:
        assert_same((source_server, name), (target_server, name))


def test_killed_and_repeated(
    stored: dict[str, object], source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    """SIGKILL at six moments of the restore, then once more to the end."""
    task = runner.restore_task("postgres", stored, target_server.address())
    began = time.monotonic()
    code, _ = runner.finish(task, secrets=secrets())
    assert code == 0
    whole = time.monotonic() - began
    target_server.drop(*DATABASES)
    moments = random.Random(20261123)
    for _ in range(6):
        running = runner.start(task, secrets=secrets())
        try:
            running.process.wait(moments.uniform(0.2, 1.0) * whole)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
        if running.termination.exists() and running.termination.read_bytes():
            assert isinstance(running.result()[1], RestoreResult), running.log()
            target_server.drop(*DATABASES)
    code, result = runner.finish(task, secrets=secrets())
    assert code == 0, result
    for name in DATABASES:
        assert_same((source_server, name), (target_server, name))


def test_killed_between_the_swaps(
    stored: dict[str, object], source_server: TestServer, target_server: TestServer, runner: Runner
) -> None:
    """An attempt swapped one database in and died: the next one takes it over as it is."""
    task = runner.restore_task("postgres", stored, target_server.address())
    code, _ = runner.finish(task, secrets=secrets())
    assert code == 0
    target_server.drop("second")
    target_server.execute(
        f"COMMENT ON DATABASE first IS 'holdfast restore {task.copy_uid}'",
        f"CREATE DATABASE {staged_name(task.copy_uid, 1)}",
    )
    oid = target_server.value("SELECT oid FROM pg_database WHERE datname = 'first'")
    code, result = runner.finish(task, secrets=secrets())
    assert code == 0, result
    assert target_server.value("SELECT oid FROM pg_database WHERE datname = 'first'") == oid
    for name in DATABASES:
        assert_same((source_server, name), (target_server, name))


def test_two_targets_of_a_request_on_one_server(
    source_server: TestServer, target_server: TestServer, stored: dict[str, object], tmp_path: Path
) -> None:
    """Each stages, then each is put in place."""
    runner = Runner(tmp_path / "root")
    swaps = []
    for name in DATABASES:
        spec = {**stored, "databases": [name]}
        code, result = runner.run_backup("postgres", spec, secrets(), name)
        assert code == 0, result
    for name in DATABASES:
        spec = {**stored, "databases": [name]}
        task = runner.restore_task("postgres", spec, target_server.address(), name)
        task = task.model_copy(update={"swaps": False})
        code, result = runner.finish(task, secrets=secrets())
        assert code == 0, result
        swaps.append(swap_task(task.model_dump_json(by_alias=True, exclude_none=True)))
    for swap in swaps:
        code, result = runner.finish(swap, secrets=secrets())
        assert code == 0, result
    for name in DATABASES:
        assert_same((source_server, name), (target_server, name))


def test_bytes_that_are_not_what_was_stored(
    stored: dict[str, object], target_server: TestServer, runner: Runner
) -> None:
    (dump,) = (path for path in runner.run_folder().rglob("second.dump.zst"))
    right = dump.read_bytes()
    half = len(right) // 2
    try:
        for wrong in (right[:half] + bytes([right[half] ^ 1]) + right[half + 1 :], right[:half]):
            dump.write_bytes(wrong)
            code, _ = runner.run_restore("postgres", stored, target_server.address(), secrets())
            assert code == 5
            assert target_server.databases() == ["postgres"]
    finally:
        dump.write_bytes(right)


def test_a_role_that_may_not(stored: dict[str, object], target_server: TestServer, runner: Runner) -> None:
    quoted = PASSWORD.replace("'", "''")
    target_server.execute("DROP ROLE IF EXISTS modest", f"CREATE ROLE modest LOGIN PASSWORD '{quoted}'")
    modest = secrets("modest")
    outcome = runner.run_restore("postgres", stored, target_server.address(), modest)
    message = failed(outcome, 2, "PreflightBlocked").failure.message
    assert "PermissionDenied: role modest may not make databases: it needs CREATEDB" in message
    assert "targets[].postgres.credentialsSecret" in message
    target_server.execute("ALTER ROLE modest CREATEDB")
    outcome = runner.run_restore("postgres", stored, target_server.address(), modest)
    failure = failed(outcome, 2, "PreflightBlocked").failure
    assert "cannot make database first for its owner postgres" in failure.message
    assert target_server.databases() == ["postgres"]
    target_server.execute("DROP ROLE modest")


def test_rename_that_cannot_be(stored: dict[str, object], target_server: TestServer, runner: Runner) -> None:
    for rename, reason in (({"other": "x"}, "DatabaseNotFound"), ({"first": "second"}, "RenameCollides")):
        override = {**target_server.address(), "rename": rename}
        failed(runner.run_restore("postgres", stored, override, secrets()), 2, reason)


def test_a_tablespace_that_is_missing(
    source_server: TestServer, target_server: TestServer, tmp_path: Path
) -> None:
    runner = Runner(tmp_path / "root")
    folder = source_server.folder / "space"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    subprocess.run(["chown", "postgres", folder], check=True)
    source_server.execute(f"CREATE TABLESPACE faster LOCATION '{folder}'")
    source_server.execute("CREATE DATABASE spaced TABLESPACE faster")
    source_server.execute("CREATE TABLE t TABLESPACE pg_default AS SELECT 1 AS id", database="spaced")
    spec = source_server.target(databases=["spaced"])
    jobs.backed_up(runner, spec)
    result = jobs.restored(runner, spec, target_server.address())
    assert "TablespacesMissing" in {note.reason for note in result.notes if note.warning}
    result = jobs.restored(runner, spec, {**source_server.address(), "rename": {"spaced": "again"}})
    assert "TablespacesMissing" not in jobs.reasons(result)
    assert_same((source_server, "spaced"), (source_server, "again"))
    source_server.drop("spaced", "again")
    target_server.drop("spaced")
    source_server.execute("DROP TABLESPACE faster")


def test_a_mismatch_is_named() -> None:
    backup = Inventory(tables={"a": 1, "b": 2, "h1": 3, "h2": 4}, hashed={"h1": "h", "h2": "h"},
                       materialized_views={"m": 5}, extensions={"x": "1", "y": "1"}, large_objects=2,
                       has_public_schema=True, tablespaces=())  # fmt: skip
    assert compare("db", backup, backup).mismatches == ()
    assert compare("db", backup, backup).compared == 3
    moved = backup.model_copy(update={"tables": {"a": 1, "b": 2, "h1": 4, "h2": 3}})
    assert compare("db", backup, moved).mismatches == ()
    wrong = backup.model_copy(update={"tables": {"a": 0, "c": 2, "h1": 3, "h2": 3}, "large_objects": 1,
                                      "extensions": {"x": "2"}, "materialized_views": {"m": 6}})  # fmt: skip
    found = compare("db", backup, wrong)
    assert found.mismatches == (
        "db: table a: the backup held 1 rows, restored are 0 rows",
        "db: table b: the backup held 2 rows, restored are no such table",
        "db: table c: the backup held no such table, restored are 2 rows",
        "db: table h: the backup held 7 rows, restored are 6 rows",
        "db: the backup held 2 large objects, restored are 1",
        "db: extension y is missing",
    )
    assert len(found.remarks) == 2
