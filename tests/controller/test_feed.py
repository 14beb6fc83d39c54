"""The lists in memory beside a real API server: nothing missed, nothing old, whatever a request meets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.apiserver import ApiServer
from tests.controller.client import HOLDFAST, Client, Namespace
from tests.controller.proxy import ApiProxy, Passes, Request, refuse

from holdfast.api.run import BackupRun
from holdfast.controller import feed as feeds
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.errors import NotFoundError, TransientError
from holdfast.controller.feed import Feed
from holdfast.controller.health import Health
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.joblist import JobList
from holdfast.controller.work.known import At, Known
from holdfast.controller.work.runlist import RunList
from holdfast.domain import labels
from holdfast.domain.rows import RunRow


class Lists:
    """A list of runs, what it was told of, and the feed that tells it, by way of a proxy."""

    def __init__(self, cluster: Cluster, proxy: ApiProxy, interval: float) -> None:
        self.cluster = cluster
        self.proxy = proxy
        self.changes: list[tuple[RunRow | None, RunRow | None]] = []
        self.runs = RunList(cluster, lambda before, after: self.changes.append((before, after)))
        ((collection),) = cluster.collections(BackupRun).items()
        self.feed = Feed(cluster, Health(time.monotonic), interval, collection, self.runs)

    def names(self, namespace: Namespace) -> set[str]:
        """The runs that the list shows."""
        try:
            return {row.name for row in self.runs.of_policy(namespace.name, "chatbot")}
        except TransientError:
            return set()

    def requests(self, *, watch: bool) -> int:
        """How many lists, or watches, were asked for."""
        return sum(
            each.method == "GET" and each.path.endswith("/backupruns") and each.watch == watch
            for each in self.proxy.requests
        )


@asynccontextmanager
async def lists(
    server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch, interval: float = 3600
) -> AsyncIterator[Lists]:
    with ApiProxy(server) as proxy:
        monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        cluster = await Cluster.connect(Config(namespaces=(namespace.name,)))
        made = Lists(cluster, proxy, interval)
        task = asyncio.create_task(made.feed.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.wait([task])
            await cluster.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 nothing tells of it
            await asyncio.sleep(0.02)


def make(client: Client, namespace: Namespace, name: str) -> None:
    client.must(
        "POST",
        f"{HOLDFAST}/namespaces/{namespace.name}/backupruns",
        {
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": "BackupRun",
            "metadata": {"name": name},
            "spec": {"policyRef": {"name": "chatbot"}},
        },
    )


async def test_pages_and_a_watch_show_all_there_is(
    control_plane: ApiServer, client: Client, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "PAGE", 3)
    names = {f"run-{number}" for number in range(8)}
    for name in names:
        make(client, namespace, name)
    async with lists(control_plane, namespace, monkeypatch) as here:
        await until(lambda: here.names(namespace) == names)
        assert here.requests(watch=False) == 3
        assert here.changes == [], "the first list is no change"
        make(client, namespace, "later")
        await until(lambda: "later" in here.names(namespace))
        namespace.patch("BackupRun", "later", {"spec": {"cancel": True}})
        await until(lambda: any(row.is_cancelled for row in here.runs.unsettled()))
        client.must("DELETE", f"{HOLDFAST}/namespaces/{namespace.name}/backupruns/run-1")
        await until(lambda: here.names(namespace) == names - {"run-1"} | {"later"})
        assert here.requests(watch=False) == 3, "a watch tells of everything"


async def test_nothing_is_decided_before_the_first_list(
    control_plane: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_through = asyncio.Event()

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        return await passes() if let_through.is_set() else refuse(503, "ServiceUnavailable")

    with ApiProxy(control_plane) as proxy:
        proxy.treatment = treat
        monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        cluster = await Cluster.connect(Config(namespaces=(namespace.name,)))
        here = Lists(cluster, proxy, 3600)
        task = asyncio.create_task(here.feed.run())
        await until(lambda: here.requests(watch=False) > 2)
        with pytest.raises(TransientError, match="has not come yet"):
            here.runs.of_policy(namespace.name, "chatbot")
        let_through.set()
        await until(lambda: here.feed.tried.is_set() and here.requests(watch=True) > 0)
        assert here.runs.of_policy(namespace.name, "chatbot") == ()
        task.cancel()
        await asyncio.wait([task])
        await cluster.close()


async def watches_stall(request: Request, passes: Passes) -> web.StreamResponse:
    if request.watch:
        await asyncio.Event().wait()
    return await passes()


async def test_what_was_written_is_in_the_next_list_though_no_watch_says_so(
    control_plane: ApiServer, client: Client, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(client, namespace, "first")
    async with lists(control_plane, namespace, monkeypatch) as here:
        here.proxy.treatment = watches_stall
        await until(lambda: here.names(namespace) == {"first"})
        (row,) = here.runs.of_policy(namespace.name, "chatbot")
        run = await here.runs.read(row)
        await here.cluster.set_finalizers(run, ("holdfast.dev/data",))
        (row,) = here.runs.of_policy(namespace.name, "chatbot")
        assert row.finalizers == ("holdfast.dev/data",)
        run = await here.runs.read(row)
        await here.cluster.delete(run)
        (row,) = here.runs.of_policy(namespace.name, "chatbot")
        assert row.is_deleted
        await here.cluster.set_finalizers(await here.runs.read(row), ())
        with pytest.raises(NotFoundError):
            await here.runs.read(row)
        assert here.runs.of_policy(namespace.name, "chatbot") == ()


async def test_a_list_now_and_then_repairs_what_a_watch_lost(
    control_plane: ApiServer, client: Client, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(client, namespace, "goes")
    async with lists(control_plane, namespace, monkeypatch, interval=0.2) as here:
        here.proxy.treatment = watches_stall
        await until(lambda: here.names(namespace) == {"goes"})
        client.must("DELETE", f"{HOLDFAST}/namespaces/{namespace.name}/backupruns/goes")
        make(client, namespace, "comes")
        await until(lambda: here.names(namespace) == {"comes"})


@pytest.mark.parametrize("part", ["watch", "page"])
async def test_what_is_no_longer_kept_is_listed_anew(
    control_plane: ApiServer, client: Client, namespace: Namespace, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(feeds, "PAGE", 2)
    left = 2

    async def expire(request: Request, passes: Passes) -> web.StreamResponse:
        nonlocal left
        is_second_page = not request.watch and here_requests(proxy) > 1
        if left and (request.watch if part == "watch" else is_second_page):
            left -= 1
            return refuse(410, "Expired")
        return await passes()

    def here_requests(proxy: ApiProxy) -> int:
        return sum(each.path.endswith("/backupruns") and not each.watch for each in proxy.requests)

    names = {f"run-{number}" for number in range(3)}
    for name in names:
        make(client, namespace, name)
    with ApiProxy(control_plane) as proxy:
        proxy.treatment = expire
        monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        cluster = await Cluster.connect(Config(namespaces=(namespace.name,)))
        here = Lists(cluster, proxy, 3600)
        task = asyncio.create_task(here.feed.run())
        await until(lambda: left == 0 and here.names(namespace) == names)
        make(client, namespace, "later")
        await until(lambda: here.names(namespace) == names | {"later"})
        task.cancel()
        await asyncio.wait([task])
        await cluster.close()


async def test_a_cluster_that_was_set_back_is_noticed(
    control_plane: ApiServer, client: Client, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its versions begin again, and what is in memory would be newer than whatever comes."""

    async def set_back(request: Request, passes: Passes) -> web.StreamResponse:
        if request.watch or not request.path.endswith("/backupruns"):
            return await passes()
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    make(client, namespace, "first")
    with ApiProxy(control_plane) as proxy:
        monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig))
        cluster = await Cluster.connect(Config(namespaces=(namespace.name,)))
        here = Lists(cluster, proxy, 0.2)
        task = asyncio.create_task(here.feed.run())
        await until(lambda: here.names(namespace) == {"first"})
        proxy.treatment = set_back
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(task, 60)
        await cluster.close()
    assert ended.group_contains(RuntimeError, match="the cluster has gone to an earlier state")
    assert here.names(namespace) == {"first"}, "nothing is taken out by what came"


