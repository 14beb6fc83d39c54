"""A request of several targets: all are put in place, or nothing is; by the real operator."""

from typing import Any

import pytest
from tests.controller.client import Namespace, wait_for
from tests.controller.kubelet import Ends, Kubelet, Runs, failed

from holdfast.protocol import Check, DiscardTask, Omission, RestoreTask, SwapTask

pytestmark = pytest.mark.usefixtures("operator")

RUN_REF = {"source": {"runRef": {"name": "now"}}}
COLLATION = Check(
    check="CollationVersion",
    state="Blocked",
    message="2.36, not 2.41",
    remedy="reindex",
    may_be_accepted=True,
)
LACKING = Omission(what="index chunks_by_time of kb: function unaccent is not unique", reason="ObjectFailed")


@pytest.fixture
def two(namespace: Namespace) -> Namespace:
    """A namespace with a run of the targets a and b."""
    namespace.policy(targets=("a", "b"))
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    return namespace


def restore(namespace: Namespace, *phases: str, **fields: Any) -> dict[str, Any]:
    namespace.create("RestoreRequest", "back", RUN_REF | fields)
    return namespace.wait_phase("RestoreRequest", "back", *phases, "Succeeded", "Failed", "Refused")


def done(kubelet: Kubelet, namespace: Namespace) -> list[str]:
    """What Jobs have been started for the request, in their order, such as `Swap a`."""
    tasks = [
        task for task in kubelet.tasks.values() if isinstance(task, RestoreTask | SwapTask | DiscardTask)
    ]
    return [f"{task.kind} {task.target}" for task in tasks if task.namespace == namespace.name]


def copies(status: dict[str, Any]) -> list[str | None]:
    return [target.get("copyState") for target in status["targets"]]


def test_all_targets_stage_before_the_first_is_put_in_place(two: Namespace, kubelet: Kubelet) -> None:
    slow = Runs()
    kubelet.behave(two.name, "b", slow)
    two.create("RestoreRequest", "back", RUN_REF)
    wait_for(
        "a to be staged",
        lambda: (
            [t.get("copyState") for t in two.status("RestoreRequest", "back").get("targets", [])][:1]
            == ["Staged"]
        ),
    )
    assert sorted(done(kubelet, two)) == ["Restore a", "Restore b"]
    slow.until.set()
    status = two.wait_phase("RestoreRequest", "back", "Succeeded", "Failed", "Refused")
    assert (status["phase"], copies(status)) == ("Succeeded", ["InPlace", "InPlace"]), status
    assert sorted(done(kubelet, two)[2:]) == ["Swap a", "Swap b"]
    assert "rollback" not in status
    assert status["verification"]["compared"] == 6
    wait_for(
        "the finalizer to go", lambda: not two.get("RestoreRequest", "back")["metadata"].get("finalizers")
    )


