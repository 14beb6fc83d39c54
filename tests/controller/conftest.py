"""A real control plane with real controllers, a played node, and the real operator."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.apiserver import DEFAULT_CONTROLLERS, ApiServer
from tests.controller.client import Client, Namespace
from tests.controller.kubelet import Kubelet
from tests.controller.node import Node
from tests.controller.process import Operator
from tests.controller.sweep import sweep
from tests.controller.watch import Pods

from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.feed import Feed
from holdfast.controller.health import Health
from holdfast.controller.queue import Key, Queue
from holdfast.controller.reporter import Reporter
from holdfast.controller.scheduler import Scheduler
from holdfast.controller.wakes import Wakes
from holdfast.controller.work.context import Context
from holdfast.controller.work.joblist import JobList
from holdfast.controller.work.permits import Permits
from holdfast.controller.work.runlist import RunList


@pytest.fixture(scope="session")
def servers() -> Iterator[ApiServer]:
    """etcd, kube-apiserver and the controllers that Jobs need, with the three kinds."""
    with ApiServer(controllers=DEFAULT_CONTROLLERS) as started:
        started.install_crds()
        yield started


@pytest.fixture(scope="module")
def client(servers: ApiServer) -> Iterator[Client]:
    """For the tests."""
    with contextlib.closing(Client(servers)) as connected:
        yield connected


@pytest.fixture(scope="module")
def control_plane(servers: ApiServer, client: Client) -> Iterator[ApiServer]:
    """The servers, with nothing on them that an operator or a node would act upon."""
    yield servers
    sweep(client)


@pytest.fixture(scope="module")
def kubelet(control_plane: ApiServer) -> Iterator[Kubelet]:
    """Pods end well unless a test says otherwise."""
    with (
        contextlib.closing(Client(control_plane)) as own,
        Pods(control_plane) as pods,
        Kubelet(own, pods) as played,
    ):
        yield played


@pytest.fixture(scope="module")
def node(control_plane: ApiServer, client: Client) -> Iterator[Node]:
    """Where the application's pods run."""
    with Node(control_plane, client) as played:
        yield played


@pytest.fixture
def namespace(control_plane: ApiServer, client: Client) -> Namespace:
    """A new one for each test."""
    return Namespace(client, control_plane.create_namespace("test"))


@pytest.fixture(scope="module")
def operator(control_plane: ApiServer, kubelet: Kubelet) -> Iterator[Operator]:
    """One operator for all tests of a module that leave it alone; it sees all namespaces."""
    # Long enough that what holds a pod up is seen before the run fails by it, on a busy machine too.
    settings = {"POD_START_DEADLINE": "8s", "PROGRESS_INTERVAL": "1s"}
    with Operator(control_plane.kubeconfig, fresh=True, **settings) as process:
        process.wait_live()
        yield process


@asynccontextmanager
async def context_by(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, *namespaces: str
) -> AsyncIterator[Context]:
    """As the operator makes it, without its loops: for a reconcile in this process."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    config = Config(namespaces=namespaces)
    cluster = await Cluster.connect(config)

    def now() -> datetime:
        return datetime.now(UTC)

    async def handle(_: Key) -> None:
        return None

    health = Health(time.monotonic)
    queue = Queue(handle, health)
    scheduler = Scheduler(queue, health, now)
    reporter = Reporter(cluster, now)
    runs, jobs = RunList(cluster, Wakes(queue).run_changed), JobList(queue.add)
    permits = Permits(jobs, queue, config)
    made = Context(cluster, config, queue, reporter, scheduler, now, time.monotonic, runs, jobs, permits)
    try:
        await list_again(made)
        yield made
    finally:
        await cluster.close()


@pytest.fixture
async def context(control_plane: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Context]:
    """One that talks to the API server itself."""
    async with context_by(control_plane.kubeconfig, monkeypatch) as made:
        yield made


async def list_again(context: Context) -> None:
    """Have the lists in memory show what there is now."""
    for collection in context.cluster.collections(BackupRun).items():
        await Feed(context.cluster, Health(time.monotonic), 1, collection, context.runs).list()
