"""A stored run is verified by the real operator: at its slot, after a downtime, and when somebody asks."""

import threading
from typing import Any

import pytest
from tests.controller.client import Namespace, policy_spec, wait_for
from tests.controller.kubelet import Kubelet, Runs, Waits, failed

from holdfast.domain.labels import IMPORTED
from holdfast.protocol import CommitTask, VerifyTask

pytestmark = pytest.mark.usefixtures("operator")

YEARLY = {"schedule": "0 0 1 1 *", "mode": "Checksum"}
SLOT = "2026-01-01T00:00:00Z"
NEXT = "2027-01-01T00:00:00Z"
NOW = {"metadata": {"annotations": {"holdfast.dev/verify": "now"}}}
BAD = "destination primary: s3://backups/x is not what was stored"


def stored(namespace: Namespace, name: str) -> None:
    """A run as a catalogue brings it back."""
    spec = {"policyRef": {"name": "chatbot"}}
    namespace.create("BackupRun", name, spec, annotations={IMPORTED: "a catalogue"})
    sha256 = "a" * 64
    artifact = {"destination": "primary", "uri": "s3://backups/x", "sizeBytes": 1, "sha256": sha256}
    target = {"name": "sessions", "engine": "redis", "phase": "Succeeded", "artifacts": [artifact]}
    status = {
        "phase": "Succeeded",
        "recoveryPoint": "2025-12-31T00:00:00Z",
        "destinations": policy_spec(("sessions",))["destinations"],
        "targets": [target | {"manifestSha256": sha256}],
    }
    namespace.patch("BackupRun", name, {"status": status}, subresource="/status")


def due(namespace: Namespace) -> None:
    """As if the operator had last looked at the verification a year ago."""
    wait_for("the operator to know", lambda: policy(namespace).get("verificationScheduled"))
    status = {"verificationHandled": "2025-12-31T00:00:00Z"}
    namespace.patch("BackupPolicy", "chatbot", {"status": status}, subresource="/status")


def policy(namespace: Namespace) -> dict[str, Any]:
    return namespace.status("BackupPolicy", "chatbot")


def condition(status: dict[str, Any], kind: str) -> tuple[str, str, str]:
    found = [each for each in status.get("conditions", []) if each["type"] == kind]
    return (found[0]["status"], found[0]["reason"], found[0]["message"]) if found else ("", "", "")


def wait_verified(namespace: Namespace, phase: str, run: str = "one") -> dict[str, Any]:
    """Wait until a verification of the run has ended so; the run's status."""

    def reached() -> dict[str, Any] | None:
        status = namespace.status("BackupRun", run)
        return status if status.get("verification", {}).get("phase") == phase else None

    return wait_for(f"the verification of {run} to be {phase}", reached)


def jobs(namespace: Namespace) -> list[dict[str, Any]]:
    """Those that verify."""
    label = "holdfast.dev/component"
    return [job for job in namespace.items("Job") if job["metadata"]["labels"][label] == "Verify"]


def by_hand(namespace: Namespace, run: str = "one") -> None:
    namespace.patch("BackupRun", run, NOW)


