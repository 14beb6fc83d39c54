"""The API server stores the largest objects that Holdfast writes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests import factories, largest
from tests.api.objects import EXAMPLES
from tests.apiserver import ApiServer

from holdfast.api.meta import Resource
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.config import Config
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.views import job_of
from holdfast.protocol import (
    TASK,
    CommitTask,
    CommittedTarget,
    Expiry,
    ExpiryCandidate,
    Gap,
    Leftovers,
    RestoreTask,
    StoredRun,
    Task,
)

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)


def store(apiserver: ApiServer, kind: type[Resource], spec: dict[str, Any], status: Any) -> dict[str, Any]:
    """Create an object and write its status, as the operator does; the object."""
    namespace = apiserver.create_namespace("large")
    path = f"/apis/holdfast.dev/v1alpha1/namespaces/{namespace}/{kind.plural}"
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": kind.kind_name(), "spec": spec}
    apiserver.must("POST", path, body | {"metadata": {"name": "large"}})
    written: dict[str, Any] = apiserver.must("PATCH", f"{path}/large/status", {"status": status.to_json()})
    return written


def test_the_api_server_stores_the_largest_objects(apiserver: ApiServer) -> None:
    policy = largest.policy()
    run = store(apiserver, BackupRun, {"policyRef": {"name": "p"}}, largest.run_status(policy))
    assert len(run["status"]["targets"]) == 20
    assert run["metadata"]["managedFields"]
    stored = store(apiserver, BackupPolicy, policy.spec.to_json(), largest.policy_status())
    assert len(stored["status"]["retentionPlan"]["destinations"]) == 5
    request = EXAMPLES["restore-run"]["spec"]
    assert store(apiserver, RestoreRequest, request, largest.request_status())["status"]["targets"]


def commit_task(policy: BackupPolicy) -> CommitTask:
    """A commit that does for earlier runs as much as it may."""
    candidates = tuple(
        ExpiryCandidate(run=f"{number:03}{'r' * 60}", recovery_point=NOW, verified=True)
        for number in range(115)
    )
    runs = tuple(candidate.run for candidate in candidates[:20])
    manifests = dict.fromkeys(largest.TARGETS, factories.SHA)
    names = tuple(largest.DESTINATIONS)
    return CommitTask(
        namespace="n" * 63, policy="p" * 45, run="r" * 63, run_uid="u" * 36, trigger="Schedule",
        scheduled_time=NOW, started_time=NOW, failed_targets=(), recipients=("a" * 62,) * 20,
        targets=tuple(
            CommittedTarget(name=name, engine="postgres", manifest_sha256=factories.SHA, destinations=names)
            for name in largest.TARGETS
        ),
        destinations=policy.spec.destinations, retention_seconds=1e6,
        retention=tuple(
            Expiry(destination=name, delete=candidates[:100], keep=candidates[100:]) for name in names
        ),
        leftovers=tuple(Leftovers(destination=name, runs=runs, held=True) for name in names),
        gaps=tuple(
            Gap(run=run, scheduled_time=NOW, trigger="Schedule", manifests=manifests, sources=names[:2],
                lacking=names[2:])
            for run in runs
        ),
    )  # fmt: skip


def restore_task(policy: BackupPolicy) -> RestoreTask:
    """A restore of the largest target, with an override that is as large."""
    names = {f"{number:02}{'é' * 250}": f"{number:02}{'ü' * 250}" for number in range(100)}
    source = StoredRun(destination=policy.spec.destinations[0], path=f"{'n' * 63}/{'p' * 45}/{'r' * 63}")
    return RestoreTask(
        namespace="n" * 63, request="r" * 63, request_uid="u" * 36, mode="New", source=source,
        target=largest.TARGETS[0], engine="chroma", spec=policy.spec.targets[-1].engine_spec.to_json(),
        override={"rename": names, "include": ["é" * 500] * 80},
    )  # fmt: skip


@pytest.mark.parametrize("make", [commit_task, restore_task])
def test_the_api_server_stores_the_job_of_the_largest_task(
    apiserver: ApiServer, make: Callable[[BackupPolicy], Task]
) -> None:
    task = make(largest.policy())
    namespace = apiserver.create_namespace("large")
    owner = factories.run(metadata={"namespace": namespace, "uid": "u"})
    job = build_job(JobRequest(owner, task, JobSettings(), "part"), Config())
    variables = [each["value"] for each in job["spec"]["template"]["spec"]["containers"][0]["env"][:-1]]
    assert len("".join(variables).encode()) > 128 * 1024, "more than one variable may have"
    assert all(len(value.encode()) < 128 * 1024 for value in variables)
    stored = apiserver.must("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", job)
    assert TASK.validate_json(job_of(stored).task) == task
