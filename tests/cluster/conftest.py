"""A cluster of hack/kind, made once for these tests under a name of their own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machine import REPOSITORY, programs

HACK = REPOSITORY / "hack"
NAME = "onenode-test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and keep the order of the files: later ones break the cluster."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.cluster)


def kind(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run hack/kind, and fail with what it said when it fails."""
    result = subprocess.run(
        [HACK / "kind", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    if check and result.returncode:
        pytest.fail(f"kind {arguments} ended with {result.returncode}:\n{result.stderr}")
    return result


def create(kubeconfig: Path) -> None:
    """Make the tests' cluster."""
    kind("create", "cluster", "--name", NAME, "--kubeconfig", kubeconfig, "--wait", "2m")


def kubectl_path() -> str:
    """The kubectl that the project uses."""
    return programs("kubectl")[0]


def kubectl(kubeconfig: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl against the cluster and return what it prints; fail with what it said when it fails."""
    result = subprocess.run(
        [kubectl_path(), f"--kubeconfig={kubeconfig}", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if result.returncode:
        pytest.fail(f"kubectl {arguments} ended with {result.returncode}:\n{result.stderr}")
    return result.stdout


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a cluster that works when the first test starts."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("hack/kind needs root on Debian")
    path = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    kind("delete", "cluster", "--name", NAME, "--kubeconfig", path)
    create(path)
    yield path
    kind("delete", "cluster", "--name", NAME, "--kubeconfig", path)
