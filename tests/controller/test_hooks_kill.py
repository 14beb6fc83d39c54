"""The operator is killed while hooks run: they are run again, and the application does not stay paused."""

from functools import partial
from pathlib import Path

from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet
from tests.controller.node import Node, hook, until
from tests.controller.process import Operator


def test_killed_while_a_hook_runs_it_is_run_again(
    control_plane: ApiServer, client: Client, node: Node, kubelet: Kubelet, tmp_path: Path
) -> None:
    namespace = Namespace(client, control_plane.create_namespace("test"))
    node.pod(namespace.name, "app")
    paused, resumed = tmp_path / "paused", tmp_path / "resumed"
    hooks = {"before": [hook("pause", *until(paused))], "after": [hook("go-on", *until(resumed))]}
    namespace.policy(hooks=hooks)
    with Operator(control_plane.kubeconfig, WATCH_NAMESPACES=namespace.name) as own:
        namespace.run("now")
        for number, file in ((1, paused), (3, resumed)):
            wait_for("the command", partial(_ran, node, namespace, number))
            own.kill()
            own.start()
            wait_for("it again", partial(_ran, node, namespace, number + 1))
            file.touch()
        status = namespace.wait_phase("BackupRun", "now", "Succeeded")
    assert [(each["name"], each["phase"]) for each in status["hooks"]] == [
        ("pause", "Succeeded"), ("go-on", "Succeeded"),
    ]  # fmt: skip


def _ran(node: Node, namespace: Namespace, times: int) -> bool:
    return len(node.run_in(namespace.name)) == times
