"""Reconciles in this process, on a real API server: steps that a whole operator seldom takes."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, policy_spec
from tests.controller.conftest import context_by, list_again
from tests.controller.proxy import ApiProxy, Passes, Request, refuse
from tests.controller.remembering import RememberingQueue
from tests.controller.test_claims import BUCKET, mount, volume

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun, BackupRunStatus, RunPhase
from holdfast.controller.errors import ForbiddenError
from holdfast.controller.health import Health
from holdfast.controller.jobs.kinds import Permit
from holdfast.controller.queue import Key
from holdfast.controller.reconcilers.policies import Policies
from holdfast.controller.reconcilers.restores import Restores
from holdfast.controller.reconcilers.runs import Runs
from holdfast.controller.resync import Resync
from holdfast.controller.work.admissions import Admissions
from holdfast.controller.work.context import Context
from holdfast.controller.work.retention import Retention
from holdfast.domain import labels
from holdfast.domain.run.lifecycle import RunStep
from holdfast.domain.step import Step, updated
from holdfast.domain.turns import share_of
from holdfast.protocol import (
    TASK,
    BackupTask,
    CommitTask,
    ListedTarget,
    LookupResult,
    PurgeResult,
    Task,
)

MOMENT = "2026-01-01T02:00:00Z"
LATER = "2096-01-01T02:00:00Z"
SHA = "a" * 64


def target(name: str, phase: str = "Succeeded", *destinations: str) -> dict[str, Any]:
    """The status of a target, stored in these destinations."""
    artifacts = [
        {"destination": where, "uri": "s3://x", "sizeBytes": 1, "sha256": SHA} for where in destinations
    ]
    stored = {"artifacts": artifacts, "manifestSha256": SHA, "snapshotTime": MOMENT} if artifacts else {}
    return {"name": name, "engine": "redis", "phase": phase, "job": f"played-{name}"} | stored


def given(namespace: Namespace, name: str, status: dict[str, Any], **metadata: Any) -> Key:
    """A run in this state."""
    metadata = {"labels": {labels.POLICY: "chatbot"}} | metadata
    namespace.create("BackupRun", name, {"policyRef": {"name": "chatbot"}}, **metadata)
    namespace.patch("BackupRun", name, {"status": status}, subresource="/status")
    return Key(BackupRun.plural, namespace.name, name)


def stored(*destinations: str, **fields: Any) -> dict[str, Any]:
    """The status of a run that succeeded."""
    return {
        "phase": "Succeeded", "startTime": MOMENT, "completionTime": MOMENT, "recoveryPoint": MOMENT,
        "destinations": [BUCKET, volume(required=False)][: len(destinations)],
        "targets": [target("sessions", "Succeeded", *destinations)],
    } | fields  # fmt: skip


async def until(what: str, step: Callable[[], Awaitable[Any]], condition: Callable[[], Any]) -> Any:
    """Take steps until the condition holds; its value."""
    async with asyncio.timeout(60):
        while not (value := condition()):
            await step()
            await asyncio.sleep(0.02)
    return value


async def tasks(context: Context, namespace: Namespace, run: str) -> list[Task]:
    """The Tasks of a run's Jobs."""
    jobs = await context.cluster.jobs(namespace.name, {labels.RUN: run})
    return [TASK.validate_json(job.task) for job in jobs]


@asynccontextmanager
async def proxied(
    server: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Context, ApiProxy]]:
    """A context of this namespace alone, whose requests can be broken."""
    with ApiProxy(server) as proxy:
        async with context_by(proxy.kubeconfig, monkeypatch, namespace.name) as context:
            yield context, proxy


def refusing(run: str) -> Any:
    """Nobody may write the status of this run."""

    async def treat(request: Request, passes: Passes) -> web.StreamResponse:
        is_status = request.method == "PUT" and request.path.endswith(f"/{run}/status")
        return refuse(403, "Forbidden") if is_status else await passes()

    return treat


