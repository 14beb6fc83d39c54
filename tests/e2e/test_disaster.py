"""A namespace is lost with all that Holdfast had in it: the policy applied again brings its runs back."""

from functools import partial
from typing import Any

import pytest
from tests.e2e.conftest import Stage, wait_until

pytestmark = pytest.mark.e2e


def suspended(stage: Stage) -> dict[str, Any]:
    """The policy without its slots, because the runs that come back are counted."""
    policy = stage.policy()
    policy["spec"]["suspend"] = True
    return policy


@pytest.fixture(scope="module")
def stage(stage: Stage) -> Stage:
    """The application with that policy."""
    stage.apply(suspended(stage))
    return stage


def is_listed(stage: Stage, run: str) -> bool:
    """Whether `kubectl get backupruns` shows a run."""
    return run in stage.kubectl("get", "backupruns", "--output=name")


def reachable(stage: Stage, policy: str = "chatbot") -> dict[str, Any]:
    """A policy's condition DestinationsReachable."""
    conditions = stage.status("backuppolicy", policy).get("conditions", [])
    return next((each for each in conditions if each["type"] == "DestinationsReachable"), {})


def test_runs_come_back_and_the_newest_restores(stage: Stage) -> None:
    wait_until(lambda: reachable(stage).get("status") == "True", "the bucket to be reachable", 60)
    before = stage.application.fingerprint()
    runs = [stage.backup() for _ in range(2)]
    ended = {name: stage.ended("backuprun", name) for name in runs}
    assert {status["phase"] for status in ended.values()} == {"Succeeded"}, ended

    stage.kubectl("delete", "namespace", stage.kubectl.namespace, "--wait")
    stage.deploy()
    stage.apply(suspended(stage))

    for name, status in ended.items():
        there = f"backuprun.holdfast.dev/{name}"
        wait_until(partial(is_listed, stage, there), there, 60)
        again = stage.ended("backuprun", name)
        for field in ("phase", "startTime", "recoveryPoint", "sizeBytes", "copies", "skewSeconds"):
            assert again[field] == status[field], (field, again)
        for target, old in zip(again["targets"], status["targets"], strict=True):
            for field in ("name", "contents", "source", "artifacts", "manifestSha256", "snapshotTime"):
                assert target[field] == old[field], (field, target)
    assert stage.status("backuppolicy", "chatbot")["catalogue"]["runs"] == 2
    assert any(event.startswith("RunsImported: 2 runs") for event in stage.events("chatbot"))

    status = stage.restore()
    assert status["phase"] == "Succeeded", status
    assert status["source"] == max(runs, key=lambda name: ended[name]["recoveryPoint"])
    assert before.differences(stage.application.fingerprint()) == []


def test_a_backup_goes_on_beside_what_came_back(stage: Stage) -> None:
    name = stage.backup()
    status = stage.ended("backuprun", name)
    assert status["phase"] == "Succeeded", status


def test_a_bucket_that_is_not_there_is_named(stage: Stage) -> None:
    policy = stage.policy()
    policy["metadata"]["name"] = "no-bucket"
    policy["spec"]["destinations"][0]["s3"]["bucket"] = "none-such"
    stage.apply(policy)
    wait_until(lambda: reachable(stage, "no-bucket").get("status") == "False", "the bucket to be missed", 60)
    condition = reachable(stage, "no-bucket")
    assert condition["reason"] == "BucketNotFound"
    assert "none-such" in condition["message"]
