"""What is deleted with a run, a policy or a namespace, by the real operator and real garbage collection."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.controller.bucket import SNAPSHOT
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Ends, Kubelet, Lingers, Runs, Waits, failed
from tests.controller.process import Operator

from holdfast.destinations.s3 import S3
from holdfast.protocol import BackupTask, Note, PurgeResult, PurgeTask

DATA = "holdfast.dev/data"
DELETE: dict[str, Any] = {"deletionPolicy": "Delete"}
Purges = Callable[[], list[str]]


@pytest.fixture
def purges(kubelet: Kubelet, namespace: Namespace) -> Purges:
    """The runs whose Purge Jobs had a pod so far, in order."""

    def found() -> list[str]:
        tasks = [each for each in kubelet.tasks.values() if isinstance(each, PurgeTask)]
        return [each.run for each in tasks if each.namespace == namespace.name]

    return found


def finalizers(namespace: Namespace, kind: str, name: str) -> list[str]:
    found: list[str] = namespace.get(kind, name).get("metadata", {}).get("finalizers", [])
    return found


def _has_finalizers(namespace: Namespace, kind: str, name: str, expected: list[str]) -> bool:
    return finalizers(namespace, kind, name) == expected


def _none_of_run(namespace: Namespace, kind: str, run: str) -> bool:
    return not _of_run(namespace, kind, run)


def _failed_or_gone(namespace: Namespace, run: str) -> bool:
    late = namespace.get("BackupRun", run)
    return not late or late.get("status", {}).get("phase") == "Failed"


def _is_deleting(namespace: Namespace, policy: str) -> bool:
    conditions = namespace.status("BackupPolicy", policy).get("conditions", [])
    ready = [(each["status"], each["reason"]) for each in conditions if each["type"] == "Ready"]
    return ready == [("False", "Deleting")]


def wait_gone(namespace: Namespace, kind: str, name: str, seconds: float = 120) -> None:
    wait_for(f"{kind} {name} to be gone", lambda: not namespace.get(kind, name), seconds)


def wait_running(namespace: Namespace, kubelet: Kubelet, part: type) -> None:
    def running() -> bool:
        return any(
            pod["status"].get("phase") == "Running"
            and isinstance(kubelet.tasks.get(pod["metadata"]["name"]), part)
            for pod in namespace.items("Pod")
        )

    wait_for(f"a pod with a {part.__name__}", running)


def wait_target_running(namespace: Namespace, run: str) -> None:
    """Until the operator has seen the Job: one that goes before is created again, as after a crash."""

    def running() -> bool:
        targets = namespace.status("BackupRun", run).get("targets") or [{}]
        return bool(targets[0].get("phase") == "Running")

    wait_for(f"the target of run {run} to run", running)


@pytest.mark.usefixtures("operator")
class TestRetain:
    """The default: what is stored is not touched, and nothing waits for anything."""

    def test_a_policy_deleted_and_created_anew(self, namespace: Namespace, purges: Purges) -> None:
        namespace.policy()
        namespace.back_up("one")
        assert finalizers(namespace, "BackupRun", "one") == []
        assert finalizers(namespace, "BackupPolicy", "chatbot") == []
        namespace.delete("BackupPolicy", "chatbot")
        assert namespace.get("BackupPolicy", "chatbot") == {}
        assert namespace.status("BackupRun", "one")["phase"] == "Succeeded"
        namespace.create("RestoreRequest", "without", {"source": {"runRef": {"name": "one"}}})
        namespace.wait_phase("RestoreRequest", "without", "Succeeded")
        namespace.policy()
        held = lambda: namespace.status("BackupPolicy", "chatbot").get("destinations")  # noqa: E731
        (primary,) = wait_for("the new one to know the run", held)
        assert (primary["name"], primary["recoveryWindow"]["copies"]) == ("primary", 1)
        namespace.create("RestoreRequest", "with", {"source": {"policyRef": {"name": "chatbot"}}})
        namespace.wait_phase("RestoreRequest", "with", "Succeeded")
        assert purges() == []

    def test_a_run_deleted_while_it_runs(
        self, namespace: Namespace, kubelet: Kubelet, purges: Purges
    ) -> None:
        namespace.policy()
        namespace.back_up("one")
        kubelet.behave(namespace.name, "sessions", Runs())
        namespace.run("two")
        wait_running(namespace, kubelet, BackupTask)
        namespace.delete("BackupRun", "two")
        assert namespace.get("BackupRun", "two") == {}, "nothing keeps it"
        for kind in ("Job", "Pod"):
            mine = f"the {kind}s of two to be gone"
            wait_for(mine, partial(_none_of_run, namespace, kind, "two"))
        namespace.back_up("three")
        namespace.delete("BackupRun", "one")
        wait_gone(namespace, "BackupRun", "one", 5)
        assert purges() == []

    def test_a_namespace_is_deleted(self, namespace: Namespace, client: Client, purges: Purges) -> None:
        namespace.policy()
        namespace.back_up("one")
        client.must("DELETE", f"/api/v1/namespaces/{namespace.name}")
        _wait_namespace_gone(client, namespace.name)
        assert purges() == []


def _of_run(namespace: Namespace, kind: str, run: str) -> list[dict[str, Any]]:
    found = namespace.items(kind)
    return [each for each in found if each["metadata"]["labels"].get("holdfast.dev/run") == run]


def _wait_namespace_gone(client: Client, name: str) -> None:
    path = f"/api/v1/namespaces/{name}"
    wait_for("the namespace to be gone", lambda: client.request("GET", path)[0] == 404)


@pytest.mark.usefixtures("operator")
class TestDelete:
    """The data goes with its run, and every run with its policy."""

    def test_a_run_takes_its_data_with_it(
        self, namespace: Namespace, kubelet: Kubelet, purges: Purges
    ) -> None:
        namespace.policy(**DELETE)
        namespace.back_up("one", "two")
        assert finalizers(namespace, "BackupRun", "one") == [DATA]
        assert finalizers(namespace, "BackupPolicy", "chatbot") == [DATA]
        going = Runs()
        kubelet.behave(namespace.name, "Purge", going)
        namespace.delete("BackupRun", "one")
        wait_running(namespace, kubelet, PurgeTask)
        assert namespace.status("BackupRun", "one")["expiring"][0]["begun"] is True
        # It is restored from no more, also by who asks for the newest: that would be either by its moment.
        namespace.create("RestoreRequest", "gone", {"source": {"runRef": {"name": "one"}}})
        assert namespace.wait_phase("RestoreRequest", "gone", "Refused")["reason"] == "NoDestination"
        namespace.create("RestoreRequest", "back", {"source": {"policyRef": {"name": "chatbot"}}})
        assert namespace.wait_phase("RestoreRequest", "back", "Succeeded")["source"] == "two"
        going.until.set()
        wait_gone(namespace, "BackupRun", "one")
        (task,) = [each for each in kubelet.tasks.values() if _purges(each, namespace, "one")]
        assert isinstance(task, PurgeTask)
        assert task.recovery_point == SNAPSHOT
        assert [each.name for each in task.destinations] == ["primary"]
        assert "DataDeleted" in namespace.events("BackupRun", "one")
        wait_for("its Jobs to go with it", lambda: not _of_run(namespace, "Job", "one"))
        assert namespace.status("BackupRun", "two")["phase"] == "Succeeded"
        assert purges() == ["one"]

    def test_a_run_deleted_while_it_runs_is_stopped_first(
        self, namespace: Namespace, kubelet: Kubelet, purges: Purges
    ) -> None:
        namespace.policy(**DELETE)
        kubelet.behave(namespace.name, "sessions", Runs())
        namespace.run("one")
        wait_running(namespace, kubelet, BackupTask)
        assert finalizers(namespace, "BackupRun", "one") == [DATA]
        seen: list[set[str]] = []
        namespace.delete("BackupRun", "one")

        def gone() -> bool:
            alive = [p for p in namespace.items("Pod") if p["status"].get("phase") in ("Pending", "Running")]
            seen.append({each["metadata"]["labels"]["holdfast.dev/component"] for each in alive})
            return not namespace.get("BackupRun", "one")

        wait_for("it to be gone", gone)
        assert {"Backup", "Purge"} not in seen
        assert purges() == ["one"]

    def test_by_foreground_deletion_too(self, namespace: Namespace, client: Client, purges: Purges) -> None:
        namespace.policy(**DELETE)
        namespace.back_up("one")
        path = f"/apis/holdfast.dev/v1alpha1/namespaces/{namespace.name}/backupruns/one"
        client.must("DELETE", path, {"propagationPolicy": "Foreground"})
        wait_gone(namespace, "BackupRun", "one")
        assert purges() == ["one"]

    def test_a_policy_takes_all_its_runs_with_it(
        self, namespace: Namespace, kubelet: Kubelet, purges: Purges
    ) -> None:
        namespace.policy(**DELETE)
        namespace.back_up("one", "two")
        namespace.policy("other")
        namespace.run("kept", "other")
        namespace.wait_phase("BackupRun", "kept", "Succeeded")
        going = Runs()
        kubelet.behave(namespace.name, "Purge", going)
        namespace.delete("BackupPolicy", "chatbot")
        wait_running(namespace, kubelet, PurgeTask)
        namespace.run("late")
        # Whoever comes first: it fails because its policy goes, or goes with it before it is looked at.
        wait_for("its end", partial(_failed_or_gone, namespace, "late"))
        assert namespace.get("BackupPolicy", "chatbot")["metadata"]["deletionTimestamp"]
        assert namespace.status("BackupRun", "one")["reason"] == "Deleting"
        wait_for("the policy to say so", partial(_is_deleting, namespace, "chatbot"))
        going.until.set()
        for name in ("one", "two", "late"):
            wait_gone(namespace, "BackupRun", name)
        wait_gone(namespace, "BackupPolicy", "chatbot", 90)
        assert sorted(purges()) == ["one", "two"]
        tasks = [task for task in kubelet.tasks.values() if isinstance(task, BackupTask)]
        assert "late" not in {task.run for task in tasks if task.namespace == namespace.name}
        assert namespace.status("BackupRun", "kept")["phase"] == "Succeeded"

    def test_the_finalizers_follow_a_policy_that_is_changed(
        self, namespace: Namespace, purges: Purges
    ) -> None:
        namespace.policy(history={"failed": 5})
        namespace.back_up("one")
        namespace.run("lost", "absent")
        for says, expected in (("Delete", [DATA]), ("Retain", []), ("Delete", [DATA])):
            namespace.patch("BackupPolicy", "chatbot", {"spec": {"deletionPolicy": says}})
            for kind, name in (("BackupPolicy", "chatbot"), ("BackupRun", "one")):
                wait_for(
                    f"{kind} {name} to have {expected}",
                    partial(_has_finalizers, namespace, kind, name, expected),
                )
        assert finalizers(namespace, "BackupRun", "lost") == []
        namespace.patch("BackupPolicy", "chatbot", {"spec": {"deletionPolicy": "Retain"}})
        wait_for("none", lambda: not finalizers(namespace, "BackupRun", "one"))
        namespace.delete("BackupRun", "one")
        wait_gone(namespace, "BackupRun", "one", 5)
        assert purges() == []

    def test_history_that_holds_no_data_makes_no_job(
        self, namespace: Namespace, kubelet: Kubelet, purges: Purges
    ) -> None:
        namespace.policy(history={"failed": 0}, retries=0, **DELETE)
        kubelet.behave(namespace.name, "sessions", failed(2, "DatabaseNotFound", "no such database"))
        namespace.run("one")
        namespace.wait_phase("BackupRun", "one", "Failed")
        namespace.back_up("two")  # clears away what the first may have left
        wait_gone(namespace, "BackupRun", "one")
        assert purges() == []

    def test_what_is_locked_stays_and_the_run_goes(self, namespace: Namespace, kubelet: Kubelet) -> None:
        namespace.policy(**DELETE)
        namespace.back_up("one")
        note = Note(reason="DataLocked", message="it is locked until 2030-01-01T00:00:00Z", warning=True)
        result = PurgeResult(destinations=(), notes=(note,))
        kubelet.behave(namespace.name, "Purge", Ends(message=result.model_dump_json(by_alias=True)))
        namespace.delete("BackupRun", "one")
        wait_gone(namespace, "BackupRun", "one")
        (event,) = [each for each in namespace.items("Event") if each["reason"] == "DataLocked"]
        assert (event["type"], "2030-01-01" in event["message"]) == ("Warning", True)

    def test_a_destination_that_is_away_is_waited_for(
        self, namespace: Namespace, kubelet: Kubelet, purges: Purges
    ) -> None:
        namespace.policy(**DELETE)
        namespace.back_up("one")
        kubelet.behave(namespace.name, "Purge", failed(4, "Unreachable", "no answer"))
        began = time.monotonic()
        namespace.delete("BackupRun", "one")
        wait_for(
            "the failure", lambda: namespace.status("BackupRun", "one").get("deletion", {}).get("attempts")
        )
        state = namespace.status("BackupRun", "one")["deletion"]
        assert (state["attempts"], state["message"]) == (1, "Unreachable: no answer")
        status = namespace.status("BackupRun", "one")
        assert (status["phase"], status["reason"]) == ("Succeeded", "DeletionFailed")
        retried = f"Unreachable: no answer; the deletion is retried at {state['nextTime']}"
        assert status["message"] == retried
        assert "Deleting" in namespace.events("BackupRun", "one")
        assert "nextTime" in state
        assert "DeletionFailed" in namespace.events("BackupRun", "one")
        wait_gone(namespace, "BackupRun", "one", 60)
        assert time.monotonic() - began > 9
        assert purges() == ["one", "one"]

    def test_a_rotation_of_secrets_keeps_no_policy_from_being_deleted(
        self, namespace: Namespace, kubelet: Kubelet
    ) -> None:
        def destination(name: str, bucket: str, secret: str) -> dict[str, Any]:
            return {"name": name, "s3": {"bucket": bucket, "credentialsSecret": {"name": secret}}}

        stays, moves = destination("stays", "backups", "old"), destination("moves", "former", "old")
        namespace.policy(destinations=[stays, moves], **DELETE)
        namespace.back_up("one")
        # New Secrets, another name for one place, and another place for the other.
        rotated = [destination("renamed", "backups", "new"), destination("moves", "later", "new")]
        namespace.patch("BackupPolicy", "chatbot", {"spec": {"destinations": rotated}})
        namespace.delete("BackupPolicy", "chatbot")
        wait_gone(namespace, "BackupRun", "one")
        wait_gone(namespace, "BackupPolicy", "chatbot", 90)
        (task,) = [task for task in kubelet.tasks.values() if _purges(task, namespace, "one")]
        assert isinstance(task, PurgeTask)
        used = {
            each.name: (each.spec.bucket, each.spec.credentials_secret.name)
            for each in task.destinations
            if isinstance(each.spec, S3) and each.spec.credentials_secret
        }
        assert used == {"stays": ("backups", "new"), "moves": ("former", "old")}
        (event,) = [each for each in namespace.items("Event") if each["reason"] == "RecordedSecrets"]
        assert event["message"] == (
            "destination moves: the policy has no destination at s3://former at Amazon S3, "
            "so the Job uses what the run recorded: Secret old"
        )

    def test_a_deletion_that_hangs_says_why_and_is_given_up_by_retain(
        self, namespace: Namespace, kubelet: Kubelet
    ) -> None:
        namespace.policy(**DELETE)
        namespace.back_up("one")
        kubelet.behave(namespace.name, "Purge", Waits("", 'secret "s3" not found', event="FailedMount"))
        namespace.delete("BackupRun", "one")
        wait_for(
            "the reason",
            lambda: (
                'secret "s3" not found'
                in namespace.status("BackupRun", "one").get("deletion", {}).get("message", "")
            ),
        )
        assert namespace.get("BackupRun", "one")
        namespace.patch("BackupPolicy", "chatbot", {"spec": {"deletionPolicy": "Retain"}})
        wait_gone(namespace, "BackupRun", "one")

    def test_a_namespace_takes_the_resources_and_leaves_the_data(
        self, namespace: Namespace, client: Client, kubelet: Kubelet, operator: Operator, purges: Purges
    ) -> None:
        """The namespace's controller deletes a run and its Job in any order: here the run comes first."""
        namespace.policy(**DELETE)
        namespace.back_up("one")
        pod = Lingers()
        kubelet.behave(namespace.name, "sessions", pod)
        namespace.run("two")
        wait_running(namespace, kubelet, BackupTask)
        namespace.delete("BackupRun", "two")
        wait_for(
            "two to wait for its pod",
            lambda: namespace.status("BackupRun", "two").get("reason") == "Cancelling",
        )
        client.must("DELETE", f"/api/v1/namespaces/{namespace.name}")
        pod.until.set()
        _wait_namespace_gone(client, namespace.name)
        assert purges() == []
        for name in ("one", "two"):
            assert f"run {namespace.name}/{name}: its namespace is being deleted" in operator.log

    def test_a_namespace_takes_the_job_of_a_run_first(
        self, namespace: Namespace, client: Client, kubelet: Kubelet, operator: Operator, purges: Purges
    ) -> None:
        """The other order: the run fails before it is deleted, so it has no data that a Job could delete."""
        namespace.policy(**DELETE)
        namespace.back_up("one")
        kubelet.behave(namespace.name, "sessions", Runs())
        namespace.run("two")
        wait_target_running(namespace, "two")
        assert finalizers(namespace, "BackupRun", "two") == [DATA]
        (job,) = _of_run(namespace, "Job", "two")
        namespace.delete("Job", job["metadata"]["name"])
        assert namespace.wait_phase("BackupRun", "two", "Failed")["reason"] == "JobDeleted"
        client.must("DELETE", f"/api/v1/namespaces/{namespace.name}")
        _wait_namespace_gone(client, namespace.name)
        assert purges() == []
        assert f"run {namespace.name}/one: its namespace is being deleted" in operator.log
        assert f"run {namespace.name}/two: its namespace is being deleted" not in operator.log


def _purges(task: object, namespace: Namespace, run: str) -> bool:
    return isinstance(task, PurgeTask) and (task.namespace, task.run) == (namespace.name, run)
