"""The operator beside many policies and runs on a real API server: memory, cores, requests, delay.

    .venv/bin/python -m benchmarks.control_plane [--runs 10000] [--policies 1000] [--namespaces 100]
        [--due 500] [--jobs 1500] [--idle 180] [--patience 300] [--checkout PATH]

etcd, kube-apiserver and the Job controller are real. The node is played: it ends every pod well at once. The
operator is a process of its own, from this checkout or another. The policies' ended runs have three targets
in two destinations. The API server counts the operator's requests, in a flow schema of their own.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.apiserver import DEFAULT_CONTROLLERS, ApiServer
from tests.controller.client import HOLDFAST, Client
from tests.controller.kubelet import Kubelet
from tests.controller.watch import Pods
from tests.machine import REPOSITORY, free_port
from tests.nursery import END_WITH_PARENT

from holdfast.api.policy import BackupPolicy
from holdfast.domain.backup.catalogue import places_of
from holdfast.domain.labels import COMPONENT, POLICY

TARGETS = ("sessions", "queue", "cache")
BUCKETS = ("primary", "second")
PAST = "2026-01-01T02:00:00Z"
NEVER = "0 2 29 2 *"
FLOW = "holdfast"
_LOCAL = threading.local()


@dataclass(frozen=True)
class Setup:
    """What there is."""

    policies: int
    namespaces: int
    runs: int

    def namespace(self, number: int) -> str:
        """That of a policy."""
        return f"bench-{number % self.namespaces}"

    def policy(self, number: int) -> str:
        """The path of a policy."""
        return f"{HOLDFAST}/namespaces/{self.namespace(number)}/backuppolicies/p{number}"


class Operator:
    """The operator of a checkout, with an account whose requests the API server counts."""

    def __init__(self, server: ApiServer, checkout: Path, jobs: int) -> None:
        self._environment = os.environ | {
            "KUBECONFIG": str(server.kubeconfig_for("holdfast")),
            "PYTHONPATH": str(checkout / "operator"),
            "HOLDFAST_LIVENESS_PORT": str(free_port()),
            "HOLDFAST_MAX_RUNNING_JOBS": str(jobs),
            "HOLDFAST_JOB_TTL": "10s",
        }
        self._log = Path(tempfile.mkstemp(prefix="holdfast-bench-", suffix=".log")[1])

    def __enter__(self) -> "Operator":
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*END_WITH_PARENT, sys.executable, "-m", "holdfast.controller"],
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def cpu_seconds(self) -> float:
        """So far; raises when it has ended."""
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self, name: str) -> float:
        """`VmRSS` now, or `VmHWM` at most so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1000


