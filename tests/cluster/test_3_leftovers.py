"""Killed at any point, the cluster is made again; deleted, it leaves nothing."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.cluster.conftest import HACK, NAME, create, kind, kubectl

STATE = Path(f"/var/lib/holdfast-cluster/{NAME}")


def leftovers() -> list[str]:
    """What of the cluster is on the machine, found without the code under test."""
    found = [f"folder {STATE}"] if STATE.exists() else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "\nState:\tZ" in (process / "status").read_text():
                continue  # it has ended; its entry goes when the machine's init collects it
            if f"onenode/{NAME}/" in (process / "cgroup").read_text() + "/":
                found.append(f"process of the cgroup: {process.name} {arguments[0]}")
            elif any(f"{STATE}/" in argument for argument in arguments):
                found.append(f"process: {process.name} {arguments[0]}")
            if f"{STATE}/" in (process / "mountinfo").read_text():
                found.append(f"mount seen by {process.name}")
        except OSError:
            continue  # it ended while it was looked at
    found += [f"namespace {path}" for path in Path("/run/netns").glob(f"onenode-{NAME}")]
    found += [f"cgroup {path}" for path in cgroups(NAME)]
    return found + [f"link {link}" for link in links()]


def cgroups(name: str) -> list[Path]:
    """The cgroups of a cluster of that name; other clusters' pods may start and end beside the search."""
    # Path.glob fails when a folder goes before it was looked into, os.walk does not.
    folders = (Path(folder) for folder, _, _ in os.walk("/sys/fs/cgroup"))
    return [folder for folder in folders if folder.parts[-2:] == ("onenode", name)]


def links() -> set[str]:
    """The links of clusters, without those of another cluster that is made or deleted at this moment."""
    devices = list(Path("/sys/class/net").glob("onenode*"))
    others = set()
    for index in STATE.parent.glob("*/index"):
        if index.parent != STATE:
            with contextlib.suppress(FileNotFoundError):
                others.add(f"onenode{index.read_text()}")
    return {device.name for device in devices if device.name not in others and device.exists()}


def component(name: str) -> int:
    return int((STATE / "pids" / name).read_text().split()[0])


def run_pod(kubeconfig: Path, name: str) -> None:
    kubectl(kubeconfig, "run", name, "--image=docker.io/library/busybox:onenode")
    kubectl(kubeconfig, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


def test_killed_components_are_noticed_and_the_cluster_is_made_again(kubeconfig: Path) -> None:
    run_pod(kubeconfig, "before")
    for victim in ("containerd", "kubelet"):  # the pod and its mounts stay, with nobody to end them
        os.kill(component(victim), signal.SIGKILL)
    assert NAME not in kind("get", "clusters").stdout.splitlines()

    create(kubeconfig)

    assert NAME in kind("get", "clusters").stdout.splitlines()
    run_pod(kubeconfig, "after")


@pytest.mark.parametrize("finished", ["Creating cluster", "network", "control plane", "node"])
def test_a_create_killed_after_a_step_does_not_hinder_the_next(kubeconfig: Path, finished: str) -> None:
    kind("delete", "cluster", "--name", NAME, "--kubeconfig", kubeconfig)
    command: list[str | Path] = [
        HACK / "kind",
        "create",
        "cluster",
        "--name",
        NAME,
        "--kubeconfig",
        kubeconfig,
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert any(finished in line for line in process.stderr)
        # Somewhere within the next step; every run tries another place.
        time.sleep(random.uniform(0, 0.5))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert NAME not in kind("get", "clusters").stdout.splitlines()

    if finished == "node":  # the one that leaves most
        create(kubeconfig)
        run_pod(kubeconfig, "after")
    else:
        kind("delete", "cluster", "--name", NAME, "--kubeconfig", kubeconfig)
        assert leftovers() == []


def test_a_lost_state_folder_does_not_hinder_the_next_create(kubeconfig: Path) -> None:
    shutil.rmtree(STATE / "pids")
    (STATE / "index").unlink()
    create(kubeconfig)
    run_pod(kubeconfig, "after")


def test_the_cluster_outlives_the_session_that_made_it(kubeconfig: Path) -> None:
    own = os.getsid(0)
    for name in ("etcd", "kubelet", "containerd"):
        pid = component(name)
        assert os.getsid(pid) == pid != own
        memory = Path(f"/proc/{pid}/cgroup").read_text()
        assert f"onenode/{NAME}" in memory


def test_delete_leaves_nothing(kubeconfig: Path) -> None:
    assert len(leftovers()) > 10, "the search for leftovers finds nothing of a cluster that runs"
    kind("delete", "cluster", "--name", NAME, "--kubeconfig", kubeconfig)
    assert leftovers() == []
    assert f"kind-{NAME}" not in kubeconfig.read_text()
