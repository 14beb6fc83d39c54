"""A right that is missing in a namespace, and a namespace that is gone: said once, and felt nowhere else."""

import re
from collections import Counter
from typing import Any

from tests.apiserver import ApiServer
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Kubelet
from tests.controller.process import Operator
from tests.controller.test_rbac import apply, rights


def _without(manifests: list[dict[str, Any]], namespace: str, resource: str, verb: str) -> None:
    """Take a right away from the role in a namespace."""
    roles = [each for each in manifests if each["kind"] == "Role"]
    role = next(each for each in roles if each["metadata"]["namespace"] == namespace)
    rules = [{**rule, "resources": [name]} for rule in role["rules"] for name in rule["resources"]]
    for rule in rules:
        if rule["resources"] == [resource]:
            rule["verbs"] = [each for each in rule["verbs"] if each != verb]
    role["rules"] = rules


def test_a_missing_right_is_named_on_the_object_and_stops_nobody(
    control_plane: ApiServer, client: Client, kubelet: Kubelet
) -> None:
    home = control_plane.create_namespace("holdfast")
    good, jobless, hidden, bare, gone = (
        Namespace(client, control_plane.create_namespace(name))
        for name in ("good", "jobless", "hidden", "bare", "gone")
    )
    watched = ",".join(each.name for each in (good, jobless, hidden, bare, gone))
    manifests = [
        each for each in rights("m", home, watched) if each["metadata"].get("namespace") != bare.name
    ]
    _without(manifests, jobless.name, "jobs", "create")
    _without(manifests, hidden.name, "backupruns", "list")
    account = apply(client, manifests)
    settings: dict[str, Any] = {"WATCH_NAMESPACES": watched, "POD_START_DEADLINE": "3s", "RESYNC": "2s"}
    with Operator(control_plane.kubeconfig_for(account, home), **settings) as operator:
        for each in (good, jobless, hidden, bare, gone):
            each.policy()
        jobless.run("now")
        gone.back_up("one")
        client.must("DELETE", f"/api/v1/namespaces/{gone.name}")
        status = jobless.wait_phase("BackupRun", "now", "Failed")
        assert status["reason"] == "JobRefused"
        assert f"may not create jobs.batch in namespace {jobless.name}" in status["message"]
        condition = wait_for("what is forbidden", lambda: _permitted(hidden))
        assert (condition["status"], condition["reason"]) == ("False", "Forbidden")
        assert f"`kubectl auth can-i list backupruns.holdfast.dev -n {hidden.name}" in condition["message"]
        assert hidden.events("BackupPolicy", "chatbot") == ["Forbidden"]
        path = f"/api/v1/namespaces/{gone.name}"
        wait_for("the namespace to be gone", lambda: client.request("GET", path)[0] == 404)
        good.back_up("now")
        assert operator.running
        assert operator.liveness() == 200
        assert "Traceback" not in operator.log
        said = Counter(re.findall(r"outages: (.*) fails\.", operator.log))
        assert max(said.values()) == 1, said
        assert f"GET backuppolicies in namespace {bare.name}" in said
        assert sum(bare.name in line for line in operator.log.splitlines()) < 15


def _permitted(namespace: Namespace) -> dict[str, Any] | None:
    conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
    return next((each for each in conditions if each["type"] == "Permitted"), None)
