"""The operator is killed at each of its writes while it has a run verified."""

from collections import Counter

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace
from tests.controller.killer import KillAtEachWrite, Moment
from tests.controller.kubelet import Kubelet
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy
from tests.controller.test_verification import SLOT, YEARLY, jobs, policy, stored

from holdfast.domain.labels import RUN


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_write(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, moment: Moment
) -> None:
    """The slot came while no operator ran; one Job, one event, one verdict, whenever it dies."""
    namespace = Namespace(client, control_plane.create_namespace("kill-verify"))
    _prepare(namespace)
    uids: set[str] = set()

    def over() -> bool:
        uids.update(job["metadata"]["uid"] for job in jobs(namespace))
        return _settled(namespace) and bool(policy(namespace).get("lastVerifiedTime"))

    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=namespace.name) as operator,
    ):
        kill = KillAtEachWrite(operator, moment)
        proxy.treatment = kill
        kill.until(over)
    run = namespace.status("BackupRun", "one")
    assert (run["verification"]["phase"], run["verification"]["slot"]) == ("Succeeded", SLOT)
    assert len(uids) == 1
    assert Counter(namespace.events("BackupRun", "one"))["Verified"] == 1
    assert policy(namespace)["verificationHandled"] == SLOT
    # The mark, the policy's slot, the Job, the event, the verdict, the Job's expiry, what the policy knows.
    assert len(kill.killed_at) >= 7, kill.killed_at


def _prepare(namespace: Namespace) -> None:
    """A policy whose slot came while no operator ran, and a run that is stored."""
    namespace.policy(verification=YEARLY)
    known = {
        "observedGeneration": 1,
        "verificationScheduled": "0 0 1 1 * UTC",
        "verificationHandled": "2025-12-31T00:00:00Z",
    }
    namespace.patch("BackupPolicy", "chatbot", {"status": known}, subresource="/status")
    stored(namespace, "one")


def _settled(namespace: Namespace) -> bool:
    found = [job for job in namespace.items("Job") if RUN in job["metadata"]["labels"]]
    return len(found) == 1 and "ttlSecondsAfterFinished" in found[0]["spec"]
