"""What many runs cost that have ended, and many policies: requests and bytes, counted."""

import asyncio
import json
import time

import pytest
from tests.apiserver import ApiServer
from tests.controller.client import HOLDFAST, Client, Namespace, wait_for
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy, Request
from tests.machine import free_port

from holdfast.api.policy import BackupPolicy
from holdfast.controller.config import Config
from holdfast.controller.feed import PAGE
from holdfast.controller.health import Health
from holdfast.controller.queue import Key
from holdfast.controller.resync import TURNS
from holdfast.controller.watches import Watches
from holdfast.domain.backup.catalogue import places_of

RUNS, POLICIES = 500, 10
LISTED = 300
"""Policies: at four a second, which a limit of kopf's workers lets through, they take 75 seconds."""
PAST = "2026-01-01T02:00:00Z"


def _stored(client: Client, namespace: str, number: int) -> None:
    policy, path = f"p{number % POLICIES}", f"{HOLDFAST}/namespaces/{namespace}/backupruns"
    name = f"{policy}-{number}"
    body = {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "BackupRun",
        "metadata": {"name": name, "labels": {"holdfast.dev/policy": policy}},
        "spec": {"policyRef": {"name": policy}},
    }
    client.must("POST", path, body)
    artifact = {"destination": "primary", "uri": "s3://x", "sizeBytes": 1, "sha256": "a" * 64}
    target = {"name": "sessions", "engine": "redis", "phase": "Succeeded", "artifacts": [artifact]}
    status = {
        "phase": "Succeeded", "startTime": PAST, "completionTime": PAST, "recoveryPoint": PAST,
        "destinations": [{"name": "primary", "s3": {"bucket": "backups"}}], "targets": [target],
    }  # fmt: skip
    client.must("PATCH", f"{path}/{name}/status", {"status": status})


def _surveyed(namespace: Namespace, policy: str) -> None:
    """As if its destinations had just been surveyed."""
    places = places_of(BackupPolicy.from_object(namespace.get("BackupPolicy", policy)).spec.destinations)
    catalogue = {"nextSurveyTime": "2099-01-01T00:00:00Z", "places": places}
    namespace.patch("BackupPolicy", policy, {"status": {"catalogue": catalogue}}, subresource="/status")


def test_runs_that_have_ended_cost_a_list_now_and_then(
    control_plane: ApiServer, client: Client, namespace: Namespace
) -> None:
    for number in range(RUNS):
        _stored(client, namespace.name, number)
    for number in range(POLICIES):
        namespace.policy(f"p{number}", schedule="0 2 29 2 *")
        _surveyed(namespace, f"p{number}")
    root = f"{HOLDFAST}/namespaces/{namespace.name}"
    every_run = len(json.dumps(client.must("GET", f"{root}/backupruns")))
    with (
        ApiProxy(control_plane) as proxy,
        Operator(proxy.kubeconfig, WATCH_NAMESPACES=namespace.name, RESYNC="1s") as operator,
    ):

        def turns() -> int:
            lists = f"{root}/backuppolicies"
            return sum(each.path == lists and each.method == "GET" and not each.watch for each in requests())

        def requests() -> list[Request]:
            return proxy.requests[begun:]

        begun = 0
        wait_for("the first turns", lambda: turns() > TURNS)
        begun, before = len(proxy.requests), proxy.answered_bytes[f"{root}/backupruns"]
        wait_for("more turns", lambda: turns() > TURNS)
        assert operator.running
        asked = [each for each in requests() if not each.watch]
    paths = [each.path for each in asked]
    lists = paths.count(f"{root}/backupruns")
    assert [each for each in asked if each.writes] == []
    assert [path for path in paths if path.startswith(f"{root}/backupruns/") or path.endswith("/pods")] == []
    assert lists <= 2 * RUNS / PAGE
    assert sum(path.startswith(f"{root}/backuppolicies/") for path in paths) <= 2 * POLICIES
    assert proxy.answered_bytes[f"{root}/backupruns"] - before <= 2.1 * every_run
    assert len(asked) <= 6 * TURNS


async def test_event_behind_many_others_comes_at_once(
    control_plane: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(LISTED):
        namespace.policy(f"p{number}")
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    config = Config(namespaces=(namespace.name,), liveness_port=free_port())
    keys: set[Key] = set()
    watches = Watches(config, Health(time.monotonic), keys.add)
    running = asyncio.create_task(watches.run())
    async with asyncio.timeout(60):
        while not keys:  # noqa: ASYNC110 kopf tells of it in its own thread
            await asyncio.sleep(0.05)
        namespace.policy("later")
        while len(keys) < LISTED + 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert Key(BackupPolicy.plural, namespace.name, "later") in keys
    running.cancel()
    await asyncio.wait([running])
