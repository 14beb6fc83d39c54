"""Odd objects in one namespace cost another one no slot and the operator no restart, and each is answered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.apiserver import DEFAULT_CONTROLLERS, ApiServer
from tests.controller.client import HOLDFAST, Client, Namespace, wait_for
from tests.controller.hostile import Odd, newer_definitions, table
from tests.controller.kubelet import Kubelet
from tests.controller.process import Operator

PLURALS = {"BackupPolicy": "backuppolicies", "BackupRun": "backupruns", "RestoreRequest": "restorerequests"}
SINCE = "2025-12-31T12:00:00Z"
EVERY = 12
"""Objects of the table between two slots of the other namespace."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """As always, but with the definitions of a newer release."""
    with ApiServer(controllers=DEFAULT_CONTROLLERS) as started:
        started.install_crds(newer_definitions(tmp_path_factory.mktemp("crds")))
        yield started


def test_odd_objects_cost_no_slot_and_each_is_answered(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, tmp_path: Path
) -> None:
    good = Namespace(client, control_plane.create_namespace("good"))
    odd = Namespace(client, control_plane.create_namespace("odd"))
    odd.policy("odd", history={"failed": 1000, "succeeded": 1000})
    objects = {f"odd-{number}": each for number, each in enumerate(table())}
    assert len(objects) >= 60
    with Operator(control_plane.kubeconfig, RESYNC="5s") as operator:
        slots = []
        for number, (name, each) in enumerate(objects.items()):
            _apply(client, odd, name, each)
            if number % EVERY == 0:
                slots.append(_come_due(good, f"every-{number}"))
        slots.append(_come_due(good, "last"))
        for run in slots:
            assert good.wait_phase("BackupRun", run, "Succeeded", "Failed", "Missed")["phase"] == "Succeeded"
        answers = wait_for("every object to be answered", lambda: _answers(odd, objects))
        assert operator.running
        assert "Traceback" not in operator.log, operator.log[operator.log.index("Traceback") - 500 :][:4000]
        assert operator.log.count("handled and is retried") == 0
    _check_newer(odd, objects, answers)


def _apply(client: Client, namespace: Namespace, name: str, odd: Odd) -> None:
    path = f"{HOLDFAST}/namespaces/{namespace.name}/{PLURALS[odd.kind]}"
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": odd.kind, "spec": odd.spec}
    made = client.must("POST", path, body | {"metadata": {"name": name} | odd.metadata})
    while odd.status is not None:  # the operator writes it too
        at = f"{path}/{made['metadata']['name']}"
        code, answer = client.request("PUT", f"{at}/status", made | {"status": odd.status})
        if code != 409:
            assert code == 200, answer
            return
        made = client.must("GET", at)


def _come_due(namespace: Namespace, name: str) -> str:
    """A policy whose slot came a moment ago; the name of the slot's run."""
    namespace.policy(name, schedule="0 0 1 1 *")
    status = {"observedGeneration": 1, "scheduled": "0 0 1 1 * UTC", "scheduledSince": SINCE}
    namespace.patch("BackupPolicy", name, {"status": status}, subresource="/status")
    return f"{name}-202601010000"


def _answers(namespace: Namespace, objects: dict[str, Odd]) -> dict[str, Any] | None:
    found = {
        each["metadata"]["name"]: each.get("status", {}) for kind in PLURALS for each in namespace.items(kind)
    }
    names = {odd.metadata.get("name", name): odd for name, odd in objects.items()}
    silent = [name for name, odd in names.items() if not _says(odd.kind, found[name])]
    return None if silent else found


def _says(kind: str, status: dict[str, Any]) -> bool:
    if kind == "BackupPolicy":
        return any(
            each["type"] == "Ready" and each["reason"] != "Elsewhere" for each in status.get("conditions", ())
        )
    return bool(status.get("phase"))


def _check_newer(namespace: Namespace, objects: dict[str, Odd], answers: dict[str, Any]) -> None:
    """What a newer release has written stays, and what is not understood says so."""
    for name, odd in objects.items():
        status = answers.get(name, {})
        if odd.spec.get("trigger") == "Event" or odd.spec.get("mode") == "Copy":
            assert (status["phase"], status["reason"]) == ("Pending", "NotUnderstood"), status
        if (odd.status or {}).get("phase") in ("Sealing", "Copying"):
            assert (status["phase"], status["reason"]) == (odd.status["phase"], "NotUnderstood"), status
        if odd.spec.get("catchUp") == "Some":
            assert status["conditions"][0]["reason"] == "NotUnderstood", status
            assert "spec.catchUp" in status["conditions"][0]["message"]
        for field in ("sealed", "newer", "health", "shards"):
            if field in (odd.status or {}):
                assert status[field] == odd.status[field], (name, status)
