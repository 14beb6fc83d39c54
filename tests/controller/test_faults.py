"""The API server refuses, stalls and drops; runs are completed all the same, and hangs show in the probe."""

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet
from tests.controller.process import Operator
from tests.controller.proxy import ApiProxy, Passes, Request, Treatment, pass_on, refuse
from tests.machine import free_port

from holdfast.controller.config import Config
from holdfast.controller.health import Health
from holdfast.controller.watches import Watches
from holdfast.domain.naming import job_name


@contextlib.contextmanager
def _operator_behind(
    control_plane: ApiServer, namespace: Namespace, treatment: Treatment, **settings: str
) -> Iterator[tuple[ApiProxy, Operator]]:
    with ApiProxy(control_plane) as proxy:
        proxy.treatment = treatment
        chosen: dict[str, Any] = {"WATCH_NAMESPACES": namespace.name, "RESYNC": "2s"} | settings
        with Operator(proxy.kubeconfig, **chosen) as operator:
            yield proxy, operator


def _refusing(status: int, reason: str) -> Treatment:
    """Refuse every eighth request that is no watch, on average."""
    chance = random.Random(status)

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        broken = not request.watch and chance.random() < 1 / 8
        return refuse(status, reason) if broken else await passes()

    return treat


def _dropping() -> Treatment:
    """Close the connection on every eighth request on average, before or after it has had its effect."""
    chance = random.Random(8)

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        if request.watch or chance.random() > 1 / 8:
            return await passes()
        if chance.random() < 0.5:
            await passes()
        raise ConnectionResetError

    return treat


async def _watches_gone(request: Request, passes: Passes) -> web.StreamResponse:
    return refuse(410, "Expired") if request.watch else await passes()


async def _watches_stalled(request: Request, passes: Passes) -> web.StreamResponse:
    """A connection that is open and silent for ever."""
    if request.watch:
        await asyncio.Event().wait()
    return await passes()


async def _hanging(request: Request, passes: Passes) -> web.StreamResponse:
    """A resync's lists are never answered."""
    if request.path.endswith("/backuppolicies") and not request.watch:
        await asyncio.Event().wait()
    return await passes()


@pytest.mark.parametrize(
    "treatment",
    [
        pytest.param(_refusing(401, "Unauthorized"), id="401"),
        pytest.param(_refusing(429, "TooManyRequests"), id="429"),
        pytest.param(_refusing(500, "InternalError"), id="500"),
        pytest.param(_dropping(), id="dropped"),
        pytest.param(_watches_gone, id="410"),
        pytest.param(_watches_stalled, id="stalled"),
    ],
)
def test_run_succeeds_all_the_same(
    control_plane: ApiServer, kubelet: Kubelet, namespace: Namespace, treatment: Treatment
) -> None:
    with _operator_behind(control_plane, namespace, treatment):
        namespace.policy(targets=("a", "b"))
        namespace.run("now")
        status = namespace.wait_phase("BackupRun", "now", "Succeeded", "Failed")
        # An event that was refused is written later than the status.
        wait_for("its event", lambda: namespace.events("BackupRun", "now").count("Succeeded") == 1)
    assert status["phase"] == "Succeeded", status
    assert len(namespace.items("Job")) == 3


def test_refused_request_is_not_taken_for_a_failure_of_the_run(
    control_plane: ApiServer, kubelet: Kubelet, namespace: Namespace
) -> None:
    """While the API server is away nothing is decided; once it is back the run goes on."""
    away = True

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        return refuse(503, "ServiceUnavailable") if away else await passes()

    namespace.policy()
    namespace.run("now")
    with _operator_behind(control_plane, namespace, treat) as (proxy, operator):
        wait_for("some requests to be refused", lambda: len(proxy.requests) > 10)
        assert namespace.status("BackupRun", "now") == {}
        assert operator.running
        away = False
        namespace.wait_phase("BackupRun", "now", "Succeeded")


