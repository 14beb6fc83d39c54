"""Makes a Job of its Task: the name, the owner and the limits around a pod."""

from dataclasses import dataclass
from typing import Any

from holdfast.api.meta import API_VERSION, Resource
from holdfast.controller.config import Config
from holdfast.controller.jobs.kinds import JOB_KINDS
from holdfast.controller.jobs.pod import pod_spec
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.views import CONTAINER
from holdfast.domain import labels
from holdfast.domain.naming import job_name
from holdfast.protocol import ExitCode, Task

_LABELS = {"policy": labels.POLICY, "target": labels.TARGET}


@dataclass(frozen=True)
class JobRequest:
    """A Job that is wanted."""

    owner: Resource
    task: Task
    settings: JobSettings
    part: str
    """What tells the Job from its owner's others: the name of its target, else what `part_of` returns."""


def build_job(request: JobRequest, config: Config) -> dict[str, Any]:
    """The manifest of a Job."""
    owner, task, job_kind = request.owner, request.task, JOB_KINDS[request.task.kind]
    metadata = owner.metadata
    settings = job_kind.settings(task, request.settings)
    own_labels = {
        labels.MANAGED_BY: "holdfast",
        labels.COMPONENT: task.kind,
        labels.OF_OWNER[type(owner).singular]: metadata.name,
        **{_LABELS[name]: getattr(task, name) for name in job_kind.labels},
    }
    spec = {
        "backoffLimit": settings.retries,
        "activeDeadlineSeconds": settings.active_deadline_seconds,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules()},
        "template": {
            "metadata": {"labels": own_labels, "annotations": settings.runner.pod_annotations},
            "spec": pod_spec(job_kind, task, settings.runner, config),
        },
    }
    if job_kind.has_ttl:
        spec["ttlSecondsAfterFinished"] = int(config.job_ttl.total_seconds())
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(metadata.name, metadata.uid, request.part),
            "namespace": metadata.namespace,
            "labels": own_labels,
            "annotations": {labels.SETTINGS: settings.for_former_release()},
            "ownerReferences": [_owner_reference(owner)],
        },
        "spec": spec,
    }


def _owner_reference(owner: Resource) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind_name(),
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _failure_rules() -> list[dict[str, Any]]:
    """Another attempt does not help a wrong task or data that differ; a drained node is nobody's failure."""
    final = [int(ExitCode.TASK_WRONG), int(ExitCode.MISMATCH)]
    return [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": final},
        },
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
