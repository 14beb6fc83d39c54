"""Three targets of one run, on real servers, of which the third fails to stage: nothing is changed."""

import ast
import importlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.engines.conformance import Case
from tests.harness import Runner, failed
from tests.runner.jobs import flip_a_byte

from holdfast.domain.tasks import discard_task
from holdfast.engines.registry import ENGINES
from holdfast.protocol import BackupResult, ExitCode, RestoreResult, RestoreTask


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """The servers of three engines, filled; the places to restore to are empty."""
    with ExitStack() as stack:
        yield {
            engine: stack.enter_context(
                importlib.import_module(f"tests.engines.{engine}.case").open_case(
                    tmp_path_factory.mktemp(engine)
                )
            )
            for engine in ("redis", "chroma", "postgres")
        }


def test_nothing_is_changed_when_the_third_of_three_fails_to_stage(
    cases: dict[str, Case], tmp_path: Path
) -> None:
    before = {engine: case.names() for engine, case in cases.items()}
    runners = {engine: Runner(tmp_path / engine) for engine in cases}
    tasks: dict[str, RestoreTask] = {}
    for engine, case in cases.items():
        runner = runners[engine]
        code, stored = runner.run_backup(engine, case.spec(case.port), case.secrets, engine)
        assert isinstance(stored, BackupResult), stored
        task = runner.restore_task(engine, case.spec(case.port), case.override, engine)
        tasks[engine] = task.model_copy(update={"swaps": False})
    # A byte of the database that is lost in the store: found when the whole of it has been loaded.
    stored_files = [path for path in runners["postgres"].volume().rglob("*") if path.is_file()]
    flip_a_byte(max(stored_files, key=lambda path: path.stat().st_size))

    for engine in ("redis", "chroma"):
        code, staged = runners[engine].finish(tasks[engine], secrets=cases[engine].secrets)
        assert isinstance(staged, RestoreResult), staged
        assert cases[engine].names() != before[engine]
    outcome = runners["postgres"].finish(tasks["postgres"], secrets=cases["postgres"].secrets)
    assert failed(outcome, ExitCode.MISMATCH).failure.reason in ("ChecksumMismatch", "RestoreMismatch")

    for engine, task in tasks.items():
        made = task.model_dump_json(by_alias=True, exclude_none=True)
        code, result = runners[engine].finish(discard_task(made), secrets=cases[engine].secrets)
        assert code == ExitCode.DONE, result
    assert {engine: case.names() for engine, case in cases.items()} == before


def test_a_request_may_name_every_check_that_can_be_accepted() -> None:
    engines = Path(importlib.import_module("holdfast.engines").__file__ or "").parent
    for name, engine in ENGINES.items():
        said = {check for path in (engines / name).glob("*.py") for check in acceptable(path.read_text())}
        assert said <= engine.acceptable_risks, name


def acceptable(code: str) -> Iterator[str]:
    """The names of the checks that some code makes and that may be accepted."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Check":
            values = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            if values.get("may_be_accepted"):
                yield str(values["check"])
