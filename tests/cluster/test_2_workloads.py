"""The cluster runs what the project's charts and tests need."""

import subprocess
from pathlib import Path

import pytest
from tests.cluster.conftest import NAME, kubectl, kubectl_path

WORKLOAD = Path(__file__).with_name("workload.yaml")


@pytest.fixture(scope="module")
def web(kubeconfig: Path) -> Path:
    """A ready pod under the restricted profile, with a volume and a service."""
    kubectl(kubeconfig, "apply", f"--filename={WORKLOAD}")
    kubectl(kubeconfig, "-n", "restricted", "wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    return kubeconfig


def in_pod(kubeconfig: Path, script: str) -> str:
    return kubectl(kubeconfig, "-n", "restricted", "exec", "web", "--", "sh", "-c", script)


def test_the_volume_is_the_pods_own_and_lies_on_the_node(web: Path) -> None:
    assert in_pod(web, "id -u; cat /data/index.html") == "10001\nfrom the volume\n"
    volumes = Path(f"/var/lib/holdfast-cluster/{NAME}/volumes")
    pages = [page.read_text() for page in volumes.glob("*/index.html")]
    assert pages == ["from the volume\n"]


def test_a_service_is_found_by_name_and_answers(web: Path) -> None:
    address = kubectl(web, "-n", "restricted", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
    assert address in in_pod(web, "nslookup web.restricted.svc.cluster.local")
    assert in_pod(web, f"wget -qO- http://{address}/") == "from the volume\n"


def test_a_pod_cannot_leave_the_machine(web: Path) -> None:
    # 192.0.2.1 is an address for documentation: it must be refused a route, not time out.
    assert "unreachable" in in_pod(web, "nc 192.0.2.1 80 2>&1; true")


def test_logs_and_port_forward(web: Path) -> None:
    assert kubectl(web, "-n", "restricted", "logs", "web") == "started\n"
    forward = [
        kubectl_path(),
        f"--kubeconfig={web}",
        "-n",
        "restricted",
        "port-forward",
        "service/web",
        ":80",
    ]
    with subprocess.Popen(forward, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().split()[2].rpartition(":")[2]
            url = f"http://127.0.0.1:{port}/"
            page = subprocess.run(
                ["curl", "-sf", url], capture_output=True, text=True, check=True, timeout=20
            )
            assert page.stdout == "from the volume\n"
        finally:
            process.terminate()


def test_a_pod_that_breaks_the_restricted_profile_is_refused(web: Path) -> None:
    run = ("run", "root", "--image=docker.io/library/busybox:onenode", "-n", "restricted")
    result = subprocess.run(
        [kubectl_path(), f"--kubeconfig={web}", *run], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode
    assert 'violates PodSecurity "restricted' in result.stderr


def test_memory_limits_are_enforced(web: Path) -> None:
    override = '{"spec": {"containers": [{"name": "hog", "image": "docker.io/library/busybox:onenode", \
        "command": ["sh", "-c", "head -c 100000000 /dev/zero | tail"], \
        "resources": {"limits": {"memory": "20Mi"}}}]}}'
    kubectl(web, "run", "hog", "--image=unused", "--restart=Never", f"--overrides={override}")
    kubectl(web, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/hog", "--timeout=60s")
    # The code of a process that was killed, and not the reason: containerd says Error instead of OOMKilled
    # when the container's end overtakes the event of the kernel.
    code = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"
    assert kubectl(web, "get", "pod", "hog", "-o", code) == "137"
