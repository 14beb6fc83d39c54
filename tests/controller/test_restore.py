"""A RestoreRequest from its creation to its last status, by the real operator on a real API server."""

import hashlib
from typing import Any

import pytest
from tests.controller.bucket import SNAPSHOT
from tests.controller.client import Client, Namespace, wait_for
from tests.controller.kubelet import Ends, Kubelet, Runs, failed

from holdfast.destinations.s3 import S3
from holdfast.protocol import ListedTarget, LookupResult, LookupTask, RestoreTask

pytestmark = pytest.mark.usefixtures("operator")

RUN_REF = {"source": {"runRef": {"name": "now"}}}


@pytest.fixture
def backed_up(namespace: Namespace) -> Namespace:
    """A namespace with a policy and a run that succeeded."""
    namespace.policy()
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    return namespace


def _restore_tasks(kubelet: Kubelet, namespace: Namespace) -> list[RestoreTask]:
    tasks = [task for task in kubelet.tasks.values() if isinstance(task, RestoreTask)]
    return [task for task in tasks if task.namespace == namespace.name]


def test_restore_of_a_run_succeeds(backed_up: Namespace, kubelet: Kubelet) -> None:
    backed_up.create("RestoreRequest", "back", RUN_REF)
    status = backed_up.wait_phase("RestoreRequest", "back", "Succeeded", "Failed", "Refused")
    assert status["phase"] == "Succeeded", status
    assert status["source"] == "now"
    assert status["recoveryPoint"] == "2026-01-02T03:04:05Z"
    assert status["dataLossSeconds"] > 0
    assert status["restoreSeconds"] >= 0
    assert status["verification"] == {"compared": 3, "mismatched": 0, "details": []}
    assert status["progress"] == "1/1"
    assert [job for job in backed_up.items("Job") if "lookup" in job["metadata"]["name"]] == []
    (task,) = _restore_tasks(kubelet, backed_up)
    assert task.source.path == f"{backed_up.name}/chatbot/now"
    assert task.source.destination.name == "primary"
    assert task.spec["service"]["name"] == "redis"
    told = backed_up.events("RestoreRequest", "back")
    assert told == ["Started", "TargetSucceeded", "Succeeded"]