class TestClaims:
    """An optional destination whose claim is mounted between a run's start and its commit."""

    async def test_a_target_that_has_no_job_yet_is_not_written_there(
        self, context: Context, client: Client, namespace: Namespace
    ) -> None:
        namespace.policy(targets=("a", "b"), destinations=[BUCKET, volume(required=False)])
        namespace.claim("data")
        namespace.run("now")
        await list_again(context)
        key, runs = Key(BackupRun.plural, namespace.name, "now"), Runs(context)

        def status() -> dict[str, Any]:
            return namespace.status("BackupRun", "now")

        await until("start", lambda: runs.reconcile(key), lambda: status().get("phase") == "Running")
        mount(client, namespace, "postgres-0")
        await until("jobs", lambda: runs.reconcile(key), lambda: len(namespace.items("Job")) == 2)
        for task in await tasks(context, namespace, "now"):
            assert isinstance(task, BackupTask)
            assert [one.name for one in task.destinations] == ["primary"]
        assert "pod postgres-0 mounts claim data" in status()["overQuota"]["nearby"]
        assert [one["phase"] for one in status()["targets"]] == ["Pending", "Pending"]
        assert namespace.events("BackupRun", "now").count("ClaimMounted") == 1

    async def test_the_commit_leaves_it_out_and_works_on_in_the_others(
        self, context: Context, client: Client, namespace: Namespace
    ) -> None:
        both = [BUCKET, volume(required=False)]
        namespace.policy(destinations=both, retention={"keepLast": 1})
        for day, name in enumerate(("old", "newer", "newest"), 1):
            point = f"2026-01-0{day}T02:00:00Z"
            given(namespace, name, stored("primary", "nearby", recoveryPoint=point))
        shown = [
            {"destination": name, "delete": [{"run": "old", "since": MOMENT}]}
            for name in ("primary", "nearby")
        ]
        plan = {"retentionPlan": {"time": MOMENT, "destinations": shown}}
        namespace.patch("BackupPolicy", "chatbot", {"status": plan}, subresource="/status")
        committing = stored("primary", "nearby", phase="Committing", settings={}, retentionPlanTime=MOMENT)
        del committing["completionTime"], committing["recoveryPoint"]
        key = given(namespace, "now", committing | {"deadline": "2096-01-01T00:00:00Z"})
        mount(client, namespace, "postgres-0")
        await list_again(context)
        runs = Runs(context)
        await until("a Job", lambda: runs.reconcile(key), lambda: namespace.items("Job"))
        (task,) = await tasks(context, namespace, "now")
        assert isinstance(task, CommitTask)
        assert [one.name for one in task.destinations] == ["primary"]
        assert [(one.destination, [held.run for held in one.delete]) for one in task.retention] == [
            ("primary", ["old"])
        ]
        assert "pod postgres-0" in namespace.status("BackupRun", "now")["overQuota"]["nearby"]
        marked = namespace.status("BackupRun", "old")["expiring"]
        assert [copy["destination"] for copy in marked] == ["primary"]

    async def test_no_target_is_backed_up_to_nowhere(
        self, context: Context, client: Client, namespace: Namespace
    ) -> None:
        namespace.policy(targets=("a", "b"), destinations=[volume(required=False)])
        namespace.run("now")
        await list_again(context)
        key, runs = Key(BackupRun.plural, namespace.name, "now"), Runs(context)

        def phase() -> str:
            return str(namespace.status("BackupRun", "now").get("phase"))

        await until("start", lambda: runs.reconcile(key), lambda: phase() == "Running")
        mount(client, namespace, "postgres-0")
        await until("the end", lambda: runs.reconcile(key), lambda: phase() == "Failed")
        status = namespace.status("BackupRun", "now")
        assert [each["failure"]["reason"] for each in status["targets"]] == ["ClaimMounted"] * 2
        assert "no destination is left to write to: destinations[nearby]" in status["message"]
        assert namespace.items("Job") == []

    @pytest.mark.parametrize("required", [True, False])
    async def test_the_commit_waits_where_none_is_left(
        self, context: Context, client: Client, namespace: Namespace, required: bool
    ) -> None:
        only = volume(required=required)
        namespace.policy(destinations=[only])
        committing = stored("nearby", phase="Committing", settings={}, destinations=[only])
        del committing["completionTime"], committing["recoveryPoint"]
        key = given(namespace, "now", committing | {"deadline": "2096-01-01T00:00:00Z"})
        mount(client, namespace, "postgres-0")
        await list_again(context)
        runs = Runs(context)

        def reason() -> bool:
            return namespace.status("BackupRun", "now").get("reason") == "ClaimMounted"

        await until("it to wait", lambda: runs.reconcile(key), reason)
        assert await runs.reconcile(key)
        assert namespace.status("BackupRun", "now")["phase"] == "Committing"
        assert namespace.items("Job") == []


