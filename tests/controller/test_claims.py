"""A claim that a pod of somebody else mounts is no destination: the volume may be a database's."""

from typing import Any

import pytest
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet

from holdfast.protocol import BackupTask, CommitTask, SurveyTask

pytestmark = pytest.mark.usefixtures("operator")

BUCKET = {"name": "primary", "s3": {"bucket": "backups", "credentialsSecret": {"name": "s3"}}}


def volume(**fields: Any) -> dict[str, Any]:
    return {"name": "nearby", "volume": {"claimName": "data"}} | fields


def mount(client: Client, namespace: Namespace, name: str, **labels: str) -> None:
    """A pod that mounts the claim `data`, as a database's would."""
    source = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    spec = {"containers": [{"name": "server", "image": "played"}], "volumes": [source]}
    pod = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    client.must("POST", f"/api/v1/namespaces/{namespace.name}/pods", pod)


def reachable(namespace: Namespace) -> dict[str, Any]:
    conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
    return next((each for each in conditions if each["type"] == "DestinationsReachable"), {})


def tasks(kubelet: Kubelet, namespace: Namespace) -> list[Any]:
    kinds = (BackupTask, CommitTask, SurveyTask)
    return [t for t in kubelet.tasks.values() if isinstance(t, kinds) and t.namespace == namespace.name]


def written(kubelet: Kubelet, namespace: Namespace) -> set[str]:
    """The destinations of all Jobs that write."""
    return {d.name for task in tasks(kubelet, namespace) for d in task.destinations}


def test_nothing_is_written_on_a_claim_that_a_pod_mounts(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    mount(client, namespace, "postgres-0")
    namespace.policy(destinations=[volume()])
    wait_for("the survey to refuse", lambda: reachable(namespace).get("reason") == "ClaimMounted")
    assert "pod postgres-0 mounts claim data" in reachable(namespace)["message"]
    namespace.run("one")
    status = namespace.wait_phase("BackupRun", "one", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Failed", "ClaimMounted")
    assert status["message"] == (
        "destinations[nearby].volume.claimName: pod postgres-0 mounts claim data. Name another one for "
        "backups, or set volume.allowMounted: true if both may write there"
    )
    assert tasks(kubelet, namespace) == []
    # A pod that has ended mounts nothing.
    path = f"/api/v1/namespaces/{namespace.name}/pods/postgres-0/status"
    client.must("PATCH", path, {"status": {"phase": "Succeeded"}})
    namespace.run("two")
    assert namespace.wait_phase("BackupRun", "two", "Succeeded", "Failed")["phase"] == "Succeeded"


def test_an_optional_claim_that_a_pod_mounts_leaves_the_others_alone(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    mount(client, namespace, "postgres-0")
    namespace.policy(destinations=[BUCKET, volume(required=False)])
    wait_for("the survey to end", lambda: reachable(namespace).get("reason") == "ClaimMounted")
    namespace.run("one")
    status = namespace.wait_phase("BackupRun", "one", "Succeeded", "PartiallySucceeded", "Failed")
    assert (status["phase"], status["reason"]) == ("PartiallySucceeded", "CopyMissing")
    assert "pod postgres-0 mounts claim data" in status["message"]
    assert written(kubelet, namespace) == {"primary"}


def test_a_pod_of_holdfast_and_an_allowed_one_may_mount_it(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    mount(client, namespace, "another-run", **{"app.kubernetes.io/managed-by": "holdfast"})
    namespace.policy(destinations=[volume()])
    namespace.run("one")
    assert namespace.wait_phase("BackupRun", "one", "Succeeded", "Failed")["phase"] == "Succeeded"
    mount(client, namespace, "file-browser")
    allowed = {"claimName": "data", "allowMounted": True}
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"destinations": [volume(volume=allowed)]}})
    namespace.run("two")
    assert namespace.wait_phase("BackupRun", "two", "Succeeded", "Failed")["phase"] == "Succeeded"


def test_a_claim_that_is_mounted_later_gets_no_further_job(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy(destinations=[volume()])
    namespace.run("one")
    namespace.wait_phase("BackupRun", "one", "Succeeded")
    mount(client, namespace, "postgres-0")
    namespace.run("two")
    status = namespace.wait_phase("BackupRun", "two", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Failed", "ClaimMounted")