def test_a_policy_that_nothing_knows_is_refused_with_those_that_have_runs(backed_up: Namespace) -> None:
    backed_up.create("RestoreRequest", "back", {"source": {"policyRef": {"name": "nosuch"}}})
    status = backed_up.wait_phase("RestoreRequest", "back", "Refused", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Refused", "PolicyNotFound")
    assert status["message"].endswith("no BackupRun of nosuch; it has runs of: chatbot")


def test_a_policy_without_runs_is_not_called_unknown(namespace: Namespace) -> None:
    namespace.policy()
    namespace.create("RestoreRequest", "back", {"source": {"policyRef": {"name": "chatbot"}}})
    status = namespace.wait_phase("RestoreRequest", "back", "Refused", "Succeeded", "Failed")
    assert (status["reason"], status["message"]) == ("NoRun", "policy chatbot has no run that succeeded")


def test_edited_policy_makes_the_catalogue_be_read(backed_up: Namespace, kubelet: Kubelet) -> None:
    changed = [{"name": "sessions", "redis": {"service": {"name": "elsewhere", "port": 6379}}}]
    backed_up.patch("BackupPolicy", "chatbot", {"spec": {"targets": changed}})
    backed_up.create("RestoreRequest", "back", RUN_REF)
    backed_up.wait_phase("RestoreRequest", "back", "Succeeded")
    (task,) = _restore_tasks(kubelet, backed_up)
    assert task.spec["service"]["name"] == "redis-as-stored", (
        "where it was backed up, not where the policy points now"
    )


def test_policy_that_is_gone_is_no_obstacle(backed_up: Namespace, kubelet: Kubelet) -> None:
    backed_up.delete("BackupPolicy", "chatbot")
    wait_for("the policy to go", lambda: not backed_up.items("BackupPolicy"))
    backed_up.create("RestoreRequest", "back", RUN_REF)
    backed_up.wait_phase("RestoreRequest", "back", "Succeeded")
    (task,) = _restore_tasks(kubelet, backed_up)
    s3 = task.source.destination.spec
    assert isinstance(s3, S3)
    assert (s3.bucket, s3.prefix) == ("backups", "prod")


def test_restore_from_a_location(namespace: Namespace, kubelet: Kubelet) -> None:
    location = {"s3": {"bucket": "backups", "prefix": "prod"}, "path": "rag/chatbot/chatbot-202601010000"}
    namespace.create("RestoreRequest", "back", {"source": {"location": location}})
    status = namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    assert status["source"] == "rag/chatbot/chatbot-202601010000"
    lookups = [t for n, t in kubelet.tasks.items() if n.startswith("back-") and isinstance(t, LookupTask)]
    assert lookups[-1].source.path == "rag/chatbot/chatbot-202601010000"
    (task,) = _restore_tasks(kubelet, namespace)
    assert task.source == lookups[-1].source


def test_latest_means_the_newest_run_that_holds_the_targets(backed_up: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(backed_up.name, "sessions", failed(2, "Broken", "broken"))
    backed_up.run("later")
    backed_up.wait_phase("BackupRun", "later", "Failed")
    backed_up.create("RestoreRequest", "back", {"source": {"policyRef": {"name": "chatbot"}}})
    assert backed_up.wait_phase("RestoreRequest", "back", "Succeeded")["source"] == "now"


@pytest.mark.parametrize(
    ("spec", "reason", "text"),
    [
        ({"source": {"runRef": {"name": "absent"}}}, "RunNotFound", "absent"),
        ({"source": {"policyRef": {"name": "other"}}}, "PolicyNotFound", "other"),
        ({"source": {"policyRef": {"name": "chatbot", "notAfter": "2020-01-01T00:00:00Z"}}}, "NoRun", "2026"),
        (RUN_REF | {"targets": [{"name": "absent", "redis": {}}]}, "TargetNotFound", "sessions"),
        (RUN_REF | {"targets": [{"name": "sessions", "chroma": {}}]}, "EngineMismatch", "redis"),
        (RUN_REF | {"mode": "Sandbox"}, "NotSupportedYet", "Sandbox"),
    ],
    ids=["run", "policy", "notAfter", "target", "engine", "unsupported"],
)  # fmt: skip
def test_refused_with_the_reason(backed_up: Namespace, spec: dict[str, Any], reason: str, text: str) -> None:
    backed_up.create("RestoreRequest", "back", spec)
    status = backed_up.wait_phase("RestoreRequest", "back", "Refused", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Refused", reason)
    assert text in status["message"]
    assert not [job for job in backed_up.items("Job") if "holdfast.dev/restore" in job["metadata"]["labels"]]


def test_runner_that_refuses_makes_the_request_refused(backed_up: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(backed_up.name, "sessions", failed(2, "TargetNotEmpty", "db0 has keys", refused=True))
    backed_up.create("RestoreRequest", "back", RUN_REF)
    status = backed_up.wait_phase("RestoreRequest", "back", "Refused", "Failed", "Succeeded")
    assert (status["phase"], status["reason"]) == ("Refused", "TargetNotEmpty")


def test_mismatch_fails_without_another_attempt(backed_up: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(backed_up.name, "sessions", failed(5, "CountMismatch", "db0: 41 keys, 42 expected"))
    backed_up.create("RestoreRequest", "back", RUN_REF)
    status = backed_up.wait_phase("RestoreRequest", "back", "Failed", "Succeeded")
    assert (status["reason"], status["targets"][0]["attempts"]) == ("CountMismatch", 1)
    assert status["verification"]["mismatched"] == 1


def test_cancelled_restore_stops_its_pods(backed_up: Namespace, kubelet: Kubelet, client: Client) -> None:
    kubelet.behave(backed_up.name, "sessions", Runs())
    backed_up.create("RestoreRequest", "back", RUN_REF)
    backed_up.wait_phase("RestoreRequest", "back", "Running")
    backed_up.patch("RestoreRequest", "back", {"spec": {"cancel": True}})
    backed_up.wait_phase("RestoreRequest", "back", "Cancelled")
    assert not [pod for pod in backed_up.items("Pod") if pod["status"]["phase"] == "Running"]


def test_lookup_that_fails_fails_the_request(namespace: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(namespace.name, "Lookup", failed(2, "RunNotStored", "no such entry"))
    location = {"s3": {"bucket": "backups"}, "path": "rag/chatbot/chatbot-202601010000"}
    namespace.create("RestoreRequest", "back", {"source": {"location": location}})
    status = namespace.wait_phase("RestoreRequest", "back", "Failed", "Succeeded")
    assert status["reason"] == "RunNotStored"


def _large_lookup() -> LookupResult:
    """What a catalogue says of a run of a Chroma server with a hundred tenants."""
    tenants = [
        {"name": hashlib.sha256(bytes([number])).hexdigest(), "databases": ["one"]} for number in range(100)
    ]
    spec = {"service": {"name": "chroma", "port": 8000}, "tenants": tenants}
    target = ListedTarget(name="vectors", engine="chroma", spec=spec)
    return LookupResult(policy="chatbot", run="r", recovery_point=SNAPSHOT, targets=(target,))


def test_a_run_whose_targets_are_in_the_log_of_the_lookup_is_restored(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    found = _large_lookup()
    kubelet.behave(
        namespace.name, "Lookup", Ends(message=found.in_log().model_dump_json(), log=found.to_line())
    )
    location = {"s3": {"bucket": "backups", "prefix": "prod"}, "path": "rag/chatbot/r"}
    namespace.create("RestoreRequest", "back", {"source": {"location": location}})
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    (task,) = _restore_tasks(kubelet, namespace)
    assert task.spec == found.targets[0].spec


def test_a_log_of_a_lookup_that_was_cut_off_fails_the_request(namespace: Namespace, kubelet: Kubelet) -> None:
    found = _large_lookup()
    kubelet.behave(
        namespace.name, "Lookup", Ends(message=found.in_log().model_dump_json(), log=found.to_line()[:-9])
    )
    location = {"s3": {"bucket": "backups", "prefix": "prod"}, "path": "rag/chatbot/r"}
    namespace.create("RestoreRequest", "back", {"source": {"location": location}})
    status = namespace.wait_phase("RestoreRequest", "back", "Failed", "Succeeded")
    assert (status["phase"], status["reason"]) == ("Failed", "LogIncomplete")


def test_what_is_asked_of_a_request_and_a_run_that_have_ended_is_answered(backed_up: Namespace) -> None:
    backed_up.create("RestoreRequest", "back", RUN_REF)
    backed_up.wait_phase("RestoreRequest", "back", "Succeeded")
    backed_up.patch("RestoreRequest", "back", {"spec": {"cancel": True, "discard": True}})
    backed_up.patch("BackupRun", "now", {"spec": {"cancel": True}})
    for kind, name in (("RestoreRequest", "back"), ("BackupRun", "now")):
        generation = backed_up.get(kind, name)["metadata"]["generation"]

        def is_answered(kind: str = kind, name: str = name, generation: int = generation) -> bool:
            return bool(backed_up.status(kind, name)["observedGeneration"] == generation)

        wait_for("the answer", is_answered)
        assert "TooLateToCancel" in backed_up.events(kind, name)
    assert "NothingStaged" in backed_up.events("RestoreRequest", "back")
    assert backed_up.status("BackupRun", "now")["phase"] == "Succeeded"
