"""The API server stores the largest objects that Holdfast writes."""

from typing import Any

from tests import largest
from tests.api.objects import EXAMPLES
from tests.apiserver import ApiServer

from holdfast.api.meta import Resource
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun


def store(apiserver: ApiServer, kind: type[Resource], spec: dict[str, Any], status: Any) -> dict[str, Any]:
    """Create an object and write its status, as the operator does; the object."""
    namespace = apiserver.create_namespace("large")
    path = f"/apis/holdfast.dev/v1alpha1/namespaces/{namespace}/{kind.plural}"
    body = {"apiVersion": "holdfast.dev/v1alpha1", "kind": kind.kind_name(), "spec": spec}
    apiserver.must("POST", path, body | {"metadata": {"name": "large"}})
    written: dict[str, Any] = apiserver.must("PATCH", f"{path}/large/status", {"status": status.to_json()})
    return written


def test_the_api_server_stores_the_largest_objects(apiserver: ApiServer) -> None:
    policy = largest.policy()
    run = store(apiserver, BackupRun, {"policyRef": {"name": "p"}}, largest.run_status(policy))
    assert len(run["status"]["targets"]) == 20
    assert run["metadata"]["managedFields"]
    stored = store(apiserver, BackupPolicy, policy.spec.to_json(), largest.policy_status())
    assert len(stored["status"]["retentionPlan"]["destinations"]) == 5
    request = EXAMPLES["restore-run"]["spec"]
    assert store(apiserver, RestoreRequest, request, largest.request_status())["status"]["targets"]