def test_an_older_word_never_replaces_a_newer_one() -> None:
    changes: list[tuple[str | None, str | None]] = []
    known = Known[str](lambda at, before, after: changes.append((before, after)))
    known.put(At("ns", "a", "1", 5), "newer")
    known.put(At("ns", "a", "1", 4), "older")
    known.put(At("ns", "a", "1", 5), "same")
    assert changes == [(None, "newer")]
    known.remove(At("ns", "a", "1", 0))
    known.put(At("ns", "a", "1", 9), "after its end")
    assert changes[1:] == [("newer", None)]
    known.put(At("ns", "a", "2", 12), "another of the name")
    known.remove(At("ns", "a", "1", 0))
    assert changes[2:] == [(None, "another of the name")]
    known.put(At("ns", "a", "3", 20), "its successor")
    assert changes[3:] == [("another of the name", None), (None, "its successor")]


def test_a_list_removes_what_it_does_not_show_but_not_what_is_newer() -> None:
    here: dict[str, str] = {}

    def changed(at: At, before: str | None, after: str | None) -> None:
        here.pop(at.name, None)
        if after is not None:
            here[at.name] = after

    known = Known[str](changed)
    for name in ("stays", "went"):
        known.put(At("ns", name, name, 1), name)
    known.put(At("other", "elsewhere", "e", 1), "elsewhere")
    known.begin("ns")
    known.put(At("ns", "stays", "stays", 1), "stays")
    known.put(At("ns", "comes", "comes", 9), "comes")
    known.end("ns", "7")
    assert set(here) == {"stays", "comes", "elsewhere"}


