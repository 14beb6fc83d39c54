"""The Jobs of a run or restore, built from its Task: pure, and the same for the same input."""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from holdfast.api.base import Model
from holdfast.api.destination import Destination
from holdfast.api.meta import API_VERSION, Resource
from holdfast.api.policy import BackupPolicy
from holdfast.api.runner import Runner
from holdfast.controller.config import Config
from holdfast.controller.views import CONTAINER
from holdfast.domain import labels
from holdfast.domain.naming import job_name
from holdfast.engines.engine import PodNeeds
from holdfast.engines.registry import ENGINES
from holdfast.mounts import ClaimMount, SecretMount
from holdfast.protocol import (
    DEFAULT_ROOT,
    POD_VARIABLE,
    TASK_VARIABLE,
    AnyTask,
    BackupTask,
    CommitTask,
    ExitCode,
    LookupTask,
    PurgeTask,
    RestoreTask,
    SurveyTask,
    VerifyTask,
)

_USER = 65532
_OPERATOR = PodNeeds("operator")
_RESOURCES: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
"""No limit of CPUs: a backup that is throttled holds its snapshot open for longer."""


class JobSettings(Model):
    """How a run's Jobs are run; kept with each of them, so that a policy edited meanwhile changes nothing."""

    runner: Runner = Field(default_factory=Runner)
    retries: int = 2
    active_deadline_seconds: int = 6 * 3600

    @classmethod
    def of(cls, policy: BackupPolicy | None) -> "JobSettings":
        """The settings of a policy; the default once it is gone."""
        if policy is None:
            return cls()
        return cls(
            runner=policy.spec.runner or Runner(),
            retries=policy.spec.retries,
            active_deadline_seconds=policy.spec.active_deadline.seconds,
        )


def backup_job(owner: Resource, task: BackupTask, settings: JobSettings, config: Config) -> dict[str, Any]:
    """The Job that backs one target up."""
    engine = ENGINES[task.engine]
    needs = engine.backup_pod(engine.target_spec.model_validate(task.spec))
    part = {labels.TARGET: task.target, labels.POLICY: task.policy}
    return _job(owner, task.target, task, part, needs, task.destinations, settings, config)


def commit_job(owner: Resource, task: CommitTask, settings: JobSettings, config: Config) -> dict[str, Any]:
    """The Job that reads back what the targets stored."""
    part = {labels.POLICY: task.policy}
    return _job(owner, "commit.", task, part, _OPERATOR, task.destinations, settings, config)


def purge_job(owner: Resource, task: PurgeTask, settings: JobSettings, config: Config) -> dict[str, Any]:
    """The Job that deletes what a run has stored. One attempt: after a failure the operator makes another."""
    part = {labels.POLICY: task.policy}
    once = settings.model_copy(update={"retries": 0})
    return _job(owner, "purge.", task, part, _OPERATOR, task.destinations, once, config)


def lookup_job(owner: Resource, task: LookupTask, settings: JobSettings, config: Config) -> dict[str, Any]:
    """The Job that reads a run's entry in the catalogue."""
    return _job(owner, "lookup.", task, {}, _OPERATOR, (task.source.destination,), settings, config)


_SURVEY_SECONDS = 900


def survey_job(
    owner: Resource, task: SurveyTask, number: int, runner: Runner, config: Config
) -> dict[str, Any]:
    """The Job that probes a policy's destinations and reads a page of their catalogues; its `number`th."""
    settings = JobSettings(runner=runner, retries=1, active_deadline_seconds=_SURVEY_SECONDS)
    job = _job(owner, survey_part(number), task, {}, _OPERATOR, task.destinations, settings, config)
    job["spec"]["ttlSecondsAfterFinished"] = int(config.job_ttl.total_seconds())
    return job


def survey_part(number: int) -> str:
    """What `job_name` makes the Job's name from."""
    return f"survey.{number}"


def restore_job(owner: Resource, task: RestoreTask, settings: JobSettings, config: Config) -> dict[str, Any]:
    """The Job that restores one target."""
    engine = ENGINES[task.engine]
    spec = engine.target_spec.model_validate(task.spec)
    override = None if task.override is None else engine.restore_spec.model_validate(task.override)
    needs = engine.restore_pod(spec, override)
    part = {labels.TARGET: task.target}
    seconds = settings.active_deadline_seconds + task.source.destination.spec.thaw_seconds
    settings = settings.model_copy(update={"active_deadline_seconds": seconds})
    return _job(owner, task.target, task, part, needs, (task.source.destination,), settings, config)


def verify_job(
    owner: Resource, part: str, task: VerifyTask, settings: JobSettings, config: Config
) -> dict[str, Any]:
    """The Job that reads a stored run back; `part` tells it from the run's other verifications."""
    own_labels = {labels.POLICY: task.policy}
    return _job(owner, part, task, own_labels, _OPERATOR, task.destinations, settings, config)


