"""A search for a cluster's cgroups goes on while others come and go beneath it."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.conftest import HACK
from tests.cluster.test_3_leftovers import cgroups

UNIFIED = Path("/sys/fs/cgroup")
HIERARCHY = UNIFIED if (UNIFIED / "cgroup.procs").exists() else UNIFIED / "pids"
OWN = "onenode-test-races"
SECONDS = 3
"""Without the care that this proves, a search failed within a second."""


@pytest.fixture
def restless() -> Iterator[Path]:
    """A cluster's cgroup in which pods start and end all the time."""
    if os.geteuid() != 0 or not os.access(HIERARCHY, os.W_OK):
        pytest.skip("cgroups are root's")
    top = HIERARCHY / "onenode" / OWN
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            pods = [top / "kubepods" / str(number) for number in range(50)]
            for pod in pods:
                (pod / "container").mkdir(parents=True)
            for pod in pods:
                (pod / "container").rmdir()
                pod.rmdir()

    top.mkdir(parents=True)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield top
    finally:
        ended.set()
        thread.join()
        (top / "kubepods").rmdir()
        top.rmdir()
        with contextlib.suppress(OSError):  # another cluster is in it
            top.parent.rmdir()


def test_the_tests_search_outlives_pods_that_end(restless: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert restless in cgroups(OWN)


def test_a_clusters_processes_are_found_while_its_pods_end(restless: Path) -> None:
    program = (
        "import time; from onenode import cgroups; from onenode.layout import Cluster\n"
        f"deadline = time.monotonic() + {SECONDS}\n"
        f"while time.monotonic() < deadline: assert cgroups.members(Cluster({OWN!r}, 0)) == set()"
    )
    environment = os.environ | {"PYTHONPATH": str(HACK)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
