"""The cluster's cgroups: every process of it is below one parent, so that it can be found and ended."""

import contextlib
import os
import signal
import time
from pathlib import Path

from onenode.layout import Cluster
from onenode.shell import UserError

MOUNT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """The root of every cgroup hierarchy: one with cgroup v2, one a controller with v1."""
    if (MOUNT / "cgroup.procs").exists():
        return [MOUNT]
    mounted = (path for path in MOUNT.iterdir() if (path / "cgroup.procs").exists())
    # cpu and cpuacct may be two links to one hierarchy.
    return sorted({path.resolve() for path in mounted})


def make(cluster: Cluster) -> list[Path]:
    """Make the cluster's cgroups; returns the cgroup.procs files that a component writes itself into."""
    joined = []
    for hierarchy in hierarchies():
        node = hierarchy / cluster.cgroup / "node"
        node.mkdir(parents=True, exist_ok=True)
        # A process cannot enter a cpuset cgroup that has no CPUs yet, and the components need none.
        if hierarchy.name != "cpuset":
            joined.append(node / "cgroup.procs")
    return joined


def members(cluster: Cluster) -> set[int]:
    """The cluster's processes, those of its pods among them."""
    pids: set[int] = set()
    for hierarchy in hierarchies():
        # Path.rglob fails when a cgroup goes before it was looked into, os.walk does not.
        for folder, _, _ in os.walk(hierarchy / cluster.cgroup):
            try:
                pids.update(int(line) for line in Path(folder, "cgroup.procs").read_text().split())
            except OSError:  # the cgroup was removed between the listing and the reading
                continue
    return pids


def kill_members(cluster: Cluster, timeout: float = 20) -> None:
    """End every process of the cluster at once, and wait until none is left.

    Raises UserError when one is still there after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while pids := members(cluster):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise UserError(f"these processes of cluster {cluster.name} cannot be ended: {sorted(pids)}")
        time.sleep(0.02)


def remove(cluster: Cluster, timeout: float = 10) -> None:
    """Remove the cluster's cgroups, which have no process any more."""
    deadline = time.monotonic() + timeout
    for hierarchy in hierarchies():
        top = hierarchy / cluster.cgroup
        while top.exists():
            try:
                for folder, _, _ in os.walk(top, topdown=False):
                    Path(folder).rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                # The kernel lets go of a cgroup some milliseconds after its last process.
                if time.monotonic() > deadline:
                    raise UserError(f"cannot remove the cgroup {top}: {error}") from error
                time.sleep(0.02)
        with contextlib.suppress(OSError):  # another cluster is in it, or has just removed it
            top.parent.rmdir()
