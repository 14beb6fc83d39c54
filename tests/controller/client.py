"""What tests of the control plane ask of the API server, and how they wait for its answers."""

from collections.abc import Callable
from typing import Any, TypeVar

from tests.apiclient import ApiClient
from tests.apiserver import ApiServer
from tests.waiting import wait_until

from holdfast.domain.labels import COMPONENT

T = TypeVar("T")

HOLDFAST = "/apis/holdfast.dev/v1alpha1"


class Client(ApiClient):
    """Requests as administrator over a connection of its own, beside those of `server` itself."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server.connect, server.authorization)


def wait_for(what: str, condition: Callable[[], T | None], seconds: float = 120) -> T:
    """The first value of `condition` that is true; fails the test when none comes in time."""
    return wait_until(condition, what, seconds, pause=0.05)


class Namespace:
    """The resources of one test, in a namespace of its own."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_for("the default service account", lambda: client.request("GET", accounts)[0] == 200)

    def create(self, kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        """Create one of the three kinds, for instance `BackupRun`."""
        body = {
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name} | metadata,
            "spec": spec,
        }
        created: dict[str, Any] = self._client.must("POST", self._path(kind), body)
        return created

    def policy(self, name: str = "chatbot", targets: tuple[str, ...] = ("sessions",), **fields: Any) -> None:
        """Create a policy of Redis targets and one bucket."""
        self.create("BackupPolicy", name, policy_spec(targets) | fields)

    def run(self, name: str, policy: str = "chatbot", **fields: Any) -> None:
        """Create a run by hand."""
        self.create("BackupRun", name, {"policyRef": {"name": policy}} | fields)

    def claim(self, name: str) -> None:
        """Create a claim, which nothing binds."""
        claim = {
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        self._client.must("POST", f"/api/v1/namespaces/{self.name}/persistentvolumeclaims", claim)

    def back_up(self, *names: str) -> None:
        """Create runs by hand, and wait for the success of each before the next one."""
        for name in names:
            self.run(name)
            self.wait_phase("BackupRun", name, "Succeeded")

    def patch(self, kind: str, name: str, body: dict[str, Any], subresource: str = "") -> None:
        """Merge `body` into an object."""
        self._client.must("PATCH", f"{self._path(kind)}/{name}{subresource}", body)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object as kubectl does."""
        self._client.must("DELETE", f"{self._path(kind)}/{name}", {"propagationPolicy": "Background"})

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object, or {} when there is none."""
        status, body = self._client.request("GET", f"{self._path(kind)}/{name}")
        return body if status == 200 else {}

    def items(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind; no Jobs and pods of surveys, which come and go beside everything else."""
        found: list[dict[str, Any]] = self._client.must("GET", self._path(kind))["items"]
        return [each for each in found if each["metadata"].get("labels", {}).get(COMPONENT) != "Survey"]

    def surveys(self) -> list[dict[str, Any]]:
        """The Jobs of surveys."""
        found = self._client.must("GET", self._path("Job"))["items"]
        return [each for each in found if each["metadata"]["labels"].get(COMPONENT) == "Survey"]

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """An object's status."""
        status: dict[str, Any] = self.get(kind, name).get("status", {})
        return status

    def wait_phase(self, kind: str, name: str, *phases: str, seconds: float = 180) -> dict[str, Any]:
        """Wait for a phase; the status."""

        def reached() -> dict[str, Any] | None:
            status = self.status(kind, name)
            return status if status.get("phase") in phases else None

        try:
            return wait_for(f"{kind} {name} to be {phases}", reached, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status: {self.status(kind, name)}") from None

    def events(self, kind: str, name: str) -> list[str]:
        """The reasons of the events about an object, in the order of their creation."""
        found = [
            e
            for e in self.items("Event")
            if e["involvedObject"]["kind"] == kind and e["involvedObject"]["name"] == name
        ]
        found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [event["reason"] for event in found]

    def _path(self, kind: str) -> str:
        plural = {"BackupPolicy": "backuppolicies"}.get(kind, f"{kind.lower()}s")
        groups = {"Event": "/api/v1", "Pod": "/api/v1", "Job": "/apis/batch/v1"}
        return f"{groups.get(kind, HOLDFAST)}/namespaces/{self.name}/{plural}"


def policy_spec(targets: tuple[str, ...]) -> dict[str, Any]:
    """A policy with these Redis targets and one bucket."""
    return {
        "targets": [
            {"name": name, "redis": {"service": {"name": "redis", "port": 6379}}} for name in targets
        ],
        "destinations": [
            {
                "name": "primary",
                "s3": {"bucket": "backups", "prefix": "prod", "credentialsSecret": {"name": "s3"}},
            }
        ],
    }
