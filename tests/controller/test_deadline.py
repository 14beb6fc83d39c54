"""Runs and restores live by what they wrote down at their start: deadline, settings and targets."""

from typing import Any, Self, TypeVar

import pytest
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet
from tests.controller.node import Node, hook
from tests.controller.process import Operator

from holdfast.protocol import BackupTask, CommitTask, RestoreTask

T = TypeVar("T", BackupTask, CommitTask, RestoreTask)
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


class DeadWebhook:
    """A webhook of one namespace that every new Job has to pass and that does not answer."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def __enter__(self) -> Self:
        rule = {
            "apiGroups": ["batch"],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["jobs"],
        }
        webhook = {
            "name": "dead.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._namespace}},
            "rules": [rule],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        self._client.must("POST", WEBHOOKS, {"metadata": {"name": self._namespace}, "webhooks": [webhook]})
        wait_for("the webhook to refuse", lambda: self._answer() == 500)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.must("DELETE", f"{WEBHOOKS}/{self._namespace}", {})
        wait_for("the webhook to be gone", lambda: self._answer() == 201)

    def _answer(self) -> int:
        pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}
        path = f"/apis/batch/v1/namespaces/{self._namespace}/jobs?dryRun=All"
        return self._client.request("POST", path, {"metadata": {"name": "x"}, "spec": {"template": pod}})[0]


def tasks(kubelet: Kubelet, namespace: Namespace, kind: type[T]) -> list[T]:
    """Those of this kind in the namespace."""
    every = (task for task in kubelet.tasks.values() if isinstance(task, kind))
    return [task for task in every if task.namespace == namespace.name]


def _waits(namespace: Namespace, run: str = "now") -> bool:
    status = namespace.status("BackupRun", run)
    return (status.get("phase"), status.get("reason")) == ("Running", "JobNotCreated")


def test_a_run_whose_jobs_cannot_be_created_ends_at_its_deadline(
    client: Client, operator: Operator, node: Node, namespace: Namespace
) -> None:
    node.pod(namespace.name, "app")
    namespace.policy(
        targets=("a", "b"),
        activeDeadline="5s",
        hooks={"before": [hook("pause")], "after": [hook("go-on", "echo", "on")]},
    )
    with DeadWebhook(client, namespace.name):
        namespace.run("now")
        wait_for("the reason to be shown", lambda: _waits(namespace))
        status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "JobNotCreated"
    assert "activeDeadline (5s)" in status["message"]
    assert "failed calling webhook" in status["message"]
    assert [target["phase"] for target in status["targets"]] == ["Failed", "Failed"]
    assert [each.words for each in node.run_in(namespace.name)] == [("true",), ("echo", "on")]


@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_run_goes_on_as_it_was_started_whatever_becomes_of_its_policy(
    client: Client, operator: Operator, kubelet: Kubelet, namespace: Namespace, change: str
) -> None:
    namespace.policy(targets=("a", "b"), retries=4)
    with DeadWebhook(client, namespace.name):
        namespace.run("now")
        wait_for("it to start", lambda: _waits(namespace))
        if change == "deleted":
            namespace.delete("BackupPolicy", "chatbot")
        else:
            target = {"name": "a", "redis": {"service": {"name": "elsewhere", "port": 6379}}}
            bucket = {"bucket": "backups", "prefix": "prod", "credentialsSecret": {"name": "rotated"}}
            edited: dict[str, Any] = {"targets": [target], "retries": 0, "activeDeadline": "1s"}
            edited["destinations"] = [{"name": "renamed", "s3": bucket | {"storageClass": "GLACIER"}}]
            namespace.patch("BackupPolicy", "chatbot", {"spec": edited})
    status = namespace.wait_phase("BackupRun", "now", "Succeeded", "Failed", "PartiallySucceeded")
    assert status["phase"] == "Succeeded", status
    assert (status["settings"]["retries"], status["settings"]["activeDeadline"]) == (4, "6h")
    assert status["plan"] == []
    backups, commits = tasks(kubelet, namespace, BackupTask), tasks(kubelet, namespace, CommitTask)
    assert {(task.target, task.spec["service"]["name"]) for task in backups} == {
        ("a", "redis"),
        ("b", "redis"),
    }
    secret = "rotated" if change == "edited" else "s3"
    section = {"bucket": "backups", "prefix": "prod", "region": "us-east-1", "addressingStyle": "Auto"}
    made: list[BackupTask | CommitTask] = [*backups, *commits]
    for task in made:
        (used,) = task.destinations
        assert (used.name, used.spec.to_json()) == (
            "primary", section | {"credentialsSecret": {"name": secret}},
        )  # fmt: skip
    assert ("RecordedSecrets" in namespace.events("BackupRun", "now")) is (change == "deleted")
    assert {job["spec"]["backoffLimit"] for job in namespace.items("Job")} == {4}


def test_a_request_whose_job_cannot_be_created_ends_at_the_deadline_that_it_wrote_down(
    client: Client, operator: Operator, namespace: Namespace
) -> None:
    namespace.policy()
    namespace.back_up("now")
    # Once it is edited, the catalogue has to be read.
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"activeDeadline": "8s", "retries": 4}})
    with DeadWebhook(client, namespace.name):
        namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "now"}}})
        wait_for("it to start", lambda: namespace.status("RestoreRequest", "back").get("settings"))
        namespace.patch("BackupPolicy", "chatbot", {"spec": {"activeDeadline": "9h", "retries": 0}})
        status = namespace.wait_phase("RestoreRequest", "back", "Failed", "Succeeded")
    assert (status["reason"], status["settings"]["retries"]) == ("JobNotCreated", 4)
    assert "activeDeadline (8s)" in status["message"]
    assert "failed calling webhook" in status["message"]
