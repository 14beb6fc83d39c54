"""Read the few fields of Jobs, pods and events that decisions are made from."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from holdfast.domain.claims import ClaimUser
from holdfast.domain.complaints import Complaint
from holdfast.domain.labels import COMPONENT, SETTINGS, TARGET
from holdfast.domain.run.hooks import Candidate
from holdfast.domain.workload import Job, Pod, Termination
from holdfast.protocol import task_text

CONTAINER = "runner"
"""The container whose exit code and Result are the Job's."""
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_ENDS = ("Complete", "Failed")


def job_of(body: dict[str, Any]) -> Job:
    """The facts of a Job, by its conditions' types (https://kubernetes.io/docs/concepts/workloads/controllers/job/)."""
    metadata, status = body["metadata"], body.get("status", {})
    labels = metadata.get("labels", {})
    ended = _end_of(status)
    owner = _controller_of(metadata)
    return Job(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        owner_uid=owner.get("uid", ""),
        target=labels.get(TARGET, ""),
        component=labels.get(COMPONENT, ""),
        task=task_text(_environment(body)),
        settings=metadata.get("annotations", {}).get(SETTINGS, ""),
        created=_time(metadata["creationTimestamp"]),
        active=status.get("active", 0),
        failed=status.get("failed", 0),
        succeeded=status.get("succeeded", 0),
        end_condition=ended.get("type", ""),
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
        retries=body["spec"].get("backoffLimit", 0),
        has_ttl="ttlSecondsAfterFinished" in body["spec"],
        is_being_deleted="deletionTimestamp" in metadata,
        is_suspended=body["spec"].get("suspend", False),
        is_at_rest=any(
            condition["type"] == "Suspended" and condition["status"] == "True"
            for condition in status.get("conditions", [])
        ),
    )


class JobState(NamedTuple):
    """By which a Job concerns its owner, who then reads it whole."""

    owner_uid: str
    failed: int
    """How many attempts have failed."""
    end_condition: str
    has_ttl: bool
    is_being_deleted: bool
    is_suspended: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether the cluster does the rest."""
        return self.is_being_deleted or (bool(self.end_condition) and self.has_ttl)

    @property
    def goes_on(self) -> bool:
        """Whether it has neither ended nor been stopped or deleted."""
        return not (self.is_being_deleted or self.end_condition or self.is_suspended)


def job_state_of(body: dict[str, Any]) -> JobState:
    """What the owner of a Job has to know."""
    metadata, status = body["metadata"], body.get("status", {})
    return JobState(
        _controller_of(metadata).get("uid", ""),
        status.get("failed") or 0,
        _end_of(status).get("type", ""),
        "ttlSecondsAfterFinished" in body["spec"],
        "deletionTimestamp" in metadata,
        body["spec"].get("suspend", False),
    )


def _controller_of(metadata: dict[str, Any]) -> dict[str, Any]:
    return _first(owner for owner in metadata.get("ownerReferences", []) if owner.get("controller"))


def _end_of(status: dict[str, Any]) -> dict[str, Any]:
    """The condition that says how a Job has ended; empty as long as it has not."""
    return _first(c for c in status.get("conditions", []) if c["type"] in _ENDS and c["status"] == "True")


def _first(bodies: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return next(iter(bodies), {})


def _environment(job: dict[str, Any]) -> dict[str, str]:
    containers = job["spec"]["template"]["spec"]["containers"]
    runner = _first(container for container in containers if container["name"] == CONTAINER)
    return {variable["name"]: variable.get("value", "") for variable in runner.get("env", [])}


def pod_of(body: dict[str, Any]) -> Pod:
    """The facts of a pod of a Job."""
    metadata, status = body["metadata"], body.get("status", {})
    states = status.get("containerStatuses", [])
    state = _first(container for container in states if container["name"] == CONTAINER).get("state", {})
    waiting, running, ended = state.get("waiting", {}), state.get("running"), state.get("terminated")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        job=metadata.get("labels", {}).get("batch.kubernetes.io/job-name", ""),
        phase=status.get("phase", "Pending"),
        created=_time(metadata["creationTimestamp"]),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        unschedulable=_unschedulable(status),
        running_since=_time_or_none((running or {}).get("startedAt")),
        termination=None if ended is None else _termination(ended),
        node=body["spec"].get("nodeName", ""),
        scheduled_since=_scheduled_since(body),
        is_due=_time_or_none(metadata.get("deletionTimestamp")),
    )


def candidate_of(body: dict[str, Any]) -> Candidate:
    """The facts of a pod that a hook may be run in."""
    metadata, status = body["metadata"], body.get("status", {})
    conditions = status.get("conditions", [])
    return Candidate(
        name=metadata["name"],
        created=_time(metadata["creationTimestamp"]),
        containers=tuple(
            container["name"]
            for kind in ("containers", "initContainers")
            for container in body["spec"].get(kind, [])
        ),
        default_container=metadata.get("annotations", {}).get(_DEFAULT_CONTAINER, ""),
        is_running=status.get("phase") == "Running",
        is_ready=any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
        ),
        is_being_deleted="deletionTimestamp" in metadata,
    )


def claim_users_of(bodies: Iterable[dict[str, Any]]) -> list[ClaimUser]:
    """The pods that mount claims, with these."""
    return [ClaimUser(body["metadata"]["name"], claims) for body in bodies if (claims := _claims(body))]


def _claims(pod: dict[str, Any]) -> frozenset[str]:
    volumes = pod["spec"].get("volumes", [])
    return frozenset(
        volume["persistentVolumeClaim"]["claimName"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    )


def _termination(ended: dict[str, Any]) -> Termination:
    return Termination(
        exit_code=ended["exitCode"],
        reason=ended.get("reason", ""),
        message=ended.get("message", ""),
        started=_time_or_none(ended.get("startedAt")),
        ended=_time_or_none(ended.get("finishedAt")),
    )


def _scheduled_since(body: dict[str, Any]) -> datetime | None:
    if not body["spec"].get("nodeName"):
        return None
    for condition in body.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "True":
            return _time_or_none(condition.get("lastTransitionTime"))
    return _time(body["metadata"]["creationTimestamp"])


def _unschedulable(status: dict[str, Any]) -> str:
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason", "Unschedulable"))
    return ""


def complaint_of(events: list[dict[str, Any]]) -> Complaint | None:
    """The warning that is the newest of an object's events. What has happened since makes a warning old."""
    newest = max(events, key=_moment, default=None)
    if newest is None or newest.get("type") != "Warning":
        return None
    return Complaint(newest.get("reason") or "Warning", newest.get("message") or "")


def _moment(event: dict[str, Any]) -> tuple[str, bool]:
    """When an event was last seen, to the second. Within one second, work goes on after a warning."""
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    return str(last)[:19], event.get("type") != "Warning" and event.get("reason") != "Scheduled"


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value)


def _time_or_none(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
