"""The API server of the tests leaves nothing behind, and its options do what they say."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.apiserver import DEFAULT_CONTROLLERS, ApiServer
from tests.machine import REPOSITORY, programs
from tests.waiting import wait_until

HOLD = """
from tests.apiserver import ApiServer
with ApiServer() as server:
    print(*[process.pid for process in server._processes], server.folder, flush=True)
    input()
"""


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_the_servers_die_with_whoever_started_them() -> None:
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY}"}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    with holder:
        assert holder.stdout is not None
        *pids, folder = holder.stdout.readline().split()
        assert len(pids) == 2
        assert not any(_gone(int(pid)) for pid in pids)
        holder.send_signal(signal.SIGKILL)
    wait_until(lambda: all(_gone(int(pid)) for pid in pids), f"{pids} end")
    subprocess.run(["rm", "-r", folder], check=True)


def test_controllers_act_and_rbac_holds() -> None:
    with ApiServer(DEFAULT_CONTROLLERS) as server:
        namespace = server.create_namespace("controllers")
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        wait_until(lambda: server.request("GET", account)[0] == 200, "the default service account is there")
        container = {"name": "sleep", "image": "none"}
        job = {
            "metadata": {"name": "one"},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        server.must("POST", jobs, job)
        pods = f"/api/v1/namespaces/{namespace}/pods"
        wait_until(lambda: server.must("GET", pods)["items"], "the Job gets a pod")
        kubeconfig = server.kubeconfig_for("default", namespace)
        (kubectl,) = programs("kubectl")
        command = [kubectl, f"--kubeconfig={kubeconfig}", "auth", "can-i", "list", "pods", "-n", namespace]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.stdout.strip() == "no", answer.stderr
        server.must("DELETE", f"{jobs}/one?propagationPolicy=Background")
        wait_until(lambda: not server.must("GET", pods)["items"], "the garbage collector deletes the pod")
        folder, processes = server.folder, [process.pid for process in server._processes]
    assert not folder.exists()
    assert all(_gone(pid) for pid in processes)
