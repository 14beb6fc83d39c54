"""Hooks by the real operator and API server: in the right pod, around the Jobs, however the run ends."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.controller.client import Namespace, wait_for
from tests.controller.kubelet import Kubelet, Runs, failed
from tests.controller.node import Node, hook, until

from holdfast.domain.labels import RUN

pytestmark = pytest.mark.usefixtures("operator")


def states(namespace: Namespace, run: str = "now") -> dict[str, str]:
    """By when and name: where the hooks that were begun stand."""
    found = namespace.status("BackupRun", run).get("hooks", [])
    return {f"{each['when']}/{each['name']}": each["phase"] for each in found}


def test_the_application_is_paused_around_the_jobs_and_no_longer(
    namespace: Namespace, node: Node, kubelet: Kubelet, tmp_path: Path
) -> None:
    node.pod(namespace.name, "unready", ready=False)
    default: dict[str, Any] = {"kubectl.kubernetes.io/default-container": "proxy"}
    node.pod(namespace.name, "app-1", **default)
    wait_for("a second", lambda: _age(namespace, "app-1"))
    node.pod(namespace.name, "app-0")
    paused, resumed = tmp_path / "paused", tmp_path / "resumed"
    namespace.policy(
        hooks={
            "before": [hook("pause", *until(paused)), hook("flush", container="app")],
            "after": [hook("go-on", *until(resumed))],
        }
    )
    namespace.run("now")
    wait_for("the hook to run", lambda: node.run_in(namespace.name))
    assert states(namespace) == {"Before/pause": "Running"}
    assert namespace.status("BackupRun", "now")["message"] == "runs hook pause"
    assert namespace.get("BackupRun", "now")["metadata"]["finalizers"] == ["holdfast.dev/hooks"]
    assert namespace.items("Job") == []
    going = Runs()
    kubelet.behave(namespace.name, "sessions", going)
    paused.touch()
    wait_for("the target to be backed up", lambda: namespace.items("Job"))
    assert states(namespace) == {"Before/pause": "Succeeded", "Before/flush": "Succeeded"}
    # An application that is paused may well say that it is not ready.
    node.make_ready(namespace.name, "app-1", ready=False)
    going.until.set()
    wait_for("the hook after", lambda: "After/go-on" in states(namespace))
    status = namespace.status("BackupRun", "now")
    assert (status["phase"], status["targets"][0]["phase"]) == ("Running", "Succeeded")
    assert len(namespace.items("Job")) == 1, "no commit yet"
    wait_for("the command", lambda: len(node.run_in(namespace.name)) == 3)
    resumed.touch()
    status = namespace.wait_phase("BackupRun", "now", "Succeeded")
    where = [(each.pod, each.container) for each in node.run_in(namespace.name)]
    assert where == [("app-1", "proxy"), ("app-1", "app"), ("app-1", "proxy")]
    assert all(each["exitCode"] == 0 and each["pod"] == "app-1" for each in status["hooks"])
    wait_for(
        "no finalizer to stay",
        lambda: "finalizers" not in namespace.get("BackupRun", "now")["metadata"],
    )
    assert namespace.events("BackupRun", "now").count("HookSucceeded") == 3


def _age(namespace: Namespace, pod: str) -> bool:
    created = datetime.fromisoformat(namespace.get("Pod", pod)["metadata"]["creationTimestamp"])
    return (datetime.now(UTC) - created).total_seconds() > 1.1


def test_a_hook_before_that_fails_keeps_jobs_from_being_made(namespace: Namespace, node: Node) -> None:
    node.pod(namespace.name, "app")
    script = "seq 10000; echo the disk is full >&2; exit 3"
    namespace.policy(hooks={"before": [hook("pause", "sh", "-c", script)], "after": [hook("go-on")]})
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "HookFailed"
    assert "hook pause: HookFailed: pod app: the command ended with exit code 3: " in status["message"]
    assert status["message"].endswith("10000\nthe disk is full")
    assert len(status["message"]) < 1200
    assert status["hooks"][0]["exitCode"] == 3
    assert status["targets"][0]["phase"] == "Skipped"
    assert states(namespace) == {"Before/pause": "Failed", "After/go-on": "Succeeded"}
    assert namespace.items("Job") == []
    assert "HookFailed" in namespace.events("BackupRun", "now")


@pytest.mark.parametrize(
    ("command", "fields", "why"),
    [
        (("sleep", "60"), {"timeout": "1s"}, "not done within 1s"),
        (("/no/such/program",), {}, "cannot exec: "),
        (("true",), {"container": "absent"}, "pod app: it has no container absent, only app, proxy"),
    ],
)
def test_why_a_hook_fails_is_told(
    namespace: Namespace, node: Node, command: tuple[str, ...], fields: dict[str, Any], why: str
) -> None:
    node.pod(namespace.name, "app")
    namespace.policy(hooks={"before": [hook("pause", *command, **fields)], "after": [hook("go-on")]})
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed")
    assert status["reason"] == "HookFailed"
    assert why in status["message"]
    assert "exitCode" not in status["hooks"][0]
    assert states(namespace)["After/go-on"] == "Succeeded"


def test_without_a_pod_the_hook_fails_and_may_be_let_pass(namespace: Namespace, node: Node) -> None:
    node.pod(namespace.name, "unready", ready=False)
    namespace.policy(hooks={"before": [hook("pause", onError="Continue")]})
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Succeeded")
    assert "HookPodNotFound" in status["hooks"][0]["message"]
    assert "none of 1 pods with app=chatbot is running and ready" in status["hooks"][0]["message"]
    assert "HookPodNotFound" in namespace.events("BackupRun", "now")
    assert node.run_in(namespace.name) == []


def test_a_hook_after_that_fails_leaves_a_backup(namespace: Namespace, node: Node) -> None:
    node.pod(namespace.name, "app")
    namespace.policy(hooks={"after": [hook("go-on", "false"), hook("tell")]})
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "PartiallySucceeded")
    assert (status["reason"], status["copies"]) == ("HookFailed", "1/1")
    assert states(namespace) == {"After/go-on": "Failed", "After/tell": "Succeeded"}
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "now"}}})
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")


def test_a_run_that_fails_lets_the_application_go_on(
    namespace: Namespace, node: Node, kubelet: Kubelet
) -> None:
    node.pod(namespace.name, "app")
    kubelet.behave(namespace.name, "sessions", failed(2, "DatabaseNotFound", "no such database"))
    namespace.policy(hooks={"before": [hook("pause")], "after": [hook("go-on")]})
    namespace.run("now")
    assert namespace.wait_phase("BackupRun", "now", "Failed")["reason"] == "DatabaseNotFound"
    assert states(namespace) == {"Before/pause": "Succeeded", "After/go-on": "Succeeded"}


def test_cancelled_while_a_hook_runs(namespace: Namespace, node: Node, tmp_path: Path) -> None:
    node.pod(namespace.name, "app")
    never = until(tmp_path / "never")
    namespace.policy(
        hooks={"before": [hook("pause", *never, timeout="1h")], "after": [hook("go-on", "echo", "on")]}
    )
    namespace.run("now")
    wait_for("the hook to run", lambda: node.run_in(namespace.name))
    namespace.patch("BackupRun", "now", {"spec": {"cancel": True}})
    status = namespace.wait_phase("BackupRun", "now", "Cancelled")
    assert states(namespace) == {"Before/pause": "Failed", "After/go-on": "Succeeded"}
    assert status["hooks"][0]["message"] == "given up: the run is cancelled"
    assert [each.words[0] for each in node.run_in(namespace.name)] == ["sh", "echo"]
    assert namespace.items("Job") == []


def test_overdue_while_a_hook_runs(namespace: Namespace, node: Node, tmp_path: Path) -> None:
    node.pod(namespace.name, "app")
    never = until(tmp_path / "never")
    namespace.policy(activeDeadline="2s", hooks={"before": [hook("pause", *never)], "after": [hook("go-on")]})
    namespace.run("now")
    assert namespace.wait_phase("BackupRun", "now", "Failed")["reason"] == "DeadlineExceeded"
    assert states(namespace) == {"Before/pause": "Failed", "After/go-on": "Succeeded"}


@pytest.mark.parametrize("kind", ["BackupRun", "BackupPolicy"])
def test_deleted_while_the_application_is_paused(
    namespace: Namespace, node: Node, kubelet: Kubelet, kind: str
) -> None:
    node.pod(namespace.name, "app")
    going = Runs()
    kubelet.behave(namespace.name, "sessions", going)
    namespace.policy(hooks={"before": [hook("pause")], "after": [hook("go-on", "echo", "on")]})
    namespace.run("now")
    wait_for("its pod", lambda: any(RUN in p["metadata"]["labels"] for p in namespace.items("Pod")))
    namespace.delete(kind, "now" if kind == "BackupRun" else "chatbot")
    if kind == "BackupPolicy":
        going.until.set()
        namespace.wait_phase("BackupRun", "now", "Succeeded")
    else:
        wait_for("it to be gone", lambda: not namespace.get("BackupRun", "now"))
        wait_for("its Jobs to be gone", lambda: not namespace.items("Job"))
    assert [each.words for each in node.run_in(namespace.name)] == [("true",), ("echo", "on")]


def test_a_connection_that_breaks_is_made_again(namespace: Namespace, node: Node) -> None:
    node.pod(namespace.name, "app")
    node.drops = 1
    namespace.policy(hooks={"before": [hook("pause")]})
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    assert len(node.run_in(namespace.name)) == 2


def test_hooks_that_take_long_hold_up_no_other_run(namespace: Namespace, node: Node, tmp_path: Path) -> None:
    node.pod(namespace.name, "app")
    enough = tmp_path / "enough"
    for number in range(10):
        namespace.policy(f"p{number}", hooks={"before": [hook("pause", *until(enough), timeout="1h")]})
        namespace.run(f"r{number}", f"p{number}")
    wait_for("all of them to run", lambda: len(node.run_in(namespace.name)) == 10)
    namespace.policy("quick")
    namespace.run("quick", "quick")
    namespace.wait_phase("BackupRun", "quick", "Succeeded")
    enough.touch()
    for number in range(10):
        namespace.wait_phase("BackupRun", f"r{number}", "Succeeded")
