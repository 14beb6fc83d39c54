"""The operator is killed at each write of a policy's deletion: all of the data goes all the same."""

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace
from tests.controller.killer import KillAtEachWrite, Moment
from tests.controller.kubelet import Kubelet
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy

from holdfast.protocol import PurgeTask


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_write(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, moment: Moment
) -> None:
    namespace = Namespace(client, control_plane.create_namespace("kill"))
    namespace.policy(deletionPolicy="Delete")
    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=namespace.name, RESYNC="5s") as operator,
    ):
        for name in ("one", "two"):
            namespace.run(name)
            namespace.wait_phase("BackupRun", name, "Succeeded")
        kill = KillAtEachWrite(operator, moment)
        proxy.treatment = kill
        namespace.delete("BackupPolicy", "chatbot")

        def over() -> bool:
            return not namespace.get("BackupPolicy", "chatbot") and not namespace.items("BackupRun")

        kill.until(over)
    tasks = [each for each in kubelet.tasks.values() if isinstance(each, PurgeTask)]
    assert {each.run for each in tasks if each.namespace == namespace.name} == {"one", "two"}
    # Of each run: its deletion, its mark, its Job, an event, its finalizer; and the policy's finalizer.
    assert len(kill.killed_at) >= 9, kill.killed_at
