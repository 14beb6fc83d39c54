"""The whole cluster: Holdfast by its chart, and the sample application in a namespace of its own."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.demo.application import Application
from hack.demo.kubectl import Kubectl
from pytest_kind import KindCluster
from tests import waiting

EXAMPLES = Path("examples/knowledge-base")
SYSTEM = "holdfast-system"
PARTS = ("namespace", "secrets", "postgres", "chroma", "redis")
STORE_PARTS = ("namespace", "secrets", "s3")
SERVERS = ("postgres-primary", "postgres-standby", "chroma", "redis")
RESTORED = [
    {"name": "knowledge-base", "postgres": {"credentialsSecret": {"name": "pg-admin"}}},
    {"name": "embeddings", "chroma": {}},
    {"name": "sessions", "redis": {}},
]
"""The policy's targets, written to with the admin's role."""
ENDS = {"Succeeded", "PartiallySucceeded", "Failed", "Refused", "Cancelled", "Missed", "Skipped"}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """As that of all tests; each look costs a process of kubectl, so it looks less often."""
    return waiting.wait_until(condition, what, seconds, pause=0.5)


class Stage:
    """A namespace of the cluster with the sample application in it, and what a user does there.

    Its bucket is in the same namespace unless `store` names another one.
    """

    def __init__(self, namespace: str, kubeconfig: Path, postgres: int, store: str = "") -> None:
        self._postgres = postgres
        self.kubectl = Kubectl(namespace, kubeconfig)
        self.store = Kubectl(store or namespace, kubeconfig)
        self.application = Application(self.kubectl, passages=300, conversations=500)
        self.prefix = "prod"
        """Where in the bucket the policy stores: the example's, unless files of tests share the bucket."""

    def manifest(self, name: str, namespace: str = "") -> str:
        """An example, made to stand in this namespace, with its major version of PostgreSQL."""
        text, space = (EXAMPLES / name).read_text(), namespace or self.kubectl.namespace
        for old, new in (
            ("namespace: rag", f"namespace: {space}"),
            ("name: rag\n", f"name: {space}\n"),
            ("http://s3:", f"http://s3.{self.store.namespace}.svc:"),
            ("prefix: prod", f"prefix: {self.prefix}"),
            ("-pg17", f"-pg{self._postgres}"),
            ("postgresql/17/", f"postgresql/{self._postgres}/"),
            ("majorVersion: 17", f"majorVersion: {self._postgres}"),
        ):
            text = text.replace(old, new)
        return text

    def deploy(self) -> None:
        """The application's servers and its store, ready; nothing happens to those that are."""
        for kubectl, parts in ((self.store, STORE_PARTS), (self.kubectl, PARTS)):
            manifests = [self.manifest(f"{part}.yaml", kubectl.namespace) for part in parts]
            kubectl("apply", "--filename=-", stdin="\n---\n".join(manifests))
        self.store("rollout", "status", "statefulset/s3", "--timeout=180s")
        for name in SERVERS:
            self.kubectl("rollout", "status", f"statefulset/{name}", "--timeout=180s")

    def reset(self, prefix: str) -> None:
        """The application with its data, and its policy, as if nothing had been done to them."""
        self.prefix = prefix
        self.deploy()
        for kind in ("backuppolicies", "backupruns", "restorerequests"):
            self.kubectl("delete", kind, "--all", "--wait")
        self.application.load()
        self.apply(self.policy())

    def remove(self, *flags: str) -> None:
        """Delete the namespaces, with `flags` of kubectl."""
        for namespace in {self.kubectl.namespace, self.store.namespace}:
            self.kubectl("delete", "namespace", namespace, "--ignore-not-found", *flags)

    def apply(self, manifest: dict[str, Any]) -> None:
        """`kubectl apply` of one object."""
        self.kubectl("apply", "--filename=-", stdin=json.dumps(manifest))

    def create(self, kind: str, spec: dict[str, Any], name: str = "") -> str:
        """`kubectl create` of a BackupRun or RestoreRequest; its name."""
        metadata = {"name": name} if name else {"generateName": "test-"}
        manifest = {"apiVersion": "holdfast.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        made = self.kubectl("create", "--filename=-", "--output=json", stdin=json.dumps(manifest))
        return str(json.loads(made)["metadata"]["name"])

    def backup(self, policy: str = "chatbot") -> str:
        """A run by hand, not awaited."""
        return self.create("BackupRun", {"policyRef": {"name": policy}})

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """An object's status; empty while there is none."""
        status: dict[str, Any] = self.kubectl.get(kind, name).get("status", {})
        return status

    def ended(self, kind: str, name: str, seconds: float = 240) -> dict[str, Any]:
        """The status of a run or a request once it has come to an end."""

        def end() -> dict[str, Any] | None:
            status = self.status(kind, name)
            return status if status.get("phase") in ENDS else None

        status: dict[str, Any] = wait_until(end, f"{kind} {name} comes to an end", seconds)
        return status

    def reaches(self, kind: str, name: str, holds: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Wait until an object's status is as wanted."""
        wait_until(lambda: holds(self.status(kind, name)), f"{kind} {name}: {what}", 60)

    def restore(self, **spec: Any) -> dict[str, Any]:
        """A restore of mode New to its end; by default of the policy's newest run by the admin's role."""
        request: dict[str, Any] = {
            "source": {"policyRef": {"name": "chatbot"}},
            "mode": "New",
            "targets": RESTORED,
        }
        return self.ended("restorerequest", self.create("RestoreRequest", {**request, **spec}))

    def policy(self) -> dict[str, Any]:
        """The example's policy, to be changed and applied."""
        import yaml

        policy: dict[str, Any] = yaml.safe_load(self.manifest("policy.yaml"))
        return policy

    def events(self, name: str) -> list[str]:
        """`reason: message` of an object's events."""
        found = json.loads(
            self.kubectl("get", "events", f"--field-selector=involvedObject.name={name}", "-ojson")
        )
        return [f"{event['reason']}: {event['message']}" for event in found["items"]]


@pytest.fixture(scope="session")
def holdfast(kind_cluster: KindCluster) -> Iterator[Kubectl]:
    """The operator, installed from this checkout; it must come through all tests without a restart."""
    kubectl = Kubectl(SYSTEM, kind_cluster.kubeconfig_path)
    options = ["PG_MAJORS=15 17", "DEPLOY_FLAGS=--set operator.podStartDeadline=15s"]
    # Named, because make's own default is the cluster that people use.
    subprocess.run(["make", "deploy", f"CLUSTER={kind_cluster.name}", *options], check=True)
    yield kubectl
    log = kubectl("logs", "deployment/holdfast", "--tail=-1").splitlines()
    # Their surroundings alone: the whole log would be cut where a test's output is.
    marked = [number for number, line in enumerate(log) if "Traceback" in line or "Forbidden" in line]
    told = "\n\n".join("\n".join(log[max(0, number - 3) : number + 40]) for number in marked[:3])
    assert not marked, f"the operator's log has a traceback or a permission that it lacks:\n{told}"


@pytest.fixture(scope="session")
def application(holdfast: Kubectl) -> Iterator[Stage]:
    """One for all files that leave it as they found it; its bucket outlives its namespace."""
    stage = Stage("e2e-application", holdfast.kubeconfig, 17, store="e2e-store")
    stage.remove("--wait")
    yield stage
    stage.remove("--wait=false")


@pytest.fixture(scope="module")
def stage(application: Stage, request: pytest.FixtureRequest) -> Stage:
    """The application, loaded, and its policy applied, which stores below a prefix of this file alone."""
    application.reset(request.path.stem.removeprefix("test_").replace("_", "-"))
    return application
