"""Events that cannot be written hold nothing up, and are written once they can be."""

import asyncio

import pytest
from aiohttp import web
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy, Passes, Request, refuse


@pytest.mark.parametrize("is_silent", [False, True], ids=["500", "no answer"])
def test_a_run_succeeds_while_no_event_can_be_written(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, namespace: Namespace, is_silent: bool
) -> None:
    is_out = True
    other = Namespace(client, control_plane.create_namespace("other"))

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        if not is_out or not request.path.endswith(f"/{namespace.name}/events") or not request.writes:
            return await passes()
        if is_silent:
            await asyncio.sleep(3600)
        return refuse(500, "InternalError")

    with ApiProxy(control_plane) as proxy:
        proxy.treatment = treat
        with Operator(proxy.kubeconfig, WATCH_NAMESPACES=f"{namespace.name},{other.name}") as operator:
            namespace.policy()
            namespace.run("now")
            namespace.wait_phase("BackupRun", "now", "Succeeded")
            assert namespace.events("BackupRun", "now") == []
            other.policy()
            wait_for("the other namespace's", lambda: other.events("BackupPolicy", "chatbot"))
            is_out = False
            wait_for("its last event", lambda: "Succeeded" in namespace.events("BackupRun", "now"))
            written = namespace.events("BackupRun", "now")
            assert written.index("Started") < written.index("Committed") < written.index("Succeeded")
            assert operator.log.count("events cannot be written at the moment") == 1