def test_status_that_changed_meanwhile_is_read_again(
    control_plane: ApiServer, kubelet: Kubelet, namespace: Namespace
) -> None:
    """Somebody edits the run between the operator's reading and its writing."""
    edits = itertools.count()

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        if request.path.endswith("/backupruns/now/status") and next(edits) < 5:
            label = {"metadata": {"labels": {"edit": str(next(edits))}}}
            await asyncio.to_thread(namespace.patch, "BackupRun", "now", label)
        return await passes()

    with _operator_behind(control_plane, namespace, treat):
        namespace.policy()
        namespace.run("now")
        namespace.wait_phase("BackupRun", "now", "Succeeded")
    assert "edit" in namespace.get("BackupRun", "now")["metadata"]["labels"]


def test_liveness_turns_red_when_the_resync_hangs(control_plane: ApiServer, namespace: Namespace) -> None:
    settings = {"API_TIMEOUT": "1h", "RESYNC": "1s"}
    with _operator_behind(control_plane, namespace, pass_on, **settings) as (proxy, operator):
        operator.wait_live()
        proxy.treatment = _hanging
        wait_for("the probe to fail", lambda: operator.liveness() == 500)


def test_liveness_stays_green_while_the_api_server_refuses(
    control_plane: ApiServer, namespace: Namespace
) -> None:
    """Another operator could do no better."""
    with _operator_behind(control_plane, namespace, pass_on, RESYNC="1s") as (proxy, operator):
        operator.wait_live()
        proxy.treatment = _refusing_all
        before = len(proxy.requests)
        wait_for("fifteen refused resyncs", lambda: _lists(proxy, before) >= 12)
        assert operator.liveness() == 200
        said = [line for line in operator.log.splitlines() if " WARNING " in line or " ERROR " in line]
        assert len(said) <= 12, "a line for each kind of request, not for each request"


async def _refusing_all(request: Request, passes: Passes) -> web.StreamResponse:
    return refuse(503, "ServiceUnavailable")


def _lists(proxy: ApiProxy, since: int) -> int:
    return sum(each.path.endswith("/backuppolicies") and not each.watch for each in proxy.requests[since:])


async def test_nothing_of_ours_ends_with_kopf(
    control_plane: ApiServer,
    namespace: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever is begun while kopf runs, such as the command of a hook, outlives kopf's failure."""
    fails = threading.Event()

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        if not (request.watch and request.path.endswith("/backuppolicies")):
            return await passes()
        await asyncio.to_thread(fails.wait)
        return refuse(410, "Expired")

    namespace.policy()
    seen = asyncio.Event()
    with ApiProxy(control_plane) as proxy:
        proxy.treatment = treat
        monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        config = Config(namespaces=(namespace.name,), liveness_port=free_port())
        watches = Watches(config, Health(time.monotonic), lambda _: seen.set())
        running = asyncio.create_task(watches.run())
        await asyncio.wait_for(seen.wait(), 60)
        command = asyncio.create_task(asyncio.sleep(3600))
        fails.set()
        while caplog.text.count("the watches failed") < 2:  # noqa: ASYNC110 another thread logs it
            await asyncio.sleep(0.05)
        assert not command.done()
        assert not running.done()
        command.cancel()
        running.cancel()
        await asyncio.wait([running])


def test_job_of_somebody_else_is_left_alone(
    control_plane: ApiServer, client: Client, kubelet: Kubelet, namespace: Namespace
) -> None:
    """A Job that has the name of the run's and is not the run's own."""
    namespace.policy(targets=("a", "b"))
    namespace.run("now")
    name = job_name("now", namespace.get("BackupRun", "now")["metadata"]["uid"], "a")
    container = {"name": "other", "image": "other"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    foreign = {"metadata": {"name": name}, "spec": {"suspend": True, "template": template}}
    client.must("POST", f"/apis/batch/v1/namespaces/{namespace.name}/jobs", foreign)
    with _operator_behind(control_plane, namespace, pass_on):
        status = namespace.wait_phase("BackupRun", "now", "PartiallySucceeded", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("PartiallySucceeded", "JobNameTaken")
    assert namespace.get("Job", name)["spec"]["template"]["spec"]["containers"][0]["image"] == "other"
