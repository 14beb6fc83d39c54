"""Policies, runs and rows for tests: the smallest that follow the contract, with what a test says of them."""

from collections.abc import Iterable
from typing import Any

from holdfast.api.conditions import find_condition
from holdfast.api.policy import BackupPolicy, BackupPolicySpec, BackupPolicyStatus
from holdfast.api.run import BackupRun, BackupRunStatus
from holdfast.domain.policy.status import STATUS_SECTIONS, PolicySituation, Slots, record_slots
from holdfast.domain.rows import RunRow, row_of
from holdfast.domain.step import Step

SHA = "a" * 64
REDIS = {"service": {"name": "redis", "port": 1}}
ONE = {"name": "one", "s3": {"bucket": "backups"}}
TWO = {"name": "two", "s3": {"bucket": "more"}, "required": False}


def targets(*names: str) -> list[dict[str, Any]]:
    """Targets of a policy, each a Redis."""
    return [{"name": name, "redis": REDIS} for name in names]


def spec(**fields: Any) -> BackupPolicySpec:
    """The spec of a policy with one target and one destination, and these fields."""
    return BackupPolicySpec.model_validate({"targets": targets("a"), "destinations": [ONE]} | fields)


def policy(
    *, metadata: dict[str, Any] | None = None, status: BackupPolicyStatus | None = None, **fields: Any
) -> BackupPolicy:
    """A policy with these fields of its spec."""
    named = {"name": "p", "namespace": "ns", "uid": "pu", "generation": 1} | (metadata or {})
    made = BackupPolicy.model_validate({"metadata": named, "spec": spec(**fields)})
    return made if status is None else made.model_copy(update={"status": status})


def run(
    name: str = "r",
    *,
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    policy: str = "p",
    **fields: Any,
) -> BackupRun:
    """A run with these fields of its spec."""
    named = {"name": name, "namespace": "ns", "uid": f"{name}-uid", "generation": 1} | (metadata or {})
    return BackupRun.model_validate(
        {"metadata": named, "spec": {"policyRef": {"name": policy}} | fields, "status": status or {}}
    )


def with_status(run: BackupRun, status: BackupRunStatus) -> BackupRun:
    """The run with another status."""
    return run.model_copy(update={"status": status})


def artifact(destination: str, **fields: Any) -> dict[str, Any]:
    """A stored object of one byte."""
    return {"destination": destination, "uri": "s3://x", "sizeBytes": 1, "sha256": SHA} | fields


def stored_target(*destinations: str, name: str = "a", **fields: Any) -> dict[str, Any]:
    """A target that succeeded, with an artifact in each of these destinations."""
    artifacts = [artifact(destination) for destination in destinations]
    return {"name": name, "engine": "redis", "phase": "Succeeded", "artifacts": artifacts} | fields


def complete(status: BackupRunStatus) -> tuple[str, str, str]:
    """What the condition Complete says: its status, reason and message."""
    condition = find_condition(status.conditions, "Complete")
    assert condition is not None
    return condition.status, condition.reason, condition.message


def hook_failed_after(on_error: str = "Fail") -> dict[str, Any]:
    """Fields of the status of a run whose hook `go-on` after the backup has failed."""
    selector = {"matchLabels": {"app": "chatbot"}}
    hook = {"name": "go-on", "podSelector": selector, "command": ["x"], "onError": on_error}
    ended = {"name": "go-on", "when": "After", "phase": "Failed", "message": "hook go-on: no pod"}
    return {"hookPlan": {"after": [hook]}, "hooks": [ended]}


def rows(runs: Iterable[BackupRun]) -> tuple[RunRow, ...]:
    """The rows of a list of runs."""
    return tuple(map(row_of, runs))


def next_status(situation: PolicySituation, slots: Slots) -> Step[BackupPolicyStatus]:
    """All sections of a policy's status, one after the other."""
    step = record_slots(situation, situation.policy.status, slots)
    for section in STATUS_SECTIONS.values():
        part = section(situation, step.status)
        step = Step(part.status, (*step.notices, *part.notices))
    return step
