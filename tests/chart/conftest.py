"""The chart, installed by Helm on a real API server."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.apiserver import ApiServer
from tests.machine import REPOSITORY, programs

CHART = REPOSITORY / "charts/holdfast"
(HELM,) = programs("helm")
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def helm(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run Helm; its output is in the error when it fails."""
    result = subprocess.run([HELM, *map(str, arguments)], capture_output=True, text=True, check=False)
    if check:
        assert result.returncode == 0, result.stderr
    return result


def render(*values: str) -> list[dict[str, Any]]:
    """The chart's objects, with `--set` of each of `values`."""
    flags = [f"--set={value}" for value in values]
    output = helm("template", "holdfast", CHART, "--namespace=system", "--kube-version=1.34.0", *flags).stdout
    return [document for document in yaml.safe_load_all(output) if document]


@dataclass
class Release:
    """An installed chart."""

    api: ApiServer
    namespace: str
    notes: str

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether the operator may do something: `resource` is `group/resource[/subresource]`."""
        group, resource, *subresource = resource.split("/")
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "subresource": "".join(subresource),
            "namespace": namespace,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{self.namespace}:holdfast",
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "resourceAttributes": attributes,
            },
        }
        answer = self.api.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """An API server of its own: the chart brings the definitions, and takes them away."""
    with ApiServer() as server:
        yield server


@pytest.fixture
def install(apiserver: ApiServer) -> Iterator[Callable[..., Release]]:
    """Install the chart as `holdfast` in a new namespace that enforces the restricted profile."""
    installed: list[str] = []

    def install(*values: str) -> Release:
        namespace = apiserver.create_namespace("system")
        apiserver.must("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": RESTRICTED}})
        flags = [f"--set={value}" for value in values]
        where = [f"--namespace={namespace}", f"--kubeconfig={apiserver.kubeconfig}"]
        # Registered first: a failed installation leaves objects behind, too.
        installed.append(namespace)
        # The release before has kept its definitions.
        notes = helm("install", "holdfast", CHART, "--take-ownership", *where, *flags).stdout
        return Release(apiserver, namespace, notes)

    yield install
    for namespace in installed:
        where = [f"--namespace={namespace}", f"--kubeconfig={apiserver.kubeconfig}"]
        helm("uninstall", "holdfast", "--ignore-not-found", *where)
