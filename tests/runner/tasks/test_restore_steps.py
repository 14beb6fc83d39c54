"""What a Restore Job makes of an engine's answers: checks, objects that failed, and when it swaps."""

from pathlib import Path
from typing import Any

import pytest
from tests.harness import failed
from tests.runner.engine import configured
from tests.runner.jobs import BIG, MODULE, SPEC, Jobs, stored

from holdfast.domain.tasks import discard_task, swap_task
from holdfast.protocol import ExitCode, RestoreResult, Result

ROOM = {"check": "Room", "state": "Blocked", "message": "2 GB free, 3 GB needed", "remedy": "add a disk"}
RISK = {"check": "Locale", "state": "Blocked", "message": "no vi_VN", "mayBeAccepted": True}


@pytest.fixture
def backed_up(jobs: Jobs) -> Jobs:
    """Jobs with a run of one small artifact."""
    stored(jobs.back_up({"name": "data", "bytes": 100}))
    return jobs


def restore(jobs: Jobs, engine: dict[str, Any], **task: Any) -> tuple[int, Result]:
    wanted = jobs.restore_task("redis", SPEC).model_copy(update=task)
    return jobs.finish(wanted, module=MODULE, environment=configured(**engine))


def test_a_blocked_check_ends_the_job_with_every_line(backed_up: Jobs) -> None:
    outcome = restore(backed_up, {"checks": [ROOM, RISK]}, accepted_risks=("Locale", "Room"))
    result = failed(outcome, ExitCode.TASK_WRONG, "PreflightBlocked")
    assert result.refused
    assert result.failure.message == "Room: 2 GB free, 3 GB needed: add a disk"
    # Room is no risk that anybody may accept.
    assert [(check.check, check.state) for check in result.preflight] == [
        ("Room", "Blocked"),
        ("Locale", "Warned"),
    ]


def test_a_risk_that_is_accepted_warns(backed_up: Jobs) -> None:
    code, result = restore(backed_up, {"checks": [RISK]}, accepted_risks=("Locale",))
    assert isinstance(result, RestoreResult), result
    assert (code, result.preflight[0].state) == (0, "Warned")


def test_a_copy_that_lacks_objects_is_put_in_place_only_where_that_is_accepted(
    backed_up: Jobs, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    lacking: dict[str, Any] = {
        "failed_objects": [f"index i{number}: {'no such function ' * 9}" for number in range(60)]
    }
    lacking["diary"] = str(diary)
    result = failed(restore(backed_up, lacking), ExitCode.MISMATCH, "ObjectsFailed")
    assert not result.refused
    assert result.staged == ("copy 1",)
    assert len(result.omissions) + result.omissions_omitted == 60
    assert "and 59 more; all else is restored and kept as copy 1" in result.failure.message
    assert not diary.exists()
    code, accepted = restore(backed_up, lacking, on_object_error="Continue")
    assert isinstance(accepted, RestoreResult), accepted
    assert (code, accepted.in_place, diary.read_text()) == (0, True, "swapped\n")
    assert len(accepted.omissions) + accepted.omissions_omitted == 60


def test_the_job_of_a_set_leaves_the_swap_to_another(backed_up: Jobs, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    engine = {"diary": str(diary)}
    code, result = restore(backed_up, engine, swaps=False)
    assert isinstance(result, RestoreResult), result
    assert (code, result.in_place, result.staged) == (0, False, ("copy 1",))
    made = backed_up.restore_task("redis", SPEC).model_dump_json(by_alias=True, exclude_none=True)
    for task in (swap_task(made), discard_task(made), discard_task(made, {"target"})):
        code, result = backed_up.finish(task, module=MODULE, environment=configured(**engine))
        assert code == 0, result
    assert diary.read_text() == "swapped\ndiscarded\ntaken back\n"


def test_nothing_more_is_fetched_once_the_server_has_refused(jobs: Jobs) -> None:
    stored(jobs.back_up({"name": "data", "bytes": BIG}))
    running = jobs.start(jobs.restore_task("redis", SPEC), module=MODULE, environment=configured(refuse=True))
    failed(running.result(), ExitCode.SOURCE_FAILED, "TestBroke")
    assert running.progress()[-1]["storedBytes"] < BIG / 4