class TestPermits:
    """What waits for a permit says so, has no Job, and goes on when a Job of its kind has ended."""

    @staticmethod
    def job(namespace: Namespace, component: str, number: int, **status: Any) -> dict[str, Any]:
        """One of many Jobs that somebody else's objects have in the namespace."""
        metadata = {
            "namespace": namespace.name, "name": f"other-{number}", "uid": f"{namespace.name}-{number}",
            "resourceVersion": "2" if status else "1",
            "labels": {labels.RUN: f"other-{number}", labels.COMPONENT: component},
        }  # fmt: skip
        return {"metadata": metadata, "spec": {}, "status": status}

    def fill(self, context: Context, namespace: Namespace, component: str, permit: Permit) -> None:
        for number in range(share_of(permit.limit(context.config))):
            context.jobs.see(self.job(namespace, component, number))

    def free_one(self, context: Context, namespace: Namespace, component: str, number: int = 0) -> None:
        ended = {"conditions": [{"type": "Complete", "status": "True"}]}
        context.jobs.see(self.job(namespace, component, number, **ended))

    async def test_a_deletion(self, context: Context, namespace: Namespace) -> None:
        key, runs = TestPurge.deleted(namespace), Runs(context)
        self.fill(context, namespace, "Purge", Permit.PURGE)

        def waits() -> bool:
            return "as number 1 of 1" in namespace.status("BackupRun", "one").get("message", "")

        await until("it to wait", lambda: runs.reconcile(key), waits)
        assert namespace.items("Job") == []
        self.free_one(context, namespace, "Purge")
        await until("its Job", lambda: runs.reconcile(key), lambda: namespace.items("Job"))

    async def test_a_restore(self, context: Context, namespace: Namespace) -> None:
        given(namespace, "one", stored("primary"))
        namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "one"}}})
        key, restores = Key(RestoreRequest.plural, namespace.name, "back"), Restores(context)
        self.fill(context, namespace, "Restore", Permit.RESTORE)

        def status() -> dict[str, Any]:
            return namespace.status("RestoreRequest", "back")

        def waits() -> bool:
            return bool(status().get("reason") == "WaitingForCapacity")

        await until("it to wait", lambda: restores.reconcile(key), waits)
        assert (status()["phase"], namespace.items("Job")) == ("Pending", [])
        assert "as number 1 of 1: at most 50 Jobs of restores run at once" in status()["message"]
        self.free_one(context, namespace, "Restore")
        await until("its lookup", lambda: restores.reconcile(key), lambda: namespace.items("Job"))
        assert status()["reason"] == "LookingUp"

    async def waiting(
        self, context: Context, namespace: Namespace, jobs: int
    ) -> Callable[[], Awaitable[Any]]:
        """A step of the request `back`, whose targets a and b wait but for those that have these Jobs."""
        namespace.policy(targets=("a", "b"))
        both = [target(name, "Succeeded", "primary") for name in "ab"]
        given(namespace, "one", stored("primary", startTime=LATER, policyGeneration=1, targets=both))
        namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "one"}}})
        key, restores = Key(RestoreRequest.plural, namespace.name, "back"), Restores(context)
        self.fill(context, namespace, "Restore", Permit.RESTORE)
        for number in range(jobs):
            self.free_one(context, namespace, "Restore", number)

        def waits() -> bool:
            status = namespace.status("RestoreRequest", "back")
            is_waiting = status.get("reason") == "WaitingForCapacity"
            return is_waiting and len(namespace.items("Job")) == jobs

        await until("it to wait", lambda: restores.reconcile(key), waits)
        return lambda: restores.reconcile(key)

    async def test_a_restore_under_way_outlives_its_run(self, context: Context, namespace: Namespace) -> None:
        step = await self.waiting(context, namespace, 1)
        namespace.delete("BackupRun", "one")
        self.free_one(context, namespace, "Restore", 1)

        def failures() -> list[str]:
            targets = namespace.status("RestoreRequest", "back")["targets"]
            return [each["failure"]["reason"] for each in targets if "failure" in each]

        assert await until("the end of b", step, failures) == ["RunNotFound"]
        status = namespace.status("RestoreRequest", "back")
        assert (status["phase"], [t["phase"] for t in status["targets"]]) == (
            "Running",
            ["Running", "Failed"],
        )
        assert len(namespace.items("Job")) == 1

    async def test_a_restore_that_waits_outlives_its_policy(
        self, context: Context, client: Client, namespace: Namespace
    ) -> None:
        step = await self.waiting(context, namespace, 0)
        namespace.delete("BackupPolicy", "chatbot")
        for number in (0, 1):
            self.free_one(context, namespace, "Restore", number)
        (pod,) = await until("a pod", step, lambda: namespace.items("Pod"))
        status = namespace.status("RestoreRequest", "back")
        assert (status["phase"], status["reason"]) == ("Running", "LookingUp")
        assert [each["phase"] for each in status["targets"]] == ["Pending", "Pending"]
        spec = {"host": {"name": "redis", "port": 6379}}
        listed = tuple(ListedTarget(name=name, engine="redis", spec=spec) for name in "ab")
        found = LookupResult(
            policy="chatbot", run="one", recovery_point=datetime.fromisoformat(MOMENT), targets=listed
        )
        end_runner(client, namespace, pod, found.model_dump_json(by_alias=True))
        for number in (2, 3):
            self.free_one(context, namespace, "Restore", number)
        await until("its Jobs", step, lambda: len(namespace.items("Job")) == 3)
        status = namespace.status("RestoreRequest", "back")
        assert (status["phase"], [t["phase"] for t in status["targets"]]) == ("Running", ["Pending"] * 2)

    async def test_a_survey(self, context: Context, namespace: Namespace) -> None:
        namespace.policy()
        key, policies = Key(BackupPolicy.plural, namespace.name, "chatbot"), Policies(context)
        self.fill(context, namespace, "Survey", Permit.SURVEY)

        def reachable() -> str:
            conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
            return next((one["reason"] for one in conditions if one["type"] == "DestinationsReachable"), "")

        await until("it to wait", lambda: policies.reconcile(key), reachable)
        assert (reachable(), namespace.surveys()) == ("WaitingForCapacity", [])
        self.free_one(context, namespace, "Survey")
        await until("its Job", lambda: policies.reconcile(key), namespace.surveys)


