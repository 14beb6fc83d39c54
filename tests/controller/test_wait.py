"""What a user waits for and looks at with kubectl itself: conditions, labels and columns."""

import json
import subprocess

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Namespace, policy_spec, wait_for
from tests.controller.kubelet import Kubelet, Waits, failed
from tests.machine import programs

from holdfast.api.destination import Destination
from holdfast.api.run import Failure

pytestmark = pytest.mark.usefixtures("operator")
ENDS = "jsonpath={.status.completionTime}"


def kubectl(server: ApiServer, namespace: Namespace, *arguments: str) -> str:
    (program,) = programs("kubectl")
    command = [program, f"--kubeconfig={server.kubeconfig}", f"--namespace={namespace.name}", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def wait_by_kubectl(server: ApiServer, namespace: Namespace, what: str, until: str) -> None:
    kubectl(server, namespace, "wait", f"--for={until}", "--timeout=60s", what)


def test_kubectl_waits_for_both_ends_of_runs_and_requests(
    control_plane: ApiServer, namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, "sessions", failed(2, "DatabaseNotFound", "no such database"))
    namespace.run("bad")
    wait_by_kubectl(control_plane, namespace, "backuprun/bad", "condition=Failed")
    namespace.run("good")
    wait_by_kubectl(control_plane, namespace, "backuprun/good", "condition=Complete")
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "good"}}})
    wait_by_kubectl(control_plane, namespace, "restorerequest/back", "condition=Complete")
    namespace.create("RestoreRequest", "none", {"source": {"runRef": {"name": "bad"}}})
    for until in ("condition=Failed", ENDS):
        wait_by_kubectl(control_plane, namespace, "restorerequest/none", until)
    for kind, name, complete in (
        ("BackupRun", "bad", "False"),
        ("BackupRun", "good", "True"),
        ("RestoreRequest", "back", "True"),
        ("RestoreRequest", "none", "False"),
    ):
        status = namespace.status(kind, name)
        conditions = {condition["type"]: condition for condition in status["conditions"]}
        assert conditions["Complete"]["status"] == complete
        assert conditions["Failed"]["status"] != complete
        assert conditions["Failed"]["reason"] == status.get("reason", status["phase"])
    wide = kubectl(control_plane, namespace, "get", "restorerequest/none", "--output=wide")
    assert "RunNotRestorable" in wide


def test_runs_made_by_hand_are_listed_by_their_policy(control_plane: ApiServer, namespace: Namespace) -> None:
    namespace.policy()
    namespace.run("one")
    namespace.run("lost", policy="p" * 200)
    namespace.wait_phase("BackupRun", "lost", "Failed")
    wait_by_kubectl(control_plane, namespace, "backuprun/one", "condition=Complete")
    listed = kubectl(
        control_plane,
        namespace,
        "get",
        "backupruns",
        "--selector=holdfast.dev/policy=chatbot",
        "--output=name",
    )
    assert listed == "backuprun.holdfast.dev/one\n"


def test_columns_of_a_policy_name_what_is_wrong_with_a_destination(
    control_plane: ApiServer, namespace: Namespace, kubelet: Kubelet
) -> None:
    absent = Destination.model_validate({"name": "primary", "s3": {"bucket": "absent"}})
    kubelet.catalogues.failures[absent.place] = Failure(reason="BucketNotFound", message="no such bucket")
    namespace.policy(destinations=[absent.to_json()])

    def columns() -> dict[str, str]:
        shown = kubectl(control_plane, namespace, "get", "backuppolicy/chatbot", "--output=json")
        return {
            condition["type"]: condition["reason"]
            for condition in json.loads(shown).get("status", {}).get("conditions", [])
        }

    wait_for("the survey", lambda: "DestinationsReachable" in columns())
    header, row = kubectl(
        control_plane, namespace, "get", "backuppolicy/chatbot", "--output=wide"
    ).splitlines()
    start, end = header.index("READY"), header.index("AGE")
    assert header[start:end].split() == ["READY", "DESTINATIONS", "REASON"]
    assert row[start:end].split() == ["True", "BucketNotFound", "ManualOnly"]


def test_a_missing_secret_of_a_target_is_named_by_its_field(namespace: Namespace, kubelet: Kubelet) -> None:
    message = 'MountVolume.SetUp failed for volume "source-credentials" : secret "redis-backup" not found'
    kubelet.behave(namespace.name, "sessions", Waits("", message, event="FailedMount"))
    address = {"service": {"name": "redis", "port": 6379}, "credentialsSecret": {"name": "redis-backup"}}
    spec = policy_spec(()) | {"targets": [{"name": "sessions", "redis": address}]}
    namespace.create("BackupPolicy", "chatbot", spec)
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    said = "targets[sessions].redis.credentialsSecret: this namespace has no Secret redis-backup"
    assert (status["reason"], status["targets"][0]["failure"]["message"]) == ("SecretNotFound", said)


def test_a_missing_claim_keeps_no_pod_from_starting(namespace: Namespace) -> None:
    volumes = [
        {"name": name, "required": False, "volume": {"claimName": name}} for name in ("there", "absent")
    ]
    namespace.claim("there")
    namespace.policy(destinations=[*policy_spec(())["destinations"], *volumes])
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded", "PartiallySucceeded")
    for job in namespace.items("Job"):
        pod = job["spec"]["template"]["spec"]
        claims = [
            each["persistentVolumeClaim"]["claimName"]
            for each in pod["volumes"]
            if "persistentVolumeClaim" in each
        ]
        mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert claims == ["there"]
        assert {"d-there"} == mounts & {"d-there", "d-absent"}
        optional = {
            volume["name"]: volume["secret"].get("optional")
            for volume in pod["volumes"]
            if "secret" in volume
        }
        assert optional == {"d-primary-credentials": True}
