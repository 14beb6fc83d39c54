"""hack/kind answers as kind does, to people and to pytest-kind."""

import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from pytest_kind.cluster import KindCluster
from tests.cluster.conftest import HACK, NAME, kind, kubectl, kubectl_path


def test_clusters_are_listed_on_standard_output(kubeconfig: Path) -> None:
    assert NAME in kind("get", "clusters").stdout.splitlines()
    assert kind("get", "nodes", "--name", NAME).stdout == f"{NAME}-control-plane\n"


def test_a_second_create_is_refused(kubeconfig: Path) -> None:
    result = kind("create", "cluster", "--name", NAME, "--kubeconfig", kubeconfig, check=False)
    assert result.returncode == 1
    assert f'node(s) already exist for a cluster with the name "{NAME}"' in result.stderr


def test_the_kubeconfig_keeps_what_else_it_holds(kubeconfig: Path, tmp_path: Path) -> None:
    target = tmp_path / "config"
    command = [kubectl_path(), "config", f"--kubeconfig={target}"]
    subprocess.run([*command, "set-cluster", "other", "--server=https://192.0.2.1"], check=True)
    subprocess.run([*command, "set-context", "other", "--cluster=other"], check=True)

    kind("export", "kubeconfig", "--name", NAME, "--kubeconfig", target)

    config = yaml.safe_load(target.read_text())
    assert {context["name"] for context in config["contexts"]} == {"other", f"kind-{NAME}"}
    assert config["current-context"] == f"kind-{NAME}"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    printed = yaml.safe_load(kind("get", "kubeconfig", "--name", NAME).stdout)
    assert printed["clusters"][0] in config["clusters"]


def test_pytest_kind_uses_the_cluster(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # pytest-kind makes a folder where it runs
    cluster = KindCluster(
        NAME,
        kubeconfig,
        kind_path=HACK / "kind",
        kubectl_path=Path(kubectl_path()),
        image="kindest/node:v1.34.0",
    )
    cluster.create()
    assert f"{NAME}-control-plane" in cluster.kubectl("get", "nodes")


def test_an_image_of_the_builder_runs(kubeconfig: Path, tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text("built here\n")
    busybox = subprocess.run(["which", "busybox"], capture_output=True, text=True, check=True).stdout.strip()
    dockerfile = 'FROM scratch\nCOPY busybox greeting /\nCMD ["/busybox", "cat", "/greeting"]\n'
    (tmp_path / "Dockerfile").write_text(dockerfile)
    (tmp_path / "busybox").write_bytes(Path(busybox).read_bytes())
    (tmp_path / "busybox").chmod(0o755)
    build = ["buildah", "bud", "--quiet", "--isolation=chroot", "--tag=greeting:1", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    try:
        kind("load", "docker-image", "greeting:1", "--name", NAME)
    finally:
        subprocess.run(["buildah", "rmi", "greeting:1"], check=True, capture_output=True)

    run = ("run", "greeting", "--image=greeting:1", "--restart=Never", "--image-pull-policy=Never")
    kubectl(kubeconfig, *run)
    done = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl(kubeconfig, "wait", done, "pod/greeting", "--timeout=60s")
    assert kubectl(kubeconfig, "logs", "greeting") == "built here\n"


def test_an_image_that_does_not_exist_is_refused(kubeconfig: Path) -> None:
    result = kind("load", "docker-image", "--name", NAME, "never-built:1", check=False)
    assert result.returncode == 1
    assert 'image: "never-built:1" not present locally' in result.stderr


def test_logs_are_exported(kubeconfig: Path, tmp_path: Path) -> None:
    kind("export", "logs", tmp_path, "--name", NAME)
    node = tmp_path / f"{NAME}-control-plane"
    assert (node / "kubelet.log").read_text()
    assert any("built here" in log.read_text() for log in (node / "pods").rglob("*.log"))


def test_a_wrong_name_is_refused() -> None:
    result = kind("create", "cluster", "--name", "../etc", check=False)
    assert result.returncode == 2
    assert "is no cluster name" in result.stderr
