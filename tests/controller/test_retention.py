"""Retention from its plan in the policy's status to runs that are Expired, by the real operator."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.controller.bucket import SNAPSHOT
from tests.controller.client import Namespace, policy_spec, wait_for
from tests.controller.kubelet import Ends, Kubelet, Runs, failed

from holdfast.protocol import CommitResult, CommitTask, DeletionOutcome, Note

pytestmark = pytest.mark.usefixtures("operator")

KEEP_ONE = {"keepLast": 1}


def plan(namespace: Namespace) -> dict[str, Any]:
    """The plan for the only destination."""
    shown = namespace.status("BackupPolicy", "chatbot").get("retentionPlan", {})
    found: list[dict[str, Any]] = shown.get("destinations", [{}])
    return found[0]


def due(namespace: Namespace) -> list[str]:
    """The runs that the plan says go next."""
    return [each["run"] for each in plan(namespace).get("delete", [])]


def keep_one_of_two(namespace: Namespace) -> None:
    """Two runs, of which the policy's plan deletes the first."""
    namespace.policy(retention=KEEP_ONE)
    namespace.back_up("one")
    namespace.back_up("two")
    wait_due(namespace, "one")


def wait_due(namespace: Namespace, *names: str) -> None:
    wait_for(f"the plan to say that {names} go", lambda: due(namespace) == list(names))


@pytest.fixture
def tasks(kubelet: Kubelet, namespace: Namespace) -> Callable[[str], list[CommitTask]]:
    """The Tasks of a run's commits so far."""

    def of(run: str) -> list[CommitTask]:
        found = [each for each in kubelet.tasks.values() if isinstance(each, CommitTask)]
        return [each for each in found if (each.namespace, each.run) == (namespace.name, run)]

    return of


def handed(task: CommitTask) -> list[str]:
    """What a commit was handed for the only destination."""
    return [held.run for expiry in task.retention for held in expiry.delete]


def test_what_was_shown_goes_with_the_next_run(
    namespace: Namespace, tasks: Callable[[str], list[CommitTask]]
) -> None:
    namespace.policy(retention=KEEP_ONE)
    namespace.back_up("one")
    namespace.back_up("two")
    # All runs have the same recovery point here, so the newest is the last by name.
    wait_due(namespace, "one")
    assert plan(namespace)["keep"] == [{"run": "two", "reasons": ["keepLast", "newest"]}]
    assert "RetentionDue" in namespace.events("BackupPolicy", "chatbot")
    assert handed(tasks("two")[0]) == []
    namespace.back_up("zed")
    assert handed(tasks("zed")[0]) == ["one"]
    assert [held.run for held in tasks("zed")[0].retention[0].keep] == ["two"]
    status = namespace.wait_phase("BackupRun", "one", "Expired")
    assert status["reason"] == "RetentionExpired"
    assert status["copies"] == "0/1"
    assert status["expiring"] == [{"destination": "primary", "begun": False, "gone": True}]
    assert namespace.events("BackupRun", "one")[-1] == "RetentionExpired"
    wait_due(namespace, "two")
    assert namespace.status("BackupPolicy", "chatbot")["destinations"][0]["recoveryWindow"]["copies"] == 2


def test_a_policy_that_is_changed_shows_its_plan_first(
    namespace: Namespace, tasks: Callable[[str], list[CommitTask]]
) -> None:
    namespace.policy(retention={"keepLast": 5})
    for name in ("one", "two", "x"):
        namespace.back_up(name)
    wait_for("the plan", lambda: len(plan(namespace).get("keep", [])) == 3)
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"retention": KEEP_ONE | {"dryRun": True}}})
    wait_due(namespace, "one", "two")
    assert plan(namespace)["dryRun"] is True
    namespace.back_up("y")
    assert handed(tasks("y")[0]) == []
    wait_due(namespace, "one", "two", "x")
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"retention": {"dryRun": False}}})
    wait_for("dryRun to be off", lambda: plan(namespace).get("dryRun") is False)
    namespace.back_up("z")
    assert handed(tasks("z")[0]) == ["one", "two", "x"]
    for name in ("one", "two", "x"):
        namespace.wait_phase("BackupRun", name, "Expired")


def test_a_commit_that_fails_leaves_a_mark_and_the_next_one_finishes(
    namespace: Namespace, kubelet: Kubelet, tasks: Callable[[str], list[CommitTask]]
) -> None:
    keep_one_of_two(namespace)
    kubelet.behave(namespace.name, "Commit", failed(2, "Broken", "killed in the middle"))
    namespace.run("x")
    namespace.wait_phase("BackupRun", "x", "Failed")
    (expiring,) = namespace.status("BackupRun", "one")["expiring"]
    assert expiring["begun"] is True
    # The rules would keep it now, but some of it may be gone.
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"retention": None}})
    wait_for("the rules to be gone", lambda: plan(namespace)["keep"][0]["reasons"] == ["noRules"])
    assert due(namespace) == ["one"]
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "one"}}})
    assert namespace.wait_phase("RestoreRequest", "back", "Refused")["reason"] == "NoDestination"
    namespace.back_up("y")
    assert handed(tasks("y")[0]) == ["one"]
    namespace.wait_phase("BackupRun", "one", "Expired")


def test_a_locked_run_waits_and_says_so(namespace: Namespace, kubelet: Kubelet) -> None:
    keep_one_of_two(namespace)

    locked = CommitResult(
        verified_bytes=2048,
        recovery_point=SNAPSHOT,
        skew_seconds=0,
        size_bytes=2048,
        destinations=("primary",),
        retention={"primary": DeletionOutcome.LOCKED},
        notes=(Note(reason="RetentionWaits", message="destination primary: one: locked", warning=True),),
    )
    kubelet.behave(namespace.name, "Commit", Ends(message=locked.model_dump_json(by_alias=True)))
    namespace.back_up("x")
    status = namespace.status("BackupRun", "one")
    assert (status["phase"], status["copies"]) == ("Succeeded", "1/1")
    assert status["expiring"][0]["begun"] is False
    assert "locked" in status["expiring"][0]["message"]
    assert "RetentionWaits" in namespace.events("BackupRun", "x")
    wait_for("the plan to say why", lambda: "locked" in plan(namespace)["delete"][0].get("message", ""))
    namespace.back_up("y")
    namespace.wait_phase("BackupRun", "one", "Expired")


def test_a_run_that_a_restore_reads_by_its_location_stays(
    namespace: Namespace, kubelet: Kubelet, tasks: Callable[[str], list[CommitTask]]
) -> None:
    keep_one_of_two(namespace)
    going = Runs()
    kubelet.behave(namespace.name, "Lookup", going)
    location = policy_spec(())["destinations"][0] | {"path": f"{namespace.name}/chatbot/one"}
    del location["name"]
    namespace.create("RestoreRequest", "back", {"source": {"location": location}})
    namespace.back_up("x")
    assert handed(tasks("x")[0]) == []
    going.until.set()
    namespace.wait_phase("RestoreRequest", "back", "Succeeded", "Failed")
    namespace.back_up("y")
    assert handed(tasks("y")[0]) == ["one", "two"]