class TestPurge:
    """The deletion of a run's data, and pods that do not end."""

    @staticmethod
    def deleted(namespace: Namespace) -> Key:
        namespace.policy(deletionPolicy="Delete")
        key = given(namespace, "one", stored("primary"), finalizers=[labels.DATA])
        namespace.delete("BackupRun", "one")
        return key

    @staticmethod
    async def purging(runs: Runs, key: Key, namespace: Namespace) -> dict[str, Any]:
        """The pod of its Purge Job."""
        pods = await until("a pod", lambda: runs.reconcile(key), lambda: namespace.items("Pod"))
        pod: dict[str, Any] = pods[0]
        return pod

    async def test_a_sidecar_that_does_not_end_keeps_no_run(
        self, context: Context, client: Client, namespace: Namespace
    ) -> None:
        key, runs = self.deleted(namespace), Runs(context)
        pod = await self.purging(runs, key, namespace)
        result = PurgeResult(destinations=("primary",), notes=())
        end_runner(client, namespace, pod, result.model_dump_json(by_alias=True))
        await until("the end", lambda: runs.reconcile(key), lambda: not namespace.get("BackupRun", "one"))

    async def test_a_lost_node_does_not_hold_it(
        self, context: Context, client: Client, namespace: Namespace
    ) -> None:
        key = self.deleted(namespace)
        lose(client, namespace, "writer", {labels.RUN: "one", labels.COMPONENT: "Backup"})
        config = replace(context.config, pod_start_deadline=timedelta(0))
        runs = Runs(replace(context, config=config))

        def pods() -> list[dict[str, Any]]:
            return [pod for pod in namespace.items("Pod") if pod["metadata"]["name"] != "writer"]

        def status() -> dict[str, Any]:
            return namespace.status("BackupRun", "one")

        (pod,) = await until("a pod", lambda: runs.reconcile(key), pods)
        assert "PodLost" in namespace.events("BackupRun", "one")
        bind(client, namespace, pod["metadata"]["name"])
        delete(client, namespace, pod["metadata"]["name"])
        await until(
            "the failure", lambda: runs.reconcile(key), lambda: status()["reason"] == "DeletionFailed"
        )
        assert f"pod {pod['metadata']['name']} on node lost did not end" in status()["message"]
        assert status()["deletion"]["attempts"] == 1
        for name in ("writer", pod["metadata"]["name"]):
            let_go(client, namespace, name)


def end_runner(client: Client, namespace: Namespace, pod: dict[str, Any], message: str) -> None:
    """The runner of a pod has ended well with this message; the pod itself goes on."""
    ended = {
        "exitCode": 0, "reason": "Completed", "message": message,
        "startedAt": MOMENT, "finishedAt": MOMENT,
    }  # fmt: skip
    container = {
        "name": "runner", "image": "played", "imageID": "played", "ready": False, "restartCount": 0,
        "state": {"terminated": ended},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod['metadata']['name']}/status"
    client.must("PATCH", path, {"status": {"phase": "Running", "containerStatuses": [container]}})


