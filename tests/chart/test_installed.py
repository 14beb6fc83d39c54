"""The chart on a real API server: what is admitted, and what the operator may then do."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.apiserver import ApiServer
from tests.chart.conftest import Release, helm, render
from tests.waiting import wait_until

Install = Callable[..., Release]

EXEC = [("get", "/pods/exec"), ("create", "/pods/exec")]
NEEDED = [
    *((verb, "holdfast.dev/backuppolicies") for verb in ("get", "list", "watch")),
    *((verb, "holdfast.dev/backupruns") for verb in ("get", "list", "watch", "create", "delete")),
    *((verb, "holdfast.dev/restorerequests") for verb in ("get", "list", "watch")),
    ("update", "holdfast.dev/backuppolicies/status"),
    ("update", "holdfast.dev/backupruns/status"),
    ("update", "holdfast.dev/restorerequests/status"),
    ("update", "holdfast.dev/backupruns/finalizers"),
    ("update", "holdfast.dev/restorerequests/finalizers"),
    *((verb, "batch/jobs") for verb in ("get", "list", "watch", "create", "delete", "patch")),
    ("list", "/pods"),
    ("get", "/pods/log"),
    *((verb, "/events") for verb in ("list", "create")),
    ("patch", "holdfast.dev/backuppolicies"),
    ("patch", "holdfast.dev/backupruns"),
    *EXEC,
]
FORBIDDEN = [
    *((verb, "/secrets") for verb in ("get", "list", "watch", "create", "update", "delete")),
    *((verb, "/configmaps") for verb in ("get", "list")),
    ("create", "/pods"),
    ("delete", "/persistentvolumeclaims"),
    ("create", "/serviceaccounts/token"),
    ("delete", "holdfast.dev/backuppolicies"),
    ("update", "holdfast.dev/backuppolicies"),
    ("create", "holdfast.dev/restorerequests"),
    ("create", "rbac.authorization.k8s.io/rolebindings"),
]


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    template = copy.deepcopy(deployment["spec"]["template"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": template["spec"]}


def test_the_operators_pod_is_admitted_under_the_restricted_profile(
    install: Install, apiserver: ApiServer
) -> None:
    release = install()
    deployments = f"/apis/apps/v1/namespaces/{release.namespace}/deployments"
    pod = pod_of(apiserver.must("GET", f"{deployments}/holdfast"))
    pods = f"/api/v1/namespaces/{release.namespace}/pods?dryRun=All"

    status, answer = apiserver.request("POST", pods, pod)
    assert status == 201, answer

    # The profile is enforced: what it forbids is refused here.
    pod["spec"]["containers"][0]["securityContext"].pop("capabilities")
    status, answer = apiserver.request("POST", pods, pod)
    assert status == 403
    assert "unrestricted capabilities" in answer["message"]


def allowed(release: Release, namespace: str) -> list[tuple[str, str]]:
    """What the operator may do in a namespace, of what it needs and what it must not."""
    return [each for each in (*NEEDED, *FORBIDDEN) if release.may(*each, namespace)]


def comes_to_be(what: str, value: Callable[[], object], expected: object) -> None:
    """The API server learns of new roles by watches of its own, so its answers follow them by a moment."""
    try:
        wait_until(lambda: value() == expected, what)
    except AssertionError:
        assert value() == expected, what


def test_the_operator_may_do_what_it_does_and_nothing_else(install: Install, apiserver: ApiServer) -> None:
    release = install()
    space = apiserver.create_namespace("rag")
    comes_to_be("all that it needs", lambda: allowed(release, space), NEEDED)
    for resource in ("apiextensions.k8s.io/customresourcedefinitions", "/namespaces"):
        assert release.may("list", resource, "")
        assert release.may("watch", resource, "")


def test_with_named_namespaces_it_may_do_nothing_elsewhere(install: Install, apiserver: ApiServer) -> None:
    watched, other = apiserver.create_namespace("rag"), apiserver.create_namespace("other")
    release = install(f"watchNamespaces={{{watched}}}")
    comes_to_be("all that it needs", lambda: allowed(release, watched), NEEDED)
    comes_to_be("nothing elsewhere", lambda: allowed(release, other), [])
    # Their names only: it learns at once that a watched one has come.
    for resource in ("apiextensions.k8s.io/customresourcedefinitions", "/namespaces"):
        assert release.may("list", resource, "")


def test_without_hooks_it_may_run_no_command_in_a_pod(install: Install, apiserver: ApiServer) -> None:
    release = install("operator.hooks=false")
    space = apiserver.create_namespace("rag")
    rest = [each for each in NEEDED if each not in EXEC]
    comes_to_be("all but that", lambda: allowed(release, space), rest)


@pytest.mark.parametrize("values", [(), ("watchNamespaces={rag}",)])
def test_no_role_has_a_wildcard_or_secrets(values: tuple[str, ...]) -> None:
    roles = [each for each in render(*values) if each["kind"] in {"Role", "ClusterRole"}]
    assert roles
    for role in roles:
        for rule in role["rules"]:
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not {word for word in words if "*" in word or "secret" in word}, role["metadata"]["name"]


def test_users_of_a_namespace_get_its_resources_by_aggregation() -> None:
    roles = {each["metadata"]["name"]: each for each in render() if each["kind"] == "ClusterRole"}
    view, edit = roles["holdfast-view"], roles["holdfast-edit"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert set(view["rules"][0]["verbs"]) == {"get", "list", "watch"}


@pytest.mark.parametrize("keep", [True, False])
def test_uninstalling_keeps_the_resources_or_not(install: Install, apiserver: ApiServer, keep: bool) -> None:
    release = install(f"crds.keep={str(keep).lower()}")
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/backuppolicies.holdfast.dev"
    assert "deletionTimestamp" not in apiserver.must("GET", path)["metadata"]
    where = [f"--namespace={release.namespace}", f"--kubeconfig={apiserver.kubeconfig}"]

    helm("uninstall", "holdfast", *where)

    deployments = f"/apis/apps/v1/namespaces/{release.namespace}/deployments/holdfast"
    assert apiserver.request("GET", deployments)[0] == 404
    if keep:
        assert "deletionTimestamp" not in apiserver.must("GET", path)["metadata"]
    else:
        # All three, so that the next test can install them again.
        for kind in ("backuppolicies", "backupruns", "restorerequests"):
            gone = path.replace("backuppolicies", kind)
            wait_until(partial(is_gone, apiserver, gone), f"{kind} to be gone", 120)


def is_gone(apiserver: ApiServer, path: str) -> bool:
    """Whether the API server has nothing there."""
    return apiserver.request("GET", path)[0] == 404


def test_the_notes_say_what_to_do_next(install: Install) -> None:
    release = install()
    assert "kubectl get backuppolicies" in release.notes
    assert f"kubectl logs --namespace {release.namespace} deployment/holdfast" in release.notes