def test_a_job_concerns_its_owner_until_the_cluster_does_the_rest() -> None:
    told: list[Key] = []
    jobs = JobList(told.append)
    owner = Key("backupruns", "ns", "r")
    assert jobs.has_unsettled(owner, "ru"), "nobody knows yet"
    jobs.begin("")
    jobs.end("", "1")
    assert not jobs.has_unsettled(owner, "ru")

    def job(version: int, *, ttl: bool = False, **status: object) -> dict[str, object]:
        return {
            "metadata": {
                "name": "j", "namespace": "ns", "uid": "ju", "resourceVersion": str(version),
                "labels": {"holdfast.dev/run": "r", "holdfast.dev/policy": "p"},
                "ownerReferences": [{"uid": "ru", "controller": True}],
            },
            "spec": {"ttlSecondsAfterFinished": 1} if ttl else {},
            "status": status,
        }  # fmt: skip

    jobs.see(job(2))
    jobs.see(job(3, active=1))
    jobs.see(job(4, active=1, ready=1))
    assert told == [], "its owner has made it, and looks itself at how its pod starts"
    assert jobs.has_unsettled(owner, "ru")
    assert not jobs.has_unsettled(owner, "another run of the name")
    jobs.see(job(5, active=1, failed=1))
    assert told == [owner]
    ended: dict[str, Any] = {"conditions": [{"type": "Complete", "status": "True"}]}
    jobs.see(job(6, failed=1, **ended))
    assert (told, jobs.owners()) == ([owner] * 2, (owner,))
    jobs.see(job(7, failed=1, ttl=True, **ended))
    assert not jobs.has_unsettled(owner, "ru")
    assert jobs.owners() == ()
    jobs.lose(job(8, failed=1, ttl=True, **ended))
    assert told == [owner] * 2, "the cluster deletes it as was asked"


def test_a_job_that_somebody_deletes_or_that_ended_unseen_concerns_its_owner() -> None:
    told: list[Key] = []
    jobs = JobList(told.append)
    owner = Key("backupruns", "ns", "run")
    jobs.see(_job_body("a", "1"))
    jobs.lose(_job_body("a", "2"))
    assert told == [owner], "it went at once"
    jobs.see(_job_body("b", "3"))
    going = _job_body("b", "4")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    jobs.see(going)
    jobs.lose(going | {"metadata": going["metadata"] | {"resourceVersion": "5"}})
    assert told == [owner] * 3, "when it begins, and when it is gone"
    ended = _job_body("c", "6")
    ended["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    jobs.see(ended)
    assert told == [owner] * 4


def test_a_job_that_replaces_one_of_its_name_leaves_nothing_of_it() -> None:
    told: list[Key] = []
    jobs = JobList(told.append)
    for uid, version in (("a", "1"), ("b", "2")):
        jobs.see(_job_body(uid, version))
    assert jobs.owners() == (Key("backupruns", "ns", "run"),)
    jobs.lose(_job_body("b", "3"))
    assert jobs.owners() == ()


def _job_body(uid: str, version: str) -> dict[str, Any]:
    container = {"name": "runner", "env": []}
    return {
        "metadata": {
            "name": "j", "namespace": "ns", "uid": uid, "resourceVersion": version,
            "labels": {labels.RUN: "run", labels.COMPONENT: "Backup"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"template": {"spec": {"containers": [container]}}},
        "status": {},
    }  # fmt: skip


async def test_what_was_written_a_moment_ago_is_not_read_again_unless_somebody_changed_it(
    context: Context, namespace: Namespace
) -> None:
    clock = [0.0]
    runs = RunList(context.cluster, lambda _, __: None, lambda: clock[0])
    namespace.policy()
    namespace.run("now")

    async def write(message: str) -> BackupRun:
        run = await context.cluster.get(BackupRun, namespace.name, "now")
        status = run.status.model_copy(update={"message": message})
        return await context.cluster.write_status(run, status)

    written = await write("a moment ago")
    assert await runs.fetch(namespace.name, "now") is written
    assert await runs.fetch(namespace.name, "now") is not written, "once only"
    written = await write("too long ago")
    clock[0] = 1.0
    assert await runs.fetch(namespace.name, "now") is not written
    written = await write("before somebody else")
    namespace.patch("BackupRun", "now", {"spec": {"cancel": True}})
    runs.see(namespace.get("BackupRun", "now"))
    assert (await runs.fetch(namespace.name, "now")).spec.cancel


def test_a_job_that_somebody_relabels_holds_no_place_among_those_of_its_former_kind() -> None:
    jobs = JobList(lambda _: None)
    jobs.see(_job_body("a", "1"))
    relabelled = _job_body("a", "2")
    relabelled["metadata"]["labels"] |= {labels.COMPONENT: "Restore"}
    jobs.see(relabelled)
    assert (list(jobs.running("Backup")), len(list(jobs.running("Restore")))) == ([], 1)
    jobs.lose(relabelled | {"metadata": relabelled["metadata"] | {"resourceVersion": "3"}})
    assert list(jobs.running("Restore")) == []
