"""Objects that somebody creates from exported ones, by the real operator on a real API server."""

from typing import Any

import pytest
from tests.controller.client import HOLDFAST, Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet, Runs

pytestmark = pytest.mark.usefixtures("operator")


def _replaced_by_duplicate(client: Client, namespace: Namespace, kind: str, name: str) -> dict[str, Any]:
    """Delete an object that has ended, and create it from what was exported, as `kubectl apply` does."""
    exported = namespace.get(kind, name)
    namespace.delete(kind, name)
    wait_for("it to be gone", lambda: not namespace.get(kind, name))
    del exported["metadata"]["resourceVersion"]
    path = f"{HOLDFAST}/namespaces/{namespace.name}/{kind.lower()}s"
    created: dict[str, Any] = client.must("POST", path, exported)
    assert created["metadata"]["uid"] != exported["metadata"]["uid"]
    return exported


def _marked_as_another(namespace: Namespace, kind: str, name: str) -> None:
    """As `kubectl apply` of the exported file of an earlier object of the name does it."""
    marked = {"metadata": {"annotations": {"holdfast.dev/started": "another"}}}
    namespace.patch(kind, name, marked)
    wait_for(
        "an answer", lambda: _mark(namespace, kind, name) != "another" or _has_ended(namespace, kind, name)
    )
    assert _mark(namespace, kind, name) == namespace.get(kind, name)["metadata"]["uid"]


def _mark(namespace: Namespace, kind: str, name: str) -> str:
    mark: str = namespace.get(kind, name)["metadata"]["annotations"]["holdfast.dev/started"]
    return mark


def _has_ended(namespace: Namespace, kind: str, name: str) -> bool:
    return "completionTime" in namespace.status(kind, name)


def _tasks(kubelet: Kubelet, namespace: Namespace, kind: str) -> int:
    tasks = kubelet.tasks.values()
    return sum(task.kind == kind and getattr(task, "namespace", "") == namespace.name for task in tasks)


def test_a_run_that_somebody_creates_from_an_exported_one_does_not_start_again(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy()
    namespace.back_up("now")
    exported = _replaced_by_duplicate(client, namespace, "BackupRun", "now")
    status = namespace.wait_phase("BackupRun", "now", "Expired", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Expired", "StartedBefore")
    assert exported["metadata"]["annotations"] == {"holdfast.dev/started": exported["metadata"]["uid"]}
    assert exported["metadata"]["uid"] in status["message"]
    assert _tasks(kubelet, namespace, "Backup") == 1


def test_a_request_that_somebody_creates_from_an_exported_one_restores_nothing(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy()
    namespace.back_up("now")
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "now"}}})
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    _replaced_by_duplicate(client, namespace, "RestoreRequest", "back")
    status = namespace.wait_phase("RestoreRequest", "back", "Refused", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Refused", "StartedBefore")
    assert _tasks(kubelet, namespace, "Restore") == 1


def test_what_is_under_way_goes_on_whatever_its_annotation_says(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy()
    backup, restore = Runs(), Runs()
    kubelet.behave(namespace.name, "sessions", backup, restore)
    namespace.run("now")
    wait_for("its Job", lambda: _tasks(kubelet, namespace, "Backup"))
    _marked_as_another(namespace, "BackupRun", "now")
    backup.until.set()
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "now"}}})
    wait_for("its Job", lambda: _tasks(kubelet, namespace, "Restore"))
    _marked_as_another(namespace, "RestoreRequest", "back")
    restore.until.set()
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
