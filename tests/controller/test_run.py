"""A BackupRun from its creation to its last status, by the real operator on a real API server."""

from datetime import UTC, datetime

import pytest
from tests.controller.client import Client, Namespace, policy_spec, wait_for
from tests.controller.kubelet import Ends, Evicted, Held, Kubelet, Lingers, Runs, Unschedulable, Waits, failed
from tests.controller.process import Operator

from holdfast.protocol import BackupTask, CommitTask

pytestmark = pytest.mark.usefixtures("operator")


def test_run_of_three_targets_succeeds(namespace: Namespace, operator: Operator) -> None:
    namespace.policy(targets=("a", "b", "c"))
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Succeeded", "Failed")
    assert status["phase"] == "Succeeded", status
    assert status["targetsSucceeded"] == "3/3"
    assert status["copies"] == "1/1"
    assert status["sizeBytes"] == 3 * 2048
    assert status["size"] == "6.0Ki"
    assert status["recoveryPoint"] == "2026-01-02T03:04:05Z"
    target = status["targets"][0]
    assert target["contents"] == {"databases": 1, "keys": 42}
    assert target["source"] == {"address": "redis:6379", "role": "Standby", "version": "7.4.1"}
    assert target["attempts"] == 1
    assert target["artifacts"][0]["uri"] == (
        f"s3://backups/prod/{namespace.name}/chatbot/now/a/pod-1/dump.rdb.zst"
    )
    assert status["report"] == f"s3://backups/prod/{namespace.name}/chatbot/now/report.json"
    assert {(c["type"], c["status"]) for c in status["conditions"]} == {
        ("Complete", "True"),
        ("Failed", "False"),
    }
    assert operator.memory_bytes < 120 << 20


def test_events_tell_the_story_once_each(namespace: Namespace) -> None:
    namespace.policy(targets=("a", "b"))
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    reasons = namespace.events("BackupRun", "now")
    assert reasons[0] == "Started"
    assert reasons[-2:] == ["Committed", "Succeeded"]
    assert sorted(reasons[1:-2]) == ["ReadFromReplica"] * 2 + ["TargetSucceeded"] * 2


