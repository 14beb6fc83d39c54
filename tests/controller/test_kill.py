"""The operator is killed at every single write of a scheduled run; the run becomes the same as without."""

from collections import Counter

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace
from tests.controller.killer import KillAtEachWrite, Moment
from tests.controller.kubelet import Kubelet
from tests.controller.life import SLOT, come_due
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy

TARGETS = ("a", "b")


class Watcher:
    """Remembers every object of a namespace that ever was, by UID."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self.jobs: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.ends: list[tuple[str, str]] = []

    def look(self) -> None:
        """Take in what is there now."""
        path = f"/apis/batch/v1/namespaces/{self._namespace}/jobs?labelSelector=holdfast.dev/run"
        for job in self._client.must("GET", path)["items"]:
            self.jobs[job["metadata"]["uid"]] = job["metadata"]["name"]
        path = f"/apis/holdfast.dev/v1alpha1/namespaces/{self._namespace}/backupruns"
        for run in self._client.must("GET", path)["items"]:
            self.runs[run["metadata"]["uid"]] = run["metadata"]["name"]
            status = run.get("status", {})
            end = (status.get("phase", ""), status.get("completionTime", ""))
            if end[1] and end not in self.ends:
                self.ends.append(end)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_write(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, moment: Moment
) -> None:
    namespace = Namespace(client, control_plane.create_namespace("kill"))
    come_due(namespace, TARGETS)
    watcher = Watcher(client, namespace.name)

    def over() -> bool:
        watcher.look()
        expiring = all("ttlSecondsAfterFinished" in job["spec"] for job in namespace.items("Job"))
        known = namespace.status("BackupPolicy", "chatbot").get("lastSuccessfulTime")
        return len(watcher.ends) > 0 and expiring and bool(known)

    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=namespace.name) as operator,
    ):
        kill = KillAtEachWrite(operator, moment)
        proxy.treatment = kill
        kill.until(over)
    _check(namespace, watcher)
    # The run, three Jobs and their expiry, seven events, and the statuses of run and policy.
    assert len(kill.killed_at) >= 17, kill.killed_at


def _check(namespace: Namespace, watcher: Watcher) -> None:
    status = namespace.status("BackupRun", SLOT)
    assert status["phase"] == "Succeeded", status
    assert status["targetsSucceeded"] == "2/2"
    assert list(watcher.runs.values()) == [SLOT]
    assert len(watcher.jobs) == len(TARGETS) + 1, watcher.jobs
    assert len(watcher.ends) == 1, watcher.ends
    told = Counter(namespace.events("BackupRun", SLOT))
    wanted = {"Started": 1, "ReadFromReplica": 2, "TargetSucceeded": 2, "Committed": 1, "Succeeded": 1}
    assert told == wanted
    assert namespace.status("BackupPolicy", "chatbot")["lastScheduleTime"] == "2026-01-01T00:00:00Z"