def main() -> None:
    """Print a table for one setup."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("runs", 10_000), ("policies", 1000), ("namespaces", 100), ("due", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--jobs", type=int, default=1500, help="the limit of Jobs of backups at once")
    parser.add_argument("--idle", type=int, default=180, help="seconds")
    parser.add_argument(
        "--patience", type=int, default=300, help="seconds until what does not come is given up"
    )
    parser.add_argument("--checkout", type=Path, default=REPOSITORY)
    asked = parser.parse_args()
    setup = Setup(asked.policies, asked.namespaces, asked.runs)
    with ApiServer(controllers=DEFAULT_CONTROLLERS, controller_requests_a_second=1000) as server:
        server.install_crds(asked.checkout / "crds")
        _prepare(server)
        _fill(server, setup)
        with Operator(server, asked.checkout, asked.jobs) as operator:
            _say("first start to in step, s", _time_to_step(server, setup, asked.patience))
        _change_all(server, setup)
        with Operator(server, asked.checkout, asked.jobs) as operator:
            _say(
                "restart to in step, every policy changed meanwhile, s",
                _time_to_step(server, setup, asked.patience),
            )
            _idle(server, operator, asked.idle)
            with _node(server):
                for jitter, what in (("60s", "spread over a minute"), ("0s", "all at once")):
                    if asked.due:
                        cpu, requests = operator.cpu_seconds(), _requests(server)
                        _due(server, setup, asked, (jitter, what))
                        cpu, requests = operator.cpu_seconds() - cpu, _requests(server) - requests
                        _say(f"{what}: the operator's requests for a run", requests / asked.due)
                        _say(f"{what}: the operator's CPU for a run, ms", 1000 * cpu / asked.due)
            _say("resident at most, MB", operator.megabytes("VmHWM"))


def _say(what: str, value: float | str) -> None:
    print(f"{what}: {value if isinstance(value, str) else f'{value:.1f}'}", flush=True)


def _prepare(server: ApiServer) -> None:
    """An account with all rights, and a flow schema that counts its requests and holds none of them up."""
    server.must("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "holdfast"}})
    subject = {"kind": "ServiceAccount", "name": "holdfast", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    server.must("POST", bindings, {"metadata": {"name": "holdfast"}, "subjects": [subject], "roleRef": role})
    every: dict[str, Any] = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    rule = {
        "subjects": [
            {"kind": "ServiceAccount", "serviceAccount": {"name": "holdfast", "namespace": "default"}}
        ],
        "resourceRules": [every | {"clusterScope": True}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    spec = {"matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "exempt"}, "rules": [rule]}
    flows = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
    server.must("POST", flows, {"metadata": {"name": FLOW}, "spec": spec})


def _destinations() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "s3": {"bucket": f"{name}-backups", "prefix": "prod", "credentialsSecret": {"name": "s3"}},
        }
        for name in BUCKETS
    ]


def _fill(server: ApiServer, setup: Setup) -> None:
    """The API server makes the first of each kind; the others are written into etcd, which is faster."""
    for number in range(setup.namespaces):
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": f"bench-{number}"}})
    policies = [(setup.namespace(number), f"p{number}") for number in range(setup.policies)]
    _multiply(server, _make_policy(server, setup), policies)
    runs = [
        (setup.namespace(number % setup.policies), f"p{number % setup.policies}-{number:06d}")
        for number in range(setup.runs)
    ]
    _multiply(server, _make_run(server, setup), runs)


def _multiply(server: ApiServer, path: str, names: Sequence[tuple[str, str]]) -> None:
    """Make of an object as many as there are names of namespaces and objects, all at once."""
    resource = path.split("/")[-2]
    first = server.must("GET", path)
    text = json.dumps(first)
    etcd = http.client.HTTPConnection("127.0.0.1", server.etcd_port)
    for namespace, name in names:
        policy = name.partition("-")[0]
        body = json.loads(text.replace("bench-0", namespace).replace(first["metadata"]["name"], name))
        del body["metadata"]["resourceVersion"]
        body["metadata"] |= {"name": name, "namespace": namespace, "uid": str(uuid.uuid4())}
        if resource == "backupruns":
            body["metadata"]["labels"] = {POLICY: policy}
            body["spec"]["policyRef"] = {"name": policy}
        key = f"/registry/holdfast.dev/{resource}/{namespace}/{name}"
        put = {
            name: b64encode(text.encode()).decode()
            for name, text in (("key", key), ("value", json.dumps(body)))
        }
        etcd.request("POST", "/v3/kv/put", json.dumps(put))
        answer = etcd.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    etcd.close()
    while _count(server, resource) < len(names):
        time.sleep(1)


def _count(server: ApiServer, resource: str) -> int:
    status, found = server.request("GET", f"{HOLDFAST}/{resource}?limit=1")
    return 1 + int(found["metadata"].get("remainingItemCount", 0)) if status == 200 else 0


def _all(server: ApiServer, numbers: range, make: Callable[[Client, int], None]) -> None:
    def of_thread(number: int) -> None:
        if getattr(_LOCAL, "server", None) is not server:
            _LOCAL.server, _LOCAL.client = server, Client(server)
        make(_LOCAL.client, number)

    with ThreadPoolExecutor(6) as pool:
        for _ in pool.map(of_thread, numbers):
            pass


def _make_policy(server: ApiServer, setup: Setup) -> str:
    targets = [{"name": name, "redis": {"service": {"name": name, "port": 6379}}} for name in TARGETS]
    spec = {"schedule": NEVER, "targets": targets, "destinations": _destinations()}
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupPolicy", "metadata": {"name": "p0"}}
    path = setup.policy(0)
    made = BackupPolicy.from_object(server.must("POST", path.rpartition("/")[0], body | {"spec": spec}))
    places = places_of(made.spec.destinations)
    later = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    catalogue = {"places": places, "nextSurveyTime": later}
    server.must("PATCH", f"{path}/status", {"status": {"catalogue": catalogue}})
    return path


def _make_run(server: ApiServer, setup: Setup) -> str:
    path = f"{HOLDFAST}/namespaces/bench-0/backupruns"
    name = "p0-000000"
    spec = {"policyRef": {"name": "p0"}, "trigger": "Schedule", "scheduledTime": PAST}
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "BackupRun", "spec": spec}
    server.must("POST", path, body | {"metadata": {"name": name, "labels": {POLICY: "p0"}}})
    server.must("PATCH", f"{path}/{name}/status", {"status": _stored(f"bench-0/p0/{name}")})
    return f"{path}/{name}"


def _stored(path: str) -> dict[str, Any]:
    """The status of a run that has ended well: about 6 KB."""
    condition = {"type": "Complete", "status": "True", "reason": "Succeeded", "message": "all is stored"}
    return {
        "phase": "Succeeded", "startTime": PAST, "completionTime": PAST, "recoveryPoint": PAST,
        "message": "3 targets are stored in 2 destinations", "copies": "2/2", "sizeBytes": 6 << 20,
        "destinations": _destinations(), "conditions": [condition | {"lastTransitionTime": PAST}],
        "targets": [
            {
                "name": name, "engine": "redis", "phase": "Succeeded", "attempts": 1, "startTime": PAST,
                "completionTime": PAST, "snapshotTime": PAST, "sizeBytes": 2 << 20,
                "manifestSha256": "a" * 64,
                "source": {"address": f"{name}:6379", "role": "Standby", "version": "7.4.1"},
                "contents": {"databases": 1, "keys": 4200},
                "artifacts": [
                    {
                        "destination": bucket, "uri": f"s3://{bucket}-backups/prod/{path}/{name}/dump-{part}.rdb.zst",
                        "sizeBytes": 1 << 20, "sha256": "b" * 64,
                    }
                    for bucket in BUCKETS for part in range(2)
                ],
            }
            for name in TARGETS
        ],
    }  # fmt: skip


def _policies(server: ApiServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.must("GET", f"{HOLDFAST}/backuppolicies")["items"]
    return found


def _change_all(server: ApiServer, setup: Setup) -> None:
    change = {"spec": {"history": {"failed": 7}}}
    _all(server, range(setup.policies), lambda client, number: _patch(client, setup.policy(number), change))


def _patch(client: Client, path: str, change: dict[str, Any]) -> None:
    client.must("PATCH", path, change)


def _time_to_step(server: ApiServer, setup: Setup, patience: float) -> float | str:
    """Until the status of every policy is of its present generation."""
    start = time.monotonic()
    while (seconds := time.monotonic() - start) < patience:
        time.sleep(0.5)
        behind = sum(
            policy["metadata"]["generation"] != policy.get("status", {}).get("observedGeneration")
            for policy in _policies(server)
        )
        if not behind:
            return seconds
    return f"after {patience:.0f} s {behind} of {setup.policies} policies were behind"


def _requests(server: ApiServer) -> float:
    """The operator's, so far."""
    return _metric(server, "apiserver_flowcontrol_dispatched_requests_total", f'flow_schema="{FLOW}"')


