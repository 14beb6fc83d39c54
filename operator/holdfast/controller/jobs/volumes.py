"""The volumes and mounts of a Job's containers, in the layout that `holdfast.protocol` describes."""

from collections.abc import Iterable
from typing import Any

from holdfast.api.destination import Destination
from holdfast.api.runner import Runner
from holdfast.controller.jobs.kinds import Container
from holdfast.protocol import DEFAULT_ROOT


class Mounts:
    """What is mounted in one container, and the volumes that it is mounted from."""

    def __init__(self) -> None:
        self.volumes: list[dict[str, Any]] = []
        self.mounts: list[dict[str, Any]] = []

    def add(self, name: str, source: dict[str, Any], path: str, read_only: bool) -> None:
        self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": f"{DEFAULT_ROOT}/{path}", "readOnly": read_only})

    def secret(
        self, name: str, secret: str, path: str, keys: dict[str, str], *, optional: bool = False
    ) -> None:
        source: dict[str, Any] = {"secretName": secret, "defaultMode": 0o440}
        if optional:
            source["optional"] = True
        if keys:
            source["items"] = [{"key": key, "path": file} for key, file in keys.items()]
        self.add(name, {"secret": source}, path, read_only=True)


def mounts_of(
    container: Container, destinations: Iterable[Destination], runner: Runner, *, reads_only: bool
) -> Mounts:
    """Everything that a container needs."""
    pod = Mounts()
    for secret in container.needs.secrets if container.needs else ():
        pod.secret(f"source-{secret.folder}", secret.secret, f"source/{secret.folder}", secret.keys)
    _mount_destinations(pod, destinations, reads_only=reads_only)
    if container.identity is not None:
        # Optional: without the Secret the runner refuses, and tells at once which identities would do.
        pod.secret("identity", container.identity, "identity", {"identity": "identity"}, optional=True)
    pod.add("scratch", _scratch(runner), "scratch", read_only=False)
    # Libraries write their temporary files to /tmp, which a read-only root file system has not.
    pod.mounts.append({"name": "scratch", "mountPath": "/tmp"})  # noqa: S108
    return pod


def _mount_destinations(pod: Mounts, destinations: Iterable[Destination], *, reads_only: bool) -> None:
    for each in destinations:
        at = f"destinations/{each.name}"
        if each.volume is not None:
            claim = {"claimName": each.volume.claim_name, "readOnly": reads_only}
            pod.add(f"d-{each.name}", {"persistentVolumeClaim": claim}, f"{at}/volume", reads_only)
        if each.s3 is not None and each.s3.credentials_secret is not None:
            pod.secret(f"d-{each.name}-credentials", each.s3.credentials_secret.name, f"{at}/credentials", {})
        if each.s3 is not None and each.s3.ca_secret is not None:
            keys = {"ca.crt": "ca.crt"}
            pod.secret(f"d-{each.name}-ca", each.s3.ca_secret.name, f"{at}/ca", keys)


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
