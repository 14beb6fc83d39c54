"""Takes away what one file of tests has left on the control plane that it shares with the next one."""

from functools import partial
from typing import Any

from tests.controller.client import HOLDFAST, Client, wait_for

_KINDS = (
    *(f"{HOLDFAST}/{plural}" for plural in ("restorerequests", "backupruns", "backuppolicies")),
    *("/apis/batch/v1/jobs", "/api/v1/pods"),
)
_AT_ONCE = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}


def sweep(client: Client) -> None:
    """Leave no policy, run, request, Job, pod and node, whatever holds them; namespaces stay."""
    for path in _KINDS:
        wait_for(f"{path} to be gone", partial(_is_gone, client, path))
    for node in client.must("GET", "/api/v1/nodes")["items"]:
        client.must("DELETE", f"/api/v1/nodes/{node['metadata']['name']}")


def _is_gone(client: Client, path: str) -> bool:
    return not _delete(client, path)


def _delete(client: Client, path: str) -> list[dict[str, Any]]:
    """Ask for the deletion of all objects of a kind; what is there still."""
    group, _, plural = path.rpartition("/")
    found: list[dict[str, Any]] = client.must("GET", path)["items"]
    for namespace in {each["metadata"]["namespace"] for each in found}:
        client.must("DELETE", f"{group}/namespaces/{namespace}/{plural}", _AT_ONCE)
    held: list[dict[str, Any]] = client.must("GET", path)["items"]
    for each in held:
        # Another one may just have let go of the last of its finalizers.
        metadata = each["metadata"]
        own = f"{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
        client.request("PATCH", own, {"metadata": {"finalizers": None}})
    return held