def _job(
    owner: Resource,
    part: str,
    task: AnyTask,
    own_labels: dict[str, str],
    needs: PodNeeds,
    destinations: tuple[Destination, ...],
    settings: JobSettings,
    config: Config,
) -> dict[str, Any]:
    metadata = owner.metadata
    all_labels = {
        labels.MANAGED_BY: "holdfast",
        labels.COMPONENT: task.kind,
        labels.OF_OWNER[type(owner).singular]: metadata.name,
        **own_labels,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(metadata.name, metadata.uid, part),
            "namespace": metadata.namespace,
            "labels": all_labels,
            "annotations": {labels.SETTINGS: settings.model_dump_json(by_alias=True, exclude_none=True)},
            "ownerReferences": [_owner_reference(owner)],
        },
        "spec": {
            "backoffLimit": settings.retries,
            "activeDeadlineSeconds": settings.active_deadline_seconds,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": {
                "metadata": {"labels": all_labels, "annotations": settings.runner.annotations or {}},
                "spec": _pod_spec(task, needs, destinations, settings.runner, config),
            },
        },
    }


def _owner_reference(owner: Resource) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": type(owner).model_fields["kind"].default,
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


def _pod_spec(
    task: AnyTask,
    needs: PodNeeds,
    destinations: tuple[Destination, ...],
    runner: Runner,
    config: Config,
) -> dict[str, Any]:
    reads_only = isinstance(task, LookupTask | RestoreTask | VerifyTask)
    # No other Job gets it: one that makes or commits a backup cannot read older ones.
    identity = task.identity_secret if isinstance(task, RestoreTask) else None
    volumes, mounts = _volumes(needs.secrets, destinations, identity, runner, reads_only)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # As process 1 of its own namespace it would not end by SIGTERM before it has a handler for it.
        "shareProcessNamespace": True,
        "serviceAccountName": runner.service_account_name or config.runner_service_account,
        "imagePullSecrets": [secret.to_json() for secret in runner.image_pull_secrets],
        "nodeSelector": runner.node_selector,
        "tolerations": [toleration.to_json() for toleration in runner.tolerations],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(task, _image(needs, config), mounts, runner, config)],
        "volumes": volumes,
    }
    return {key: value for key, value in spec.items() if value or value is False}


def _container(
    task: AnyTask,
    image: str,
    mounts: list[dict[str, Any]],
    runner: Runner,
    config: Config,
) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": config.image_pull_policy,
        "command": ["python", "-m", "holdfast.runner"],
        "env": [
            {"name": TASK_VARIABLE, "value": task.model_dump_json(by_alias=True, exclude_none=True)},
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


def _image(needs: PodNeeds, config: Config) -> str:
    if needs is _OPERATOR:
        return config.operator_image
    variant = f"-{needs.variant}" if needs.variant else ""
    return f"{config.image_prefix}/{needs.image}:{config.image_tag}{variant}"


def _volumes(
    secrets: Iterable[SecretMount],
    destinations: Iterable[Destination],
    identity: str | None,
    runner: Runner,
    reads_only: bool,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and mounts in the layout that `holdfast.protocol` describes."""
    pod = _Mounts()
    for secret in secrets:
        pod.secret(f"source-{secret.folder}", secret.secret, f"source/{secret.folder}", secret.keys)
    for destination in destinations:
        pod.destination(destination, reads_only)
    if identity is not None:
        # Optional: without the Secret the runner refuses, and tells at once which identities would do.
        pod.secret("identity", identity, "identity", {"identity": "identity"}, optional=True)
    pod.add("scratch", _scratch(runner), "scratch", read_only=False)
    # Libraries write their temporary files to /tmp, which a read-only root file system has not.
    pod.mounts.append({"name": "scratch", "mountPath": "/tmp"})  # noqa: S108
    return pod.volumes, pod.mounts


def _scratch(runner: Runner) -> dict[str, Any]:
    if runner.scratch is None:
        return {"emptyDir": {}}
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": runner.scratch.size}},
    }
    if runner.scratch.storage_class_name is not None:
        spec["storageClassName"] = runner.scratch.storage_class_name
    return {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}


class _Mounts:
    def __init__(self) -> None:
        self.volumes: list[dict[str, Any]] = []
        self.mounts: list[dict[str, Any]] = []

    def add(self, name: str, source: dict[str, Any], path: str, read_only: bool) -> None:
        self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": f"{DEFAULT_ROOT}/{path}", "readOnly": read_only})

    def destination(self, destination: Destination, read_only: bool) -> None:
        for mount in destination.spec.mounts():
            name, path = f"d-{destination.name}", f"destinations/{destination.name}/{mount.folder}"
            if isinstance(mount, ClaimMount):
                claim = {"claimName": mount.claim, "readOnly": read_only}
                self.add(name, {"persistentVolumeClaim": claim}, path, read_only)
            else:
                self.secret(f"{name}-{mount.folder}", mount.secret, path, mount.keys)

    def secret(
        self, name: str, secret: str, path: str, keys: dict[str, str], *, optional: bool = False
    ) -> None:
        source: dict[str, Any] = {"secretName": secret, "defaultMode": 0o440}
        if optional:
            source["optional"] = True
        if keys:
            source["items"] = [{"key": key, "path": file} for key, file in keys.items()]
        self.add(name, {"secret": source}, path, read_only=True)
