"""The template of a Job's pod: its containers, and what it is allowed."""

from collections.abc import Iterable
from typing import Any

from holdfast.api.runner import PodIdentity, Runner
from holdfast.controller.config import Config
from holdfast.controller.jobs.kinds import Container, JobKind
from holdfast.controller.jobs.volumes import mounts_of
from holdfast.engines.engine import PodNeeds
from holdfast.protocol import POD_VARIABLE, Task, task_variables

_RESOURCES: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
"""No limit of CPUs: a backup that is throttled holds its snapshot open for longer."""


def pod_spec(job_kind: JobKind, task: Task, runner: Runner, config: Config) -> dict[str, Any]:
    """The specification of the pod of a Job."""
    volumes: dict[str, dict[str, Any]] = {}
    containers = []
    for container in job_kind.containers(task):
        mounts = mounts_of(container, job_kind.destinations(task), runner, reads_only=job_kind.reads_only)
        volumes |= {volume["name"]: volume for volume in mounts.volumes}
        containers.append(_container(container, task, mounts.mounts, runner, config))
    identity = _identity(job_kind, runner.pod_identity or config.runner_pod_identity)
    if not identity:
        _make_readable(volumes.values())
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": job_kind.has_token,
        "enableServiceLinks": False,
        # As process 1 of its own namespace it would not end by SIGTERM before it has a handler for it.
        "shareProcessNamespace": True,
        "serviceAccountName": runner.service_account_name or config.runner_service_account,
        "imagePullSecrets": [secret.to_json() for secret in runner.image_pull_secrets],
        "nodeSelector": runner.node_selector,
        "tolerations": [toleration.to_json() for toleration in runner.tolerations],
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
            **identity,
        },
        "containers": containers,
        "volumes": list(volumes.values()),
    }
    return {key: value for key, value in spec.items() if value or value is False}


def _identity(job_kind: JobKind, pod_identity: PodIdentity) -> dict[str, int]:
    """The user and the groups; none where the cluster assigns them."""
    if pod_identity == "Cluster":
        return {}
    return dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), job_kind.user)


def _make_readable(volumes: Iterable[dict[str, Any]]) -> None:
    """Nobody says which group may read a Secret, and the pod has one user."""
    for volume in volumes:
        if "secret" in volume:
            volume["secret"]["defaultMode"] = 0o444


def _container(
    container: Container, task: Task, mounts: list[dict[str, Any]], runner: Runner, config: Config
) -> dict[str, Any]:
    return {
        "name": container.name,
        "image": _image(container.needs, config),
        "imagePullPolicy": config.image_pull_policy,
        "command": ["python", "-m", "holdfast.runner"],
        "env": [
            *({"name": name, "value": value} for name, value in task_variables(task).items()),
            {"name": POD_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "resources": _resources(runner),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _resources(runner: Runner) -> dict[str, Any]:
    """The policy's, and the default of what it says nothing of: it could contradict the other half."""
    given = runner.resources.to_json() if runner.resources else {}
    named = set(given.get("requests", {})) | set(given.get("limits", {}))
    return {
        kind: {name: amount for name, amount in amounts.items() if name not in named} | given.get(kind, {})
        for kind, amounts in _RESOURCES.items()
    }


def _image(needs: PodNeeds | None, config: Config) -> str:
    if needs is None:
        return config.operator_image
    variant = f"-{needs.variant}" if needs.variant else ""
    return f"{config.image_prefix}/{needs.image}:{config.image_tag}{variant}"
