"""What happened while no operator ran counts as it happened."""

from datetime import UTC, datetime, timedelta

from tests.apiserver import ApiServer
from tests.controller.client import Namespace, wait_for
from tests.controller.kubelet import Kubelet, Runs
from tests.controller.process import Operator

LIMIT = timedelta(seconds=25)


def test_what_was_stored_in_time_counts_though_the_operator_was_down_at_the_deadline(
    control_plane: ApiServer, kubelet: Kubelet, namespace: Namespace
) -> None:
    target, commit = Runs(), Runs()
    kubelet.behave(namespace.name, "slow", target)
    kubelet.behave(namespace.name, "Commit", commit)
    for name in ("quick", "slow"):
        namespace.policy(name, targets=(name,), activeDeadline=f"{LIMIT.seconds}s")
    with Operator(control_plane.kubeconfig, WATCH_NAMESPACES=namespace.name) as operator:
        namespace.run("quick", "quick")
        namespace.run("slow", "slow")

        def pods() -> int:
            return sum(pod["status"]["phase"] == "Running" for pod in namespace.items("Pod"))

        # The status says so before the commit's Job is there, and by then quick's target has ended.
        namespace.wait_phase("BackupRun", "quick", "Committing")
        wait_for("a target and a commit to run", lambda: pods() == 2)
        operator.kill()
        target.until.set()
        commit.until.set()

        def complete() -> int:
            conditions = [job["status"].get("conditions", []) for job in namespace.items("Job")]
            return sum(any(c["type"] == "Complete" for c in of_job) for of_job in conditions)

        wait_for("all to be stored", lambda: complete() == 3)

        def are_overdue() -> bool:
            starts = [namespace.status("BackupRun", name)["startTime"] for name in ("quick", "slow")]
            return datetime.now(UTC) > max(map(datetime.fromisoformat, starts)) + LIMIT

        wait_for("the deadlines to pass", are_overdue)
        operator.start()
        assert namespace.wait_phase("BackupRun", "quick", "Succeeded", "Failed")["phase"] == "Succeeded"
        assert namespace.wait_phase("BackupRun", "slow", "Succeeded", "Failed")["phase"] == "Succeeded"