def bind(client: Client, namespace: Namespace, pod: str) -> None:
    """Put a pod on a node that never answers."""
    body = {"metadata": {"name": pod}, "target": {"kind": "Node", "name": "lost"}}
    client.must("POST", f"/api/v1/namespaces/{namespace.name}/pods/{pod}/binding", body)


def delete(client: Client, namespace: Namespace, pod: str) -> None:
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}"
    client.must("DELETE", path, {"gracePeriodSeconds": 1})


def let_go(client: Client, namespace: Namespace, pod: str) -> None:
    """Take the Job controller's finalizer off a pod, so that it does not outlive its test."""
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}"
    client.request("PATCH", path, {"metadata": {"finalizers": None}})


def lose(client: Client, namespace: Namespace, name: str, of: dict[str, str]) -> None:
    """A pod of Holdfast's on a lost node, deleted."""
    spec = {"containers": [{"name": "runner", "image": "played"}], "nodeName": "lost"}
    body = {"metadata": {"name": name, "labels": of}, "spec": spec}
    client.must("POST", f"/api/v1/namespaces/{namespace.name}/pods", body)
    delete(client, namespace, name)


async def test_a_run_that_cannot_be_written_keeps_nobody_behind_it_waiting(
    control_plane: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxied(control_plane, namespace, monkeypatch) as (context, proxy):
        context = replace(context, config=replace(context.config, max_running_jobs=1))
        for name in ("bad", "behind"):
            namespace.policy(name)
            namespace.run(name, name)
        await list_again(context)
        proxy.treatment = refusing("bad")
        admissions = Admissions(context)

        async def write(run: BackupRun, step: RunStep) -> None:
            await context.save(run, step)

        for name in ("bad", "behind"):
            run = await context.runs.fetch(namespace.name, name)
            if name == "bad":
                with pytest.raises(ForbiddenError):
                    await admissions.admit(run, write)
            else:
                step, _ = await admissions.admit(run, write)
                assert step.status.phase is RunPhase.RUNNING


async def test_a_run_that_cannot_be_written_holds_up_no_record_of_others(
    control_plane: ApiServer,
    namespace: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def decide(run: BackupRun) -> Step[BackupRunStatus]:
        return Step(updated(run.status, message="recorded"))

    async with proxied(control_plane, namespace, monkeypatch) as (context, proxy):
        for name in ("refused", "written"):
            given(namespace, name, stored("primary"))
        proxy.treatment = refusing("refused")
        caplog.set_level(logging.INFO)
        clock = [0.0]
        context = replace(context, monotonic=lambda: clock[0])
        with pytest.raises(ForbiddenError):
            await context.change(namespace.name, "refused", decide)
        clock[0] += 60  # so long it has been refused: it is believed
        for name in ("gone", "refused", "written"):
            await context.change(namespace.name, name, decide)
    assert namespace.status("BackupRun", "written")["message"] == "recorded"
    assert f"run {namespace.name}/refused cannot be written" in caplog.text
    assert f"run {namespace.name}/gone is gone" in caplog.text


async def test_former_definitions_are_said_and_not_asked_for_ever(
    control_plane: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server of a cluster with the definitions of 0.1.0 drops settings, deadline and plan."""

    def drop(request: Request) -> bytes:
        if request.method != "PUT" or not request.path.endswith("/status"):
            return request.body
        body = json.loads(request.body)
        for field in ("settings", "deadline", "plan"):
            body["status"].pop(field, None)
        return json.dumps(body).encode()

    namespace.policy()
    running = {
        "phase": "Running", "startTime": MOMENT, "targets": [target("sessions", "Pending")],
        "destinations": policy_spec(())["destinations"],
    }  # fmt: skip
    key = given(namespace, "now", running)
    async with proxied(control_plane, namespace, monkeypatch) as (context, proxy):
        proxy.rewrite = drop
        runs = Runs(context)
        for _ in range(2):
            pause = await runs.reconcile(key)
            assert pause is not None
            assert pause >= 10
        status = namespace.status("BackupRun", "now")
        assert (status["phase"], status["reason"]) == ("Running", "DefinitionsOutdated")
        assert namespace.items("Job") == []
        proxy.rewrite = lambda request: request.body
        assert await runs.reconcile(key) == 0
    assert namespace.status("BackupRun", "now")["settings"]


async def test_what_is_deleted_is_looked_at_once_more(context: Context, namespace: Namespace) -> None:
    """A watch may have lost that, and its owner may hold something for it."""
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "stored"}}})
    ended = {"status": {"phase": "Refused", "completionTime": MOMENT}}
    namespace.patch("RestoreRequest", "back", ended, subresource="/status")
    key, queue = Key(RestoreRequest.plural, namespace.name, "back"), RememberingQueue()
    resync = Resync(context.cluster, (context.runs, context.jobs), queue, Health(time.monotonic), 0.05)
    task = asyncio.create_task(resync.run())
    nothing = lambda: asyncio.sleep(0)  # noqa: E731
    try:
        await until("the first look", nothing, lambda: key in queue.keys)
        namespace.delete("RestoreRequest", "back")
        queue.keys.clear()
        await until("another look", nothing, lambda: key in queue.keys)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_retention_keeps_what_a_restore_reads_that_can_no_longer_be_listed(
    control_plane: ApiServer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that was taken away: the restore's Jobs run on."""
    clock = [0.0]
    namespace.policy(retention={"keepLast": 1})
    for day, name in enumerate(("old", "newer", "newest"), 1):
        given(namespace, name, stored("primary", recoveryPoint=f"2026-01-0{day}T02:00:00Z"))
    shown = [{"destination": "primary", "delete": [{"run": "old", "since": MOMENT}]}]
    plan = {"retentionPlan": {"time": MOMENT, "destinations": shown}}
    namespace.patch("BackupPolicy", "chatbot", {"status": plan}, subresource="/status")
    key = given(namespace, "now", stored("primary", phase="Committing", retentionPlanTime=MOMENT))
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "old"}}})
    reading = {"phase": "Running", "source": "old"}
    namespace.patch("RestoreRequest", "back", {"status": reading}, subresource="/status")

    async def refused(request: Request, passes: Passes) -> web.StreamResponse:
        is_list = request.method == "GET" and request.path.endswith("/restorerequests")
        return refuse(403, "Forbidden") if is_list else await passes()

    async with proxied(control_plane, namespace, monkeypatch) as (context, proxy):
        context = replace(context, monotonic=lambda: clock[0])
        run = await context.cluster.get(BackupRun, *key[1:])
        policy = await context.policy_of(run)
        retention = Retention(context)
        assert await retention.mark(run, policy) == ()
        proxy.treatment = refused
        with pytest.raises(ForbiddenError):
            await retention.mark(run, policy)
        clock[0] += 60
        assert await retention.mark(run, policy) == ()
        (expiry,) = await Retention(context).mark(run, policy)
        assert [held.run for held in expiry.delete] == ["old"], "but for the restore it would go"


