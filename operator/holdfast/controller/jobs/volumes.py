"""The volumes and mounts of a Job's containers, in the layout that `holdfast.protocol` describes."""

from collections.abc import Collection, Iterable
from copy import deepcopy
from typing import Any

from holdfast.api.destination import Destination
from holdfast.api.runner import Runner
from holdfast.controller.jobs.kinds import Container
from holdfast.mounts import ClaimMount, ConfigMapMount, SecretMount
from holdfast.protocol import DEFAULT_ROOT

_CLAIM = "persistentVolumeClaim"
"""The field of a volume; only destinations have such volumes."""


class Mounts:
    """What is mounted in one container, and the volumes that it is mounted from."""

    def __init__(self) -> None:
        self.volumes: list[dict[str, Any]] = []
        self.mounts: list[dict[str, Any]] = []

    def add(self, name: str, source: dict[str, Any], path: str, read_only: bool) -> None:
        self.volumes.append({"name": name, **source})
        self.mounts.append({"name": name, "mountPath": f"{DEFAULT_ROOT}/{path}", "readOnly": read_only})

    def files(
        self, name: str, mount: SecretMount | ConfigMapMount, path: str, *, optional: bool = False
    ) -> None:
        source: dict[str, Any] = {"optional": True} if optional else {}
        if mount.keys:
            source["items"] = [{"key": key, "path": file} for key, file in mount.keys.items()]
        if isinstance(mount, SecretMount):
            volume = {"secret": {"secretName": mount.secret, "defaultMode": 0o440, **source}}
        else:
            volume = {"configMap": {"name": mount.config_map, "defaultMode": 0o444, **source}}
        self.add(name, volume, path, read_only=True)


def mounts_of(
    container: Container, destinations: Iterable[Destination], runner: Runner, *, reads_only: bool
) -> Mounts:
    """Everything that a container needs."""
    pod = Mounts()
    for mount in container.needs.secrets if container.needs else ():
        pod.files(f"source-{mount.folder}", mount, f"source/{mount.folder}")
    _mount_destinations(pod, destinations, reads_only=reads_only)
    if container.identity is not None:
        # Optional: without the Secret the runner refuses, and says at once which identities would do.
        identity = SecretMount("identity", container.identity, {"identity": "identity"})
        pod.files("identity", identity, "identity", optional=True)
    pod.add("scratch", _scratch(runner), "scratch", read_only=False)
    # Libraries write their temporary files to /tmp, which a read-only root file system has not.
    pod.mounts.append({"name": "scratch", "mountPath": "/tmp"})  # noqa: S108
    return pod


def _mount_destinations(pod: Mounts, destinations: Iterable[Destination], *, reads_only: bool) -> None:
    for destination in destinations:
        for mount in destination.spec.mounts():
            name, path = f"d-{destination.name}", f"destinations/{destination.name}/{mount.folder}"
            if isinstance(mount, ClaimMount):
                claim = {"claimName": mount.claim, "readOnly": reads_only}
                pod.add(name, {_CLAIM: claim}, path, reads_only)
            else:
                # Optional: a destination whose Secret is missing must not keep the pod from the others.
                pod.files(f"{name}-{mount.folder}", mount, path, optional=True)


def claims_of_destinations(manifest: dict[str, Any]) -> set[str]:
    """The claims that the pods of a Job mount for its destinations."""
    volumes = manifest["spec"]["template"]["spec"]["volumes"]
    return {volume[_CLAIM]["claimName"] for volume in volumes if _CLAIM in volume}


def without_claims(manifest: dict[str, Any], absent: Collection[str]) -> dict[str, Any]:
    """A Job whose pods start without these claims; the runner says which destination lacks its volume."""
    if not absent:
        return manifest
    manifest = deepcopy(manifest)
    pod = manifest["spec"]["template"]["spec"]
    names = {volume["name"] for volume in pod["volumes"] if volume.get(_CLAIM, {}).get("claimName") in absent}
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] not in names]
    for container in pod["containers"]:
        container["volumeMounts"] = [
            mount for mount in container["volumeMounts"] if mount["name"] not in names
        ]
    return manifest


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