def test_the_newest_run_is_verified_at_its_slot(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(verification=YEARLY)
    namespace.back_up("one")
    namespace.back_up("two")
    assert condition(policy(namespace), "RecoveryVerified")[:2] == ("Unknown", "NotVerifiedYet")
    due(namespace)
    run = wait_verified(namespace, "Succeeded", "two")
    assert run["verification"]["slot"] == SLOT
    assert run["verification"]["mode"] == "Checksum"
    assert condition(run, "Verified")[:2] == ("True", "ChecksumsMatch")
    assert run["phase"] == "Succeeded"
    wait_for("the policy to know", lambda: policy(namespace).get("lastVerifiedTime"))
    status = policy(namespace)
    assert status["lastVerifiedTime"] == run["verification"]["time"]
    assert (status["nextVerificationTime"], status["verificationHandled"]) == (NEXT, SLOT)
    verified = condition(status, "RecoveryVerified")
    assert verified[:2] == ("True", "ChecksumsMatch")
    assert "run two: every stored byte was read back" in verified[2]
    assert "it was not restored" in verified[2]
    assert namespace.events("BackupRun", "two")[-1] == "Verified"
    assert "verification" not in namespace.status("BackupRun", "one")
    tasks = [each for each in kubelet.tasks.values() if isinstance(each, VerifyTask)]
    (task,) = [each for each in tasks if each.namespace == namespace.name]
    stored = namespace.status("BackupRun", "two")["targets"][0]["manifestSha256"]
    assert (task.run, [each.manifest_sha256 for each in task.targets]) == ("two", [stored])


def test_its_job_outlives_the_runs_end_reads_only_and_expires(namespace: Namespace, kubelet: Kubelet) -> None:
    going = Runs()
    kubelet.behave(namespace.name, "Verify", going)
    places = [{"name": "nearby", "volume": {"claimName": "backups"}}]
    namespace.claim("backups")
    namespace.policy(verification=YEARLY, destinations=places)
    namespace.back_up("one")

    def expiring(count: int) -> bool:
        expires = ["ttlSecondsAfterFinished" in job["spec"] for job in namespace.items("Job")]
        return expires.count(True) == count

    wait_for("the run's own Jobs to expire", lambda: expiring(2))
    by_hand(namespace)
    wait_verified(namespace, "Running")
    # Somebody touches the run: an ended run's Jobs that still go on would be stopped then.
    namespace.patch("BackupRun", "one", {"metadata": {"labels": {"a": "b"}}})
    namespace.run("two")
    namespace.wait_phase("BackupRun", "two", "Succeeded")
    wait_verified(namespace, "Running")
    (job,) = jobs(namespace)
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner["uid"] == namespace.get("BackupRun", "one")["metadata"]["uid"]
    pod = job["spec"]["template"]["spec"]
    (claim,) = [each for each in pod["volumes"] if each["name"] == "d-nearby"]
    assert claim["persistentVolumeClaim"]["readOnly"] is True
    assert not [each for each in pod["volumes"] if each["name"] == "identity"]
    going.until.set()
    wait_verified(namespace, "Succeeded")
    wait_for("all Jobs to expire", lambda: expiring(5))


def test_a_bad_copy_takes_the_verdict_back(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(verification=YEARLY)
    namespace.back_up("one")
    by_hand(namespace)
    wait_verified(namespace, "Succeeded")
    wait_for("the policy to know", lambda: policy(namespace).get("lastVerifiedTime"))
    before = policy(namespace)["lastVerifiedTime"]
    kubelet.behave(namespace.name, "Verify", failed(5, "ChecksumMismatch", BAD))
    due(namespace)
    run = wait_verified(namespace, "Failed")
    assert condition(run, "Verified") == ("False", "ChecksumMismatch", BAD)
    assert run["verification"]["requested"] == "now"
    wait_for("the policy to know", lambda: condition(policy(namespace), "RecoveryVerified")[0] == "False")
    assert condition(policy(namespace), "RecoveryVerified") == (
        "False",
        "ChecksumMismatch",
        f"run one: {BAD}",
    )
    assert policy(namespace)["lastVerifiedTime"] == before
    assert namespace.events("BackupRun", "one")[-2:] == ["Verified", "VerificationFailed"]
    assert len(jobs(namespace)) == 2


def test_a_destination_that_is_away_is_asked_again_and_blames_no_byte(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    away = failed(4, "DestinationUnreachable", "destination primary: no answer")
    kubelet.behave(namespace.name, "Verify", away)
    namespace.policy(verification=YEARLY)
    namespace.back_up("one")
    by_hand(namespace)
    wait_verified(namespace, "Succeeded")
    assert jobs(namespace)[0]["status"]["failed"] == 1
    kubelet.behave(namespace.name, "Verify", away)
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"retries": 0}})
    due(namespace)
    run = wait_verified(namespace, "Failed")
    assert run["verification"]["reason"] == "VerificationFailed"
    assert "DestinationUnreachable" in run["verification"]["message"]
    assert condition(run, "Verified")[:2] == ("True", "ChecksumsMatch")


def test_a_pod_that_cannot_start_ends_it_and_is_cleared_away(namespace: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(namespace.name, "Verify", Waits("ImagePullBackOff", "no such image"))
    namespace.policy(verification=YEARLY)
    namespace.back_up("one")
    by_hand(namespace)
    run = wait_verified(namespace, "Failed")
    assert "ImagePullBackOff: no such image" in run["verification"]["message"]
    assert condition(run, "Verified")[:2] == ("Unknown", "VerificationFailed")
    wait_for("the Job to be gone", lambda: not jobs(namespace))


def test_what_is_being_verified_is_not_deleted_meanwhile(namespace: Namespace, kubelet: Kubelet) -> None:
    going = Runs(threading.Event())
    kubelet.behave(namespace.name, "Verify", going)
    namespace.policy(retention={"keepLast": 1})
    namespace.back_up("one")
    by_hand(namespace)
    wait_verified(namespace, "Running")
    namespace.back_up("two")
    plan = "retentionPlan"
    wait_for("it to be due", lambda: policy(namespace)[plan]["destinations"][0].get("delete"))
    namespace.back_up("x")
    tasks = [each for each in kubelet.tasks.values() if isinstance(each, CommitTask)]
    (task,) = [each for each in tasks if (each.namespace, each.run) == (namespace.name, "x")]
    assert task.retention == ()
    going.until.set()
    wait_verified(namespace, "Succeeded")
    namespace.back_up("y")
    # Verified it stays: the newest verified run does.
    wait_for("it to be kept", lambda: "minVerified" in str(policy(namespace)[plan]))
    assert namespace.status("BackupRun", "one")["phase"] == "Succeeded"


def test_asking_for_what_holds_nothing_is_answered(namespace: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(namespace.name, "sessions", failed(2, "Broken", "it broke"))
    namespace.policy()
    namespace.run("one")
    namespace.wait_phase("BackupRun", "one", "Failed")
    by_hand(namespace)
    run = wait_verified(namespace, "Failed")
    assert "run one is Failed and holds no backup" in run["verification"]["message"]
    assert jobs(namespace) == []


def test_a_schedule_that_never_comes_is_not_ready(namespace: Namespace) -> None:
    namespace.policy(verification=YEARLY | {"schedule": "0 0 30 2 *"})
    wait_for("Ready to be False", lambda: condition(policy(namespace), "Ready")[0] == "False")
    _, reason, message = condition(policy(namespace), "Ready")
    assert reason == "ScheduleNeverDue"
    assert message.startswith("verification.schedule '0 0 30 2 *' is never due")