def _bytes(server: ApiServer) -> float:
    """Of answers that list objects of Holdfast's kinds or Jobs, whoever has asked."""
    return sum(
        _metric(server, "apiserver_response_sizes_sum", 'verb="LIST"', f'group="{group}"')
        for group in ("holdfast.dev", "batch")
    )


def _metric(server: ApiServer, name: str, *labels: str) -> float:
    status, text = server.request("GET", "/metrics")
    assert status == 200, status
    lines = [line for line in str(text).splitlines() if line.startswith(name + "{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in labels))


def _idle(server: ApiServer, operator: Operator, seconds: int) -> None:
    # The next turns of the resync handle every policy once more, because the restart wrote its status.
    time.sleep(130)
    cpu, requests, sent, start = operator.cpu_seconds(), _requests(server), _bytes(server), time.monotonic()
    kinds = _kinds(server)
    while time.monotonic() - start < seconds:
        time.sleep(1)
    took = time.monotonic() - start
    _say("nothing due: resident, MB", operator.megabytes("VmRSS"))
    _say("nothing due: of a core, %", 100 * (operator.cpu_seconds() - cpu) / took)
    _say("nothing due: requests a minute", 60 * (_requests(server) - requests) / took)
    _say("nothing due: MB of lists a minute", 60 * (_bytes(server) - sent) / 1e6 / took)
    for kind, count in (_kinds(server) - kinds).most_common(5):
        _say(f"nothing due: {kind} a minute, of all clients", 60 * count / took)


def _kinds(server: ApiServer) -> Counter[str]:
    """How many requests of each verb and resource were answered, whoever has asked."""
    status, text = server.request("GET", "/metrics")
    assert status == 200, status
    found = re.findall(
        r'^apiserver_request_total{.*?resource="(\w*)".*?subresource="(\w*)".*?verb="(\w+)".*?} (\S+)$',
        str(text), re.MULTILINE,
    )  # fmt: skip
    kinds: Counter[str] = Counter()
    for resource, subresource, verb, count in found:
        kinds[f"{verb} {resource}/{subresource}".rstrip("/")] += int(float(count))
    return kinds


@contextlib.contextmanager
def _node(server: ApiServer) -> Iterator[None]:
    with contextlib.closing(Client(server)) as client, Pods(server) as pods, Kubelet(client, pods):
        yield


class Jobs:
    """When the first backup Job of each policy was seen, by a watch."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.seen: dict[str, float] = {}
        self._ends = False
        version = server.must("GET", "/apis/batch/v1/jobs?limit=1")["metadata"]["resourceVersion"]
        self._thread = threading.Thread(target=self._run, args=(version,), daemon=True)
        self._thread.start()

    def _run(self, version: str) -> None:
        connection = self._server.connect()
        path = f"/apis/batch/v1/jobs?watch=true&labelSelector={COMPONENT}=Backup&resourceVersion={version}"
        connection.request("GET", path, headers=self._server.authorization)
        answer = connection.getresponse()
        while line := answer.readline():
            event = json.loads(line)
            if event["type"] == "ADDED":
                self.seen.setdefault(event["object"]["metadata"]["labels"][POLICY], time.time())


def _due(server: ApiServer, setup: Setup, asked: argparse.Namespace, way: tuple[str, str]) -> None:
    """Give policies a slot in three minutes, and see when their first Jobs come."""
    jitter, what = way
    slot = (datetime.now(UTC) + timedelta(seconds=240)).replace(second=0, microsecond=0)
    step = max(1, setup.policies // asked.due)
    chosen = range(0, min(setup.policies, asked.due * step), step)
    spec = {"schedule": f"{slot.minute} {slot.hour} {slot.day} {slot.month} *", "jitter": jitter}
    _all(server, chosen, lambda client, number: _patch(client, setup.policy(number), {"spec": spec}))
    names = {f"p{number}" for number in chosen}
    jobs, planned = Jobs(server), _planned(server, names)
    end = slot.timestamp() + 60 + asked.patience
    while len(jobs.seen) < len(names) and time.time() < end:
        time.sleep(0.2)
    delays = sorted(jobs.seen[name] - planned[name] for name in jobs.seen if name in planned)
    if len(delays) < len(names):
        _say(f"{what}: Jobs that had come after {asked.patience} s", f"{len(delays)} of {len(names)}")
    if delays:
        for name, at in (("median", 50), ("p99", 99), ("last", 100)):
            _say(f"{what}: slot to Job, {name}, s", delays[min(len(delays) - 1, len(delays) * at // 100)])
    while time.time() < end and _running(server):
        time.sleep(1)


def _planned(server: ApiServer, names: set[str]) -> dict[str, float]:
    """By policy: when its next run is to start, once all say so."""
    limit = time.time() + 120
    while time.time() < limit:
        found = {
            policy["metadata"]["name"]: datetime.fromisoformat(
                policy["status"]["nextScheduleTime"]
            ).timestamp()
            for policy in _policies(server)
            if policy["metadata"]["name"] in names and policy["status"].get("nextScheduleTime")
        }
        if len(found) == len(names) and max(found.values()) < time.time() + 600:
            return found
        time.sleep(0.5)
    raise AssertionError("not all policies have taken their slot before it came")


def _running(server: ApiServer) -> bool:
    jobs = server.must("GET", f"/apis/batch/v1/jobs?labelSelector={COMPONENT}")["items"]
    return any(not job["status"].get("conditions") for job in jobs)


if __name__ == "__main__":
    main()