async def test_a_survey_on_a_lost_node_ends(context: Context, client: Client, namespace: Namespace) -> None:
    namespace.policy()
    key, policies = Key(BackupPolicy.plural, namespace.name, "chatbot"), Policies(context)

    def reachable() -> str:
        conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
        return next((one["reason"] for one in conditions if one["type"] == "DestinationsReachable"), "")

    path = f"/api/v1/namespaces/{namespace.name}/pods"
    (pod,) = await until("a pod", lambda: policies.reconcile(key), lambda: client.must("GET", path)["items"])
    bind(client, namespace, pod["metadata"]["name"])
    delete(client, namespace, pod["metadata"]["name"])
    config = replace(context.config, pod_start_deadline=timedelta(0))
    impatient = Policies(replace(context, config=config))
    await until("its end", lambda: impatient.reconcile(key), lambda: reachable() == "PodLost")
    let_go(client, namespace, pod["metadata"]["name"])


async def test_a_verification_on_a_lost_node_ends(
    context: Context, client: Client, namespace: Namespace
) -> None:
    namespace.policy()
    key = given(namespace, "one", stored("primary"), annotations={labels.VERIFY: "now"})
    config = replace(context.config, pod_start_deadline=timedelta(0))
    runs = Runs(replace(context, config=config))

    def message() -> str:
        verification = namespace.status("BackupRun", "one").get("verification", {})
        return str(verification.get("message"))

    (pod,) = await until("a pod", lambda: runs.reconcile(key), lambda: namespace.items("Pod"))
    bind(client, namespace, pod["metadata"]["name"])
    delete(client, namespace, pod["metadata"]["name"])
    await until("its end", lambda: runs.reconcile(key), lambda: "PodLost" in message())
    let_go(client, namespace, pod["metadata"]["name"])
