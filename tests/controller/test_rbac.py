"""The operator with the rights that the chart gives it, and no others."""

import subprocess
from typing import Any

import pytest
import yaml
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet, Runs, Waits
from tests.controller.node import Node, hook
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy
from tests.machine import REPOSITORY, programs

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def rights(release: str, namespace: str, watched: str, *values: str) -> list[dict[str, Any]]:
    """The chart's ServiceAccount and roles."""
    (helm,) = programs("helm")
    command = [
        helm,
        "template",
        release,
        str(REPOSITORY / "charts" / "holdfast"),
        "--kube-version=1.34",
        "--namespace",
        namespace,
    ]
    only = ["--set", f"watchNamespaces={{{watched}}}"] if watched else []
    only += [f"--set={value}" for value in values]
    rendered = subprocess.run([*command, *only], check=True, stdout=subprocess.PIPE, text=True).stdout
    wanted = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    return [each for each in yaml.safe_load_all(rendered) if each and each["kind"] in wanted]


def apply(client: Client, manifests: list[dict[str, Any]]) -> str:
    """Create them; the name of the ServiceAccount."""
    account = ""
    for manifest in manifests:
        kind, metadata = manifest["kind"], manifest["metadata"]
        root = "/api/v1" if kind == "ServiceAccount" else RBAC
        within = "" if kind.startswith("Cluster") else f"/namespaces/{metadata['namespace']}"
        client.must("POST", f"{root}{within}/{kind.lower()}s", manifest)
        account = metadata["name"] if kind == "ServiceAccount" else account
    return account


@pytest.mark.parametrize("scope", ["all", "one"])
def test_the_charts_rights_are_enough(
    control_plane: ApiServer,
    client: Client,
    kubelet: Kubelet,
    namespace: Namespace,
    scope: str,
) -> None:
    home = control_plane.create_namespace("holdfast")
    watched = namespace.name if scope == "one" else ""
    account = apply(client, rights(f"r-{scope}", home, watched))
    settings: dict[str, Any] = {
        "POD_START_DEADLINE": "2s",
        "PROGRESS_INTERVAL": "1s",
    }
    with ApiProxy(control_plane) as proxy:
        kubeconfig = proxy.through(control_plane.kubeconfig_for(account, home))
        with Operator(kubeconfig, WATCH_NAMESPACES=watched, **settings):
            _use_everything(namespace, kubelet)
    forbidden = {
        f"{request.method} {request.path}" for request, status in proxy.refused if status in (401, 403)
    }
    assert forbidden == set()
    assert {request.method for request in proxy.requests} >= {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert [request for request in proxy.requests if "/secrets" in request.path] == []


@pytest.mark.parametrize("hooks", ["true", "false"])
def test_hooks_need_a_right_of_their_own(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, namespace: Namespace, node: Node, hooks: str
) -> None:
    home = control_plane.create_namespace("holdfast")
    account = apply(client, rights(f"h-{hooks}", home, namespace.name, f"operator.hooks={hooks}"))
    node.pod(namespace.name, "app")
    namespace.policy(hooks={"before": [hook("pause")], "after": [hook("go-on")]})
    with Operator(control_plane.kubeconfig_for(account, home), WATCH_NAMESPACES=namespace.name):
        namespace.run("now")
        status = namespace.wait_phase("BackupRun", "now", "Succeeded", "Failed")
        if hooks == "true":
            assert status["phase"] == "Succeeded", status
        else:
            assert status["reason"] == "HookFailed"
            assert "403" in status["message"]
            assert "operator.hooks must be true" in status["message"]
        # By the right to patch finalizers.
        wait_for("it to be free", lambda: "finalizers" not in namespace.get("BackupRun", "now")["metadata"])


def _use_everything(namespace: Namespace, kubelet: Kubelet) -> None:
    """A run that ends well and expires its Jobs, one that cannot start, progress, history, a restore."""
    namespace.policy(history={"failed": 0})
    going = Runs()
    kubelet.behave(namespace.name, "sessions", going)
    namespace.run("good")
    wait_for("its pod to run", lambda: any(p["status"]["phase"] == "Running" for p in namespace.items("Pod")))
    wait_for("its target to run", lambda: _target(namespace, "good") == "Running")
    going.until.set()
    namespace.wait_phase("BackupRun", "good", "Succeeded")
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "good"}}})
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    kubelet.behave(namespace.name, "sessions", Waits("", "no such secret", event="FailedMount"))
    namespace.run("stuck")
    namespace.wait_phase("BackupRun", "stuck", "Failed")

    def pods() -> list[str | None]:
        return [pod["metadata"]["labels"].get("holdfast.dev/run") for pod in namespace.items("Pod")]

    wait_for("its pod to go", lambda: "stuck" not in pods())
    namespace.run("next")
    wait_for("it to be cleared away and deleted as history", lambda: not namespace.get("BackupRun", "stuck"))


def _target(namespace: Namespace, run: str) -> str | None:
    targets = namespace.status("BackupRun", run).get("targets") or [{}]
    phase: str | None = targets[0].get("phase")
    return phase
