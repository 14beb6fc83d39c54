"""What every engine promises, against its real server; one that is registered and built must have a case."""

import importlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.engines.conformance import Case, Tap, tapped, wait_until_held
from tests.harness import Runner, Running, failed
from tests.machine import free_port
from tests.processes import family, stop

from holdfast.domain.tasks import discard_task, swap_task
from holdfast.engines.registry import ENGINES
from holdfast.protocol import BackupResult, ExitCode, RestoreResult, Task


def is_built(engine: str) -> bool:
    """Whether the engine does anything."""
    return ENGINES[engine].is_built


@pytest.fixture(scope="module", params=ENGINES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """The servers of the engine's case; a failure when it has none."""
    if not is_built(request.param):
        pytest.skip(f"engine {request.param} is not built yet")
    module = importlib.import_module(f"tests.engines.{request.param}.case")
    with module.open_case(tmp_path_factory.mktemp(request.param)) as servers:
        yield servers


@pytest.fixture
def case(opened: Case) -> Iterator[Case]:
    """The engine's case, whose place to restore to is empty again afterwards."""
    yield opened
    opened.clear()


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The engine's name."""
    name: str = request.node.callspec.params["opened"]
    return name


def backed_up(case: Case, engine: str, runner: Runner) -> BackupResult:
    """The Result of a backup of the source, which must succeed."""
    code, result = runner.run_backup(engine, case.spec(case.port), case.secrets)
    assert isinstance(result, BackupResult), result
    assert code == ExitCode.DONE
    return result


def restored(case: Case, engine: str, runner: Runner) -> RestoreResult:
    """The Result of a restore, which must succeed."""
    code, result = runner.run_restore(engine, case.spec(case.port), case.override, case.secrets)
    assert isinstance(result, RestoreResult), result
    assert code == ExitCode.DONE
    return result


@contextmanager
def held(case: Case, engine: str, runner: Runner) -> Iterator[tuple[Running, Tap]]:
    """A backup that is in the middle of reading the source, and goes on when the tap is released."""
    with tapped(case.port) as tap:
        running = runner.start(runner.backup_task(engine, case.spec(tap.port)), secrets=case.secrets)
        try:
            wait_until_held(tap)
            assert running.process.poll() is None, running.log()
            yield running, tap
        finally:
            stop(running.process)


def test_what_is_restored_equals_what_was_backed_up(case: Case, engine: str, runner: Runner) -> None:
    backup = backed_up(case, engine, runner)
    before = case.source()
    result = restored(case, engine, runner)
    assert case.target() == before == case.source()
    assert result.mismatched == 0
    assert result.compared > 0
    assert result.contents == backup.contents


def test_contents_are_counted(case: Case, engine: str, runner: Runner) -> None:
    assert backed_up(case, engine, runner).contents == case.contents()


def test_contents_are_those_of_the_snapshot(case: Case, engine: str, runner: Runner) -> None:
    """What is written while the backup reads is counted if it is in the backup, and only then."""
    with held(case, engine, runner) as (running, tap):
        case.write_more()
        tap.release()
        code, backup = running.result()
    assert code == ExitCode.DONE, backup
    assert isinstance(backup, BackupResult)
    result = restored(case, engine, runner)
    assert result.mismatched == 0
    assert result.contents == backup.contents


def test_what_is_staged_is_put_in_place_or_taken_back(case: Case, engine: str, runner: Runner) -> None:
    """Each step can be repeated, as after a kill between it and its Result."""
    backed_up(case, engine, runner)
    empty = case.names()
    _, discard = taking(case, engine, runner, swapped=False)
    for task in (discard, discard):
        assert done(runner, case, task) == "Discard"
        assert case.names() == empty
    swap, undo = taking(case, engine, runner, swapped=True)
    for task in (swap, swap):
        assert done(runner, case, task) == "Swap"
        assert case.target() == case.source()
    for task in (undo, undo):
        assert done(runner, case, task) == "Discard"
        assert case.names() == empty


def test_a_staged_copy_that_is_gone_is_not_said_to_be_in_place(
    case: Case, engine: str, runner: Runner
) -> None:
    backed_up(case, engine, runner)
    swap, _ = taking(case, engine, runner, swapped=False)
    case.clear()
    assert failed(runner.finish(swap, secrets=case.secrets), ExitCode.TASK_WRONG, "StagedCopyMissing")


def taking(case: Case, engine: str, runner: Runner, *, swapped: bool) -> tuple[Task, Task]:
    """Stages a copy: the Tasks that put it in place and that drop it."""
    task = runner.restore_task(engine, case.spec(case.port), case.override)
    task = task.model_copy(update={"swaps": False})
    before = case.names()
    code, result = runner.finish(task, secrets=case.secrets)
    assert isinstance(result, RestoreResult), result
    assert (code, result.in_place) == (ExitCode.DONE, False)
    assert case.names() != before
    made = task.model_dump_json(by_alias=True, exclude_none=True)
    return swap_task(made), discard_task(made, {"target"} if swapped else ())


def done(runner: Runner, case: Case, task: Task) -> str:
    """The kind of a Task that has been done."""
    code, result = runner.finish(task, secrets=case.secrets)
    assert code == ExitCode.DONE, result
    return result.kind


def test_a_restore_over_something_is_refused_and_touches_nothing(
    case: Case, engine: str, runner: Runner
) -> None:
    backed_up(case, engine, runner)
    case.occupy()
    before = case.target()
    outcome = runner.run_restore(engine, case.spec(case.port), case.override, case.secrets)
    assert failed(outcome, ExitCode.TASK_WRONG).refused
    assert case.target() == before


def test_a_second_restore_over_the_first_is_refused(case: Case, engine: str, runner: Runner) -> None:
    backed_up(case, engine, runner)
    restored(case, engine, runner)
    before = case.target()
    outcome = runner.run_restore(engine, case.spec(case.port), case.override, case.secrets)
    assert failed(outcome, ExitCode.TASK_WRONG).refused
    assert case.target() == before


def test_a_killed_backup_leaves_no_manifest(case: Case, engine: str, runner: Runner) -> None:
    with held(case, engine, runner) as (running, _):
        running.process.kill()
        assert running.process.wait() == -signal.SIGKILL
    assert list(runner.volume().rglob("manifest.json")) == []


def test_a_source_that_is_away_is_named(case: Case, engine: str, runner: Runner) -> None:
    port = free_port()
    outcome = runner.run_backup(engine, case.spec(port), case.secrets)
    result = failed(outcome, ExitCode.SOURCE_FAILED)
    assert result.failure.reason == "SourceUnreachable"
    assert "127.0.0.1" in result.failure.message
    assert str(port) in result.failure.message


def test_a_refused_login_names_field_and_server(case: Case, engine: str, runner: Runner) -> None:
    with case.refusing() as (spec, secrets):
        outcome = runner.run_backup(engine, spec, secrets)
    result = failed(outcome, ExitCode.TASK_WRONG)
    assert result.failure.reason == "AuthenticationFailed"
    assert "credentialsSecret" in result.failure.message
    assert "127.0.0.1" in result.failure.message
    assert str(spec["host"]["port"]) in result.failure.message
    for name, value in secrets["credentials"].items():
        assert name == "username" or value.strip() not in result.failure.model_dump_json()
    assert list(runner.volume().rglob("manifest.json")) == []


def test_secrets_are_in_no_argument_and_no_log(case: Case, engine: str, runner: Runner) -> None:
    with held(case, engine, runner) as (running, tap):
        for pid in family(running.process.pid):
            for name in ("cmdline", "environ"):
                assert case.secret.encode() not in Path(f"/proc/{pid}", name).read_bytes()
        tap.release()
        assert running.result()[0] == ExitCode.DONE
    for written in (running.stdout, running.stderr, running.termination):
        assert case.secret not in written.read_text()
    for stored in runner.volume().rglob("*.json"):
        assert case.secret not in stored.read_text()


def test_an_engine_that_is_not_built_is_only_described() -> None:
    described = {engine for engine in ENGINES if not is_built(engine)}
    engines = Path(importlib.import_module("holdfast.engines").__file__ or "").parent
    assert {path.parent.name for path in engines.glob("*/backup.py")} == set(ENGINES) - described
    assert {path.parent.name for path in engines.glob("*/image")} == set(ENGINES) - described
