"""A namespace is lost with all that Holdfast had in it: the policy applied again brings its runs back."""

from collections.abc import Iterator
from typing import Any

import pytest
from hack.demo.kubectl import Kubectl
from tests.e2e.conftest import SERVERS, Stage, wait_until

pytestmark = pytest.mark.e2e

STORE = "e2e-disaster-store"


class Elsewhere(Stage):
    """The application with its bucket in another namespace, which outlives it."""

    def policy(self) -> dict[str, Any]:
        policy = super().policy()
        policy["spec"]["destinations"][0]["s3"]["endpoint"] = f"http://s3.{STORE}.svc:7070"
        policy["spec"]["suspend"] = True
        return policy

    def deploy(self) -> None:
        for name in ("namespace", "secrets", "postgres", "chroma", "redis"):
            self.kubectl("apply", "--filename=-", stdin=self.manifest(f"{name}.yaml"))
        for name in SERVERS:
            if name != "s3":
                self.kubectl("rollout", "status", f"statefulset/{name}", "--timeout=180s")

    def lose(self) -> None:
        """Delete everything."""
        self.kubectl("delete", "namespace", self.kubectl.namespace, "--ignore-not-found", "--wait")


@pytest.fixture(scope="module")
def elsewhere(holdfast: Kubectl) -> Iterator[Elsewhere]:
    """The application, loaded, its bucket, and its policy."""
    store = Stage(STORE, holdfast.kubeconfig, 17)
    stage = Elsewhere("e2e-disaster", holdfast.kubeconfig, 17)
    for name in (STORE, stage.kubectl.namespace):
        store.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait")
    for name in ("namespace", "secrets", "s3"):
        store.kubectl("apply", "--filename=-", stdin=store.manifest(f"{name}.yaml"))
    store.kubectl("rollout", "status", "statefulset/s3", "--timeout=180s")
    stage.deploy()
    stage.application.load()
    stage.apply(stage.policy())
    yield stage
    for name in (STORE, stage.kubectl.namespace):
        store.kubectl("delete", "namespace", name, "--wait=false")


def reachable(stage: Stage, policy: str = "chatbot") -> dict[str, Any]:
    """A policy's condition DestinationsReachable."""
    conditions = stage.status("backuppolicy", policy).get("conditions", [])
    return next((each for each in conditions if each["type"] == "DestinationsReachable"), {})


def test_runs_come_back_and_the_newest_restores(elsewhere: Elsewhere) -> None:
    stage = elsewhere
    wait_until(lambda: reachable(stage).get("status") == "True", "the bucket to be reachable", 60)
    before = stage.application.fingerprint()
    runs = [stage.backup() for _ in range(2)]
    ended = {name: stage.ended("backuprun", name) for name in runs}
    assert {status["phase"] for status in ended.values()} == {"Succeeded"}, ended

    stage.lose()
    stage.deploy()
    stage.apply(stage.policy())

    for name, status in ended.items():
        there = f"backuprun.holdfast.dev/{name}"
        wait_until(
            lambda there=there: there in stage.kubectl("get", "backupruns", "--output=name"), there, 60
        )
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


def test_a_backup_goes_on_beside_what_came_back(elsewhere: Elsewhere) -> None:
    name = elsewhere.backup()
    status = elsewhere.ended("backuprun", name)
    assert status["phase"] == "Succeeded", status


def test_a_bucket_that_is_not_there_is_named(elsewhere: Elsewhere) -> None:
    policy = elsewhere.policy()
    policy["metadata"]["name"] = "no-bucket"
    policy["spec"]["destinations"][0]["s3"]["bucket"] = "none-such"
    elsewhere.apply(policy)
    wait_until(
        lambda: reachable(elsewhere, "no-bucket").get("status") == "False", "the bucket to be missed", 60
    )
    condition = reachable(elsewhere, "no-bucket")
    assert condition["reason"] == "BucketNotFound"
    assert "none-such" in condition["message"]
