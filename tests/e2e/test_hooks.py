"""Hooks in real pods: the application is paused while its stores are backed up, and goes on afterwards."""

from typing import Any

import pytest
from tests.e2e.conftest import Stage

pytestmark = pytest.mark.e2e

MARK = "holdfast-paused"


def _hook(name: str, *command: str, **fields: Any) -> dict[str, Any]:
    """In the pod of the sample application's Redis."""
    return {"name": name, "podSelector": {"matchLabels": {"app": "redis"}}, "command": list(command)} | fields


def _backup(stage: Stage, name: str, hooks: dict[str, Any]) -> dict[str, Any]:
    policy = stage.policy()
    policy["metadata"]["name"] = name
    del policy["spec"]["schedule"]
    policy["spec"]["hooks"] = hooks
    stage.apply(policy)
    return stage.ended("backuprun", stage.backup(name))


def test_the_application_is_paused_and_goes_on(stage: Stage) -> None:
    paused = f"test ! -e /tmp/{MARK} && touch /tmp/{MARK}"
    resumed = f"test -e /tmp/{MARK} && rm /tmp/{MARK}"
    status = _backup(stage, "paused", {
        "before": [_hook("pause", "sh", "-c", paused)],
        "after": [_hook("go-on", "sh", "-c", resumed)],
    })  # fmt: skip
    assert status["phase"] == "Succeeded", status
    before, after = status["hooks"]
    assert (before["pod"], before["exitCode"]) == (after["pod"], after["exitCode"]) == ("redis-0", 0)
    starts = [target["startTime"] for target in status["targets"]]
    ends = [target["completionTime"] for target in status["targets"]]
    assert before["completionTime"] <= min(starts)
    assert max(ends) <= after["startTime"]


def test_what_a_hook_prints_is_told_when_it_fails(stage: Stage) -> None:
    status = _backup(stage, "refused", {
        "before": [_hook("pause", "sh", "-c", "echo no room left >&2; exit 7")],
        "after": [_hook("go-on", "sh", "-c", "exit 0")],
    })  # fmt: skip
    assert (status["phase"], status["reason"]) == ("Failed", "HookFailed"), status
    assert "exit code 7: no room left" in status["message"]
    assert [each["phase"] for each in status["hooks"]] == ["Failed", "Succeeded"]


def test_a_program_that_is_not_there_and_one_that_hangs(stage: Stage) -> None:
    status = _backup(stage, "absent", {"before": [_hook("pause", "/no/such/program")]})
    assert status["reason"] == "HookFailed", status
    assert "no such file" in status["message"].lower(), status
    status = _backup(stage, "slow", {"before": [_hook("pause", "sleep", "60", timeout="2s")]})
    assert "not done within 2s" in status["message"], status