def test_what_others_have_staged_is_dropped_when_one_fails(two: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(two.name, "b", failed(5, "RestoreMismatch", "table t: 1 row, not 2"))
    status = restore(two)
    assert (status["phase"], status["reason"]) == ("Failed", "RestoreMismatch")
    assert copies(status) == ["Discarded", "Discarded"]
    assert [target["phase"] for target in status["targets"]] == ["Cancelled", "Failed"]
    assert status["rollback"] == "discarded: what targets a, b had loaded is dropped again"
    assert sorted(done(kubelet, two)[2:]) == ["Discard a", "Discard b"]


def test_a_set_of_which_one_is_refused_touches_nothing(two: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(two.name, "b", failed(2, "TargetNotEmpty", "database kb is there", refused=True))
    status = restore(two)
    assert (status["phase"], status["reason"]) == ("Refused", "TargetNotEmpty")
    assert copies(status) == ["Discarded", None]
    assert "Discard b" not in done(kubelet, two)


def test_what_is_in_place_is_taken_back_when_another_cannot_be_put_there(
    two: Namespace, kubelet: Kubelet
) -> None:
    kubelet.behave(two.name, "Swap b", failed(2, "CollectionExists", "docs was created meanwhile"))
    status = restore(two)
    assert (status["phase"], status["reason"]) == ("Failed", "CollectionExists")
    assert copies(status) == ["Discarded", "Discarded"]
    assert status["rollback"] == (
        "undone: what target a had in place already is deleted again; "
        "discarded: what target b had loaded is dropped again"
    )
    swapped = {task.target: task.swapped for task in kubelet.tasks.values() if isinstance(task, DiscardTask)
               and task.namespace == two.name}  # fmt: skip
    assert swapped == {"a": True, "b": False}


def test_a_copy_that_cannot_be_dropped_is_named_and_the_deletion_tries_again(
    two: Namespace, kubelet: Kubelet
) -> None:
    kubelet.behave(two.name, "b", failed(2, "ExtensionMissing", "vector"))
    kubelet.behave(two.name, "Discard a", failed(2, "PermissionDenied", "must be owner"))
    status = restore(two)
    assert (status["phase"], copies(status)) == ("Failed", ["Left", "Discarded"])
    assert "what was loaded to redis:6379 (copy of a) could not be dropped" in status["rollback"]
    assert "CopyLeft" in two.events("RestoreRequest", "back")
    two.delete("RestoreRequest", "back")
    wait_for("the request to go", lambda: not two.items("RestoreRequest"))
    assert done(kubelet, two).count("Discard a") == 2


def test_a_blocked_preflight_refuses_all_and_lists_every_line(two: Namespace, kubelet: Kubelet) -> None:
    blocked = {"refused": True, "preflight": (COLLATION,)}
    room = Check(check="Room", state="Passed")
    kubelet.behave(two.name, "a", failed(2, "PreflightBlocked", COLLATION.text, **blocked))
    kubelet.behave(
        two.name, "b", failed(2, "PreflightBlocked", "x", refused=True, preflight=(room, COLLATION))
    )
    status = restore(two)
    assert (status["phase"], status["reason"]) == ("Refused", "PreflightBlocked")
    assert [(line["target"], line["check"], line["state"]) for line in status["preflight"]] == [
        ("a", "CollationVersion", "Blocked"),
        ("b", "CollationVersion", "Blocked"),
        ("b", "Room", "Passed"),
    ]
    assert status["preflight"][0]["remedy"] == "reindex"
    assert sorted(done(kubelet, two)) == ["Restore a", "Restore b"]


def test_a_risk_that_no_check_knows_is_refused(two: Namespace, kubelet: Kubelet) -> None:
    status = restore(two, acceptedRisks=["CollationVersion", "Rain"])
    assert (status["phase"], status["reason"]) == ("Refused", "RiskUnknown")
    assert "called Rain; use CollationVersion, ExtensionMissing" in status["message"]
    assert done(kubelet, two) == []


def lacking(target: str) -> Ends:
    return failed(
        5, "ObjectsFailed", "an index", omissions=(LACKING,), omissions_omitted=3, staged=(f"db {target}",)
    )


def test_copies_that_lack_objects_are_kept_until_they_are_promoted(two: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(two.name, "b", lacking("b"))
    status = restore(two)
    assert (status["phase"], status["reason"]) == ("Failed", "ObjectsFailed")
    assert copies(status) == ["Staged", "Staged"]
    assert status["omissions"] == [{"target": "b", "what": LACKING.what, "reason": "ObjectFailed"}]
    assert status["omissionsOmitted"] == 3
    assert status["rollback"].startswith("kept: the copies of a, b stay under their staged names")
    assert sorted(done(kubelet, two)) == ["Restore a", "Restore b"]
    two.patch("RestoreRequest", "back", {"spec": {"promote": "Swap"}})
    wait_for(
        "the copies to be in place",
        lambda: copies(two.status("RestoreRequest", "back")) == ["InPlace", "InPlace"],
    )
    status = two.status("RestoreRequest", "back")
    assert (status["phase"], status["reason"]) == ("Failed", "Promoted")
    assert sorted(done(kubelet, two)[2:]) == ["Swap a", "Swap b"]
    two.delete("RestoreRequest", "back")
    wait_for("the request to go", lambda: not two.items("RestoreRequest"))
    assert not [one for one in done(kubelet, two) if one.startswith("Discard")]


@pytest.mark.parametrize("how", ["discard", "deletion"])
def test_a_copy_that_is_kept_is_dropped_when_it_is_not_wanted(
    namespace: Namespace, kubelet: Kubelet, how: str
) -> None:
    namespace.policy(targets=("a",))
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    kubelet.behave(namespace.name, "a", lacking("a"))
    status = restore(namespace)
    assert (status["phase"], status["reason"], copies(status)) == ("Failed", "ObjectsFailed", ["Staged"])
    if how == "discard":
        namespace.patch("RestoreRequest", "back", {"spec": {"discard": True}})
        wait_for(
            "the copy to go", lambda: copies(namespace.status("RestoreRequest", "back")) == ["Discarded"]
        )
        assert namespace.status("RestoreRequest", "back")["reason"] == "CopyDiscarded"
    else:
        namespace.delete("RestoreRequest", "back")
        wait_for("the request to go", lambda: not namespace.items("RestoreRequest"))
    assert done(kubelet, namespace) == ["Restore a", "Discard a"]


def test_objects_that_the_request_does_without_are_in_its_status(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    namespace.policy(targets=("a",))
    namespace.run("now")
    namespace.wait_phase("BackupRun", "now", "Succeeded")
    namespace.create("RestoreRequest", "back", RUN_REF | {"onObjectError": "Continue"})
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    (task,) = [
        t for t in kubelet.tasks.values() if isinstance(t, RestoreTask) and t.namespace == namespace.name
    ]
    assert (task.on_object_error, task.swaps) == ("Continue", True)


def test_a_request_that_is_cancelled_drops_what_it_has_loaded(two: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(two.name, "b", Runs())
    two.create("RestoreRequest", "back", RUN_REF)
    wait_for("both to load", lambda: len(done(kubelet, two)) == 2)
    two.patch("RestoreRequest", "back", {"spec": {"cancel": True}})
    status = two.wait_phase("RestoreRequest", "back", "Cancelled", "Succeeded", "Failed")
    assert status["phase"] == "Cancelled", status
    assert copies(status) == ["Discarded", "Discarded"]
    assert not [pod for pod in two.items("Pod") if pod["status"]["phase"] == "Running"]


def test_a_request_that_is_deleted_while_it_loads_drops_it_first(two: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(two.name, "b", Runs())
    two.create("RestoreRequest", "back", RUN_REF)
    wait_for("both to load", lambda: len(done(kubelet, two)) == 2)
    two.delete("RestoreRequest", "back")
    wait_for("the request to go", lambda: not two.items("RestoreRequest"))
    assert sorted(done(kubelet, two)[2:]) == ["Discard a", "Discard b"]