def test_jobs_are_owned_confined_and_expire(namespace: Namespace) -> None:
    namespace.policy()
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    uid = namespace.get("BackupRun", "now")["metadata"]["uid"]

    def expiring() -> bool:
        return all("ttlSecondsAfterFinished" in job["spec"] for job in namespace.items("Job"))

    wait_for("all Jobs to expire", expiring)
    jobs = namespace.items("Job")
    assert sorted(job["metadata"]["labels"]["holdfast.dev/component"] for job in jobs) == ["Backup", "Commit"]
    for job in jobs:
        (owner,) = job["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (uid, True, True)
        pod = job["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_policy_status_follows(namespace: Namespace) -> None:
    namespace.policy()
    namespace.run("now")
    run = namespace.wait_phase("BackupRun", "now", "Succeeded")

    def told() -> bool:
        known = namespace.status("BackupPolicy", "chatbot").get("lastSuccessfulTime")
        return bool(known == run["completionTime"])

    wait_for("the policy to know", told)
    status = namespace.status("BackupPolicy", "chatbot")
    assert status["lastRun"] == "now"
    (held,) = status["destinations"]
    assert (held["name"], held["storedBytes"], held["recoveryWindow"]["copies"]) == ("primary", 2048, 1)
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions.items() >= {"Ready": "True", "BackupFresh": "True"}.items()


def test_unknown_policy_fails(namespace: Namespace) -> None:
    namespace.run("now", policy="absent")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "PolicyNotFound"


def test_unsupported_policy_fails_the_run_and_is_not_ready(namespace: Namespace) -> None:
    namespace.policy(objectives={"rpo": "1h"})
    namespace.run("now")
    assert namespace.wait_phase("BackupRun", "now", "Failed")["reason"] == "NotSupportedYet"
    conditions = wait_for(
        "the policy's conditions", lambda: namespace.status("BackupPolicy", "chatbot").get("conditions")
    )
    (ready,) = [condition for condition in conditions if condition["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "NotSupportedYet")
    assert "objectives" in ready["message"]


def test_failed_target_leaves_the_others(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(targets=("a", "b"))
    kubelet.behave(namespace.name, "b", failed(2, "DatabaseNotFound", "no such database"))
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "PartiallySucceeded")
    assert status["reason"] == "DatabaseNotFound"
    assert status["targetsSucceeded"] == "1/2"
    broken = status["targets"][1]
    assert broken["attempts"] == 1, "exit code 2 is not tried again"
    assert broken["failure"] == {
        "exitCode": 2,
        "reason": "DatabaseNotFound",
        "message": "no such database",
        "logTail": "tail",
    }


def test_run_without_any_target_fails(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(retries=0)
    kubelet.behave(namespace.name, "sessions", Ends(137, "killed in the middle\n", "OOMKilled"))
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "OOMKilled"
    assert status["targets"][0]["failure"]["logTail"] == "killed in the middle\n"
    assert not [
        j for j in namespace.items("Job") if j["metadata"]["labels"]["holdfast.dev/component"] == "Commit"
    ]


def test_failed_attempt_is_tried_again_and_counted(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, "sessions", failed(3, "Unreachable", "connection refused"))
    namespace.run("now")

    def retrying() -> bool:
        return namespace.status("BackupRun", "now").get("reason") == "Retrying"

    wait_for("the status to say why it is tried again", retrying)
    assert namespace.status("BackupRun", "now")["targets"][0]["failure"]["reason"] == "Unreachable"
    (event,) = [each for each in namespace.items("Event") if each["reason"] == "Retrying"]
    said = "target sessions: attempt 1 failed: Unreachable: connection refused; the next one "
    assert (event["type"], event["message"].startswith(said)) == ("Warning", True)
    target = namespace.wait_phase("BackupRun", "now", "Succeeded")["targets"][0]
    assert target["attempts"] == 2
    assert "failure" not in target
    assert target["warnings"] == ["an earlier attempt failed: Unreachable: connection refused"]


def test_drained_node_is_no_failure(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(retries=0)
    kubelet.behave(namespace.name, "sessions", Evicted())
    namespace.run("now")
    assert namespace.wait_phase("BackupRun", "now", "Succeeded")["targetsSucceeded"] == "1/1"


@pytest.mark.parametrize(
    ("part", "behaviour", "reason", "text"),
    [
        ("sessions", Waits("CreateContainerError", 'secret "x" not found'), "CreateContainerError", "secret"),
        ("sessions", Waits("ImagePullBackOff", "Back-off pulling image"), "ImagePullBackOff", "pulling"),
        ("sessions", Waits("", 'secret "redis" not found', event="FailedMount"), "FailedMount", "redis"),
        ("sessions", Unschedulable("0/1 nodes: Insufficient memory"), "Unschedulable", "memory"),
        ("Commit", Waits("ErrImageNeverPull", "image is not present"), "ErrImageNeverPull", "present"),
    ],
    ids=["config", "image", "mount", "unschedulable", "commit"],
)  # fmt: skip
def test_pod_that_cannot_start_fails_the_run(
    namespace: Namespace,
    kubelet: Kubelet,
    part: str,
    behaviour: Waits | Unschedulable,
    reason: str,
    text: str,
) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, part, behaviour)
    namespace.run("now")

    def shown() -> bool:
        status = namespace.status("BackupRun", "now")
        return status.get("reason") == reason and text in status["message"]

    wait_for("the reason to be shown while the run goes on", shown)
    assert namespace.status("BackupRun", "now")["phase"] in ("Running", "Committing")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == reason
    assert text in status["message"]

    def live_jobs() -> list[str]:
        return [j["metadata"]["name"] for j in namespace.items("Job") if not j["status"].get("conditions")]

    wait_for("its Job to be stopped", lambda: not live_jobs())


def test_cancel_stops_the_pods_first(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(targets=("a", "b"))
    kubelet.behave(namespace.name, "b", Runs())
    namespace.run("now")

    def a_is_done() -> bool:
        targets = namespace.status("BackupRun", "now").get("targets", [])
        return any(each["name"] == "a" and each["phase"] == "Succeeded" for each in targets)

    wait_for("a to be done", a_is_done)
    namespace.patch("BackupRun", "now", {"spec": {"cancel": True}})
    status = namespace.wait_phase("BackupRun", "now", "Cancelled")
    assert {t["name"]: t["phase"] for t in status["targets"]} == {"a": "Succeeded", "b": "Cancelled"}
    assert not [p for p in namespace.items("Pod") if p["status"]["phase"] == "Running"]


def test_cancel_before_the_start(namespace: Namespace) -> None:
    namespace.policy()
    namespace.run("now", cancel=True)
    namespace.wait_phase("BackupRun", "now", "Cancelled")
    assert namespace.items("Job") == []


def test_deadline_fails_the_run_and_stops_its_jobs(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(activeDeadline="3s", targets=("a", "b"))
    kubelet.behave(namespace.name, "b", Runs())
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "DeadlineExceeded"
    assert status["targets"][1]["failure"]["reason"] == "DeadlineExceeded"

    def running() -> bool:
        return any(pod["status"]["phase"] == "Running" for pod in namespace.items("Pod"))

    wait_for("its pods to end", lambda: not running())


@pytest.mark.parametrize("phase", ["Running", "Committing", "Succeeded"])
def test_deleted_run_takes_its_jobs_along(namespace: Namespace, kubelet: Kubelet, phase: str) -> None:
    namespace.policy()
    stuck = {"Running": "sessions", "Committing": "Commit"}.get(phase)
    if stuck:
        kubelet.behave(namespace.name, stuck, Runs())
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", phase)
    namespace.delete("BackupRun", "now")
    wait_for("its Jobs and pods to go", lambda: not namespace.items("Job") and not namespace.items("Pod"))
    assert namespace.items("BackupRun") == []


def test_run_of_the_same_name_starts_afresh(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, "sessions", Runs())
    namespace.run("now")
    wait_for(
        "its pod to run", lambda: [p for p in namespace.items("Pod") if p["status"]["phase"] == "Running"]
    )
    namespace.delete("BackupRun", "now")
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")


def test_job_deleted_by_somebody_fails_its_target(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, "sessions", Runs())
    namespace.run("now")

    def target_runs() -> bool:
        targets = namespace.status("BackupRun", "now").get("targets") or [{}]
        return bool(targets[0].get("phase") == "Running")

    wait_for("the target to run", target_runs)
    (job,) = namespace.items("Job")
    namespace.delete("Job", job["metadata"]["name"])
    assert namespace.wait_phase("BackupRun", "now", "Failed")["reason"] == "JobDeleted"


def test_manual_run_waits_for_the_one_under_way(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy()
    first = Runs()
    kubelet.behave(namespace.name, "sessions", first)
    namespace.run("first")
    namespace.wait_phase("BackupRun", "first", "Running")
    namespace.run("second")
    status = namespace.wait_phase("BackupRun", "second", "Pending")
    assert status["reason"] == "WaitingForRun"
    assert "first" in status["message"]
    first.until.set()
    namespace.wait_phase("BackupRun", "second", "Succeeded")
    assert namespace.status("BackupRun", "first")["phase"] == "Succeeded"


def test_scheduled_run_is_skipped_while_another_is_under_way(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, "sessions", Runs())
    namespace.run("first")
    namespace.wait_phase("BackupRun", "first", "Running")
    slot = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:00Z}"
    namespace.run("slot", trigger="Schedule", scheduledTime=slot)
    status = namespace.wait_phase("BackupRun", "slot", "Skipped")
    assert status["reason"] == "ConcurrentRun"
    assert "first" in status["message"]


def test_policy_edited_meanwhile_changes_nothing(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy()
    going = Runs()
    kubelet.behave(namespace.name, "sessions", going)
    namespace.run("now")

    def started() -> bool:
        return len(namespace.items("Pod")) == 1

    wait_for("its pod", started)
    elsewhere = {"destinations": [{"name": "other", "s3": {"bucket": "elsewhere"}}]}
    namespace.patch("BackupPolicy", "chatbot", {"spec": elsewhere})
    going.until.set()
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    tasks = [
        task
        for name, task in kubelet.tasks.items()
        if name.startswith("now-")
        and isinstance(task, BackupTask | CommitTask)
        and task.namespace == namespace.name
    ]
    assert {destination.name for task in tasks for destination in task.destinations} == {"primary"}


def test_a_commit_without_earlier_jobs_has_the_settings_of_the_policy(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    """As if somebody had deleted the Jobs of its targets once they had ended."""
    namespace.policy(retries=4)
    first = Runs()
    kubelet.behave(namespace.name, "sessions", first)
    namespace.run("first")
    namespace.wait_phase("BackupRun", "first", "Running")
    namespace.run("second")
    namespace.wait_phase("BackupRun", "second", "Pending")
    sha256 = "a" * 64
    artifact = {"destination": "primary", "uri": "s3://backups/x", "sizeBytes": 1, "sha256": sha256}
    target = {"name": "sessions", "engine": "redis", "phase": "Succeeded", "manifestSha256": sha256}
    status = {
        "phase": "Committing",
        "startTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "destinations": policy_spec(("sessions",))["destinations"],
        "targets": [target | {"artifacts": [artifact]}],
    }
    namespace.patch("BackupRun", "second", {"status": status}, subresource="/status")
    namespace.wait_phase("BackupRun", "second", "Succeeded")
    (commit,) = [job for job in namespace.items("Job") if job["metadata"]["name"].startswith("second-")]
    assert commit["spec"]["backoffLimit"] == 4
    first.until.set()


def test_slot_waits_for_the_run_under_way_when_told(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(concurrencyPolicy="Queue", startingDeadline="100d", jitter="1s")
    first = Runs()
    kubelet.behave(namespace.name, "sessions", first)
    namespace.run("first")
    namespace.wait_phase("BackupRun", "first", "Running")
    slot = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:00Z}"
    namespace.run("slot", trigger="Schedule", scheduledTime=slot)
    status = namespace.wait_phase("BackupRun", "slot", "Pending", "Skipped", "Missed")
    assert (status["phase"], status["reason"]) == ("Pending", "WaitingForRun")
    first.until.set()
    namespace.wait_phase("BackupRun", "slot", "Succeeded")


@pytest.mark.parametrize("part", ["sessions", "Commit"])
def test_a_container_beside_the_runner_that_runs_on_holds_up_no_run(
    namespace: Namespace, kubelet: Kubelet, part: str
) -> None:
    namespace.policy()
    kubelet.behave(namespace.name, part, Held())
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    wait_for("the pod to be ended", lambda: len(namespace.items("Job")) == 1)


def test_a_failure_beside_a_container_that_runs_on_ends_the_target(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy()
    broken = failed(3, "Unreachable", "connection refused")
    kubelet.behave(namespace.name, "sessions", Held(broken.exit_code, broken.message))
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "Unreachable"
    assert "another container of the pod runs on" in status["message"]


def test_cancelling_ends_though_the_node_is_lost(
    client: Client, namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy()
    lost = Lingers()
    kubelet.behave(namespace.name, "sessions", lost)
    namespace.run("now")

    def pods() -> list[str]:
        return [p["metadata"]["name"] for p in namespace.items("Pod") if p["status"]["phase"] == "Running"]

    (pod,) = wait_for("its pod to run", pods)
    namespace.patch("BackupRun", "now", {"spec": {"cancel": True}})

    def is_deleted() -> bool:
        return "deletionTimestamp" in namespace.get("Pod", pod)["metadata"]

    wait_for("its pod to be deleted", is_deleted)
    # Without the node's answer it stays, but the time that it has for its end need not be waited for.
    client.must("DELETE", f"/api/v1/namespaces/{namespace.name}/pods/{pod}", {"gracePeriodSeconds": 1})
    status = namespace.wait_phase("BackupRun", "now", "Cancelled")
    assert f"pod {pod} on node played-" in status["message"]
    assert namespace.get("Pod", pod)
    lost.until.set()


def test_a_run_of_a_part_backs_up_this_part_alone_and_a_restore_passes_it_over(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy(targets=("a", "b"))
    namespace.back_up("all")
    namespace.run("part", targets=["b"])
    status = namespace.wait_phase("BackupRun", "part", "Succeeded", "PartiallySucceeded", "Failed")
    assert (status["phase"], status["targetsSucceeded"]) == ("Succeeded", "1/1")
    assert [target["phase"] for target in status["targets"]] == ["Skipped", "Succeeded"]
    tasks = [task for task in kubelet.tasks.values() if isinstance(task, BackupTask)]
    assert [t.target for t in tasks if (t.namespace, t.run) == (namespace.name, "part")] == ["b"]
    namespace.create("RestoreRequest", "back", {"source": {"policyRef": {"name": "chatbot"}}})
    assert namespace.wait_phase("RestoreRequest", "back", "Succeeded", "Refused", "Failed")["source"] == "all"
    namespace.run("none", targets=["c"])
    refused = namespace.wait_phase("BackupRun", "none", "Failed", "Succeeded")
    assert refused["message"] == "spec.targets: policy chatbot has no target c; its targets: a, b"
