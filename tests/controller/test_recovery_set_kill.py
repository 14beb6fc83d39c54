"""The operator is killed at each write of a set that is staged, half put in place and taken back again."""

from collections import Counter

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace
from tests.controller.killer import KillAtEachWrite, Moment
from tests.controller.kubelet import Kubelet, failed
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy

from holdfast.protocol import DiscardTask, RestoreTask, SwapTask


@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.long), "after"])
def test_killed_at_every_write(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, moment: Moment
) -> None:
    namespace = Namespace(client, control_plane.create_namespace("kill"))
    namespace.policy(targets=("a", "b"))
    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=namespace.name, RESYNC="5s") as operator,
    ):
        namespace.run("now")
        namespace.wait_phase("BackupRun", "now", "Succeeded")
        kubelet.behave(namespace.name, "Swap b", failed(2, "CollectionExists", "docs was made meanwhile"))
        kill = KillAtEachWrite(operator, moment)
        proxy.treatment = kill
        namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "now"}}})

        def over() -> bool:
            request = namespace.get("RestoreRequest", "back")
            has_ended = "completionTime" in request.get("status", {})
            return has_ended and not request["metadata"].get("finalizers")

        kill.until(over)
    status = namespace.status("RestoreRequest", "back")
    assert (status["phase"], status["reason"]) == ("Failed", "CollectionExists"), status
    assert [target["copyState"] for target in status["targets"]] == ["Discarded", "Discarded"]
    assert status["rollback"].startswith("undone: what target a had in place already is deleted again")
    tasks = [
        f"{task.kind} {task.target}"
        for task in kubelet.tasks.values()
        if isinstance(task, RestoreTask | SwapTask | DiscardTask) and task.namespace == namespace.name
    ]
    assert Counter(tasks) == Counter(
        f"{kind} {name}" for kind in ("Restore", "Swap", "Discard") for name in "ab"
    )
    # The start, the finalizer, six Jobs, two events of each target, the end, and the statuses in between.
    assert len(kill.killed_at) >= 16, kill.killed_at
