"""A missing copy until a later commit heals it, and leftovers of failed runs, by the real operator."""

import json
from typing import Any

import pytest
from tests.controller.bucket import SNAPSHOT
from tests.controller.client import Namespace, wait_for
from tests.controller.kubelet import Ends, Kubelet, Lingers, failed, result_for

from holdfast.protocol import BackupTask, CommitResult, CommitTask, DeletionOutcome, HealingOutcome, Note

pytestmark = pytest.mark.usefixtures("operator")

PLACES: list[dict[str, Any]] = [
    {"name": "primary", "s3": {"bucket": "backups", "prefix": "prod"}},
    {"name": "offsite", "required": False, "s3": {"bucket": "offsite"}},
    {"name": "nearby", "required": False, "volume": {"claimName": "backups", "path": "x"}},
]


def without(namespace: Namespace, run: str, *missing: str) -> Ends:
    """A backup that these optional destinations failed."""
    task = BackupTask(namespace=namespace.name, policy="chatbot", run=run, run_uid="u", target="sessions",
                      engine="redis", spec={}, destinations=())  # fmt: skip
    result = json.loads(result_for(task))
    result["destinations"] = [each["name"] for each in PLACES if each["name"] not in missing]
    result["missing"] = {name: f"destination {name}: is away" for name in missing}
    return Ends(message=json.dumps(result))


def commit_task(kubelet: Kubelet, namespace: Namespace, run: str) -> CommitTask:
    """The Task of a run's only commit."""
    (found,) = [
        each for each in kubelet.tasks.values()
        if isinstance(each, CommitTask) and (each.namespace, each.run) == (namespace.name, run)
    ]  # fmt: skip
    return found


def phase(namespace: Namespace, run: str) -> tuple[Any, ...]:
    """What a run says of its copies."""
    status = namespace.status("BackupRun", run)
    return status["phase"], status.get("reason"), status["copies"]


def told(**letters: Any) -> Ends:
    """A commit that says so of what it was handed."""
    result = CommitResult(verified_bytes=2048, recovery_point=SNAPSHOT, skew_seconds=0, size_bytes=2048,
                          destinations=tuple(each["name"] for each in PLACES), **letters)  # fmt: skip
    return Ends(message=result.model_dump_json(by_alias=True))


def test_a_later_commit_heals_what_is_missing(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(destinations=PLACES)
    kubelet.behave(namespace.name, "sessions", without(namespace, "one", "offsite", "nearby"))
    namespace.run("one")
    status = namespace.wait_phase("BackupRun", "one", "PartiallySucceeded", "Failed")
    assert phase(namespace, "one") == ("PartiallySucceeded", "CopyMissing", "1/3")
    assert "offsite" in status["message"]
    kubelet.behave(namespace.name, "Commit", told(
        healing=HealingOutcome.HEALED + HealingOutcome.FAILED,
        notes=(Note(reason="HealingFailed", message="destination nearby: one: is away", warning=True),),
    ))  # fmt: skip
    namespace.run("two")
    namespace.wait_phase("BackupRun", "two", "Succeeded")
    (gap,) = commit_task(kubelet, namespace, "two").gaps
    assert (gap.run, gap.sources, gap.lacking) == ("one", ("primary",), ("offsite", "nearby"))
    assert gap.manifests == {"sessions": status["targets"][0]["manifestSha256"]}
    assert phase(namespace, "one") == ("PartiallySucceeded", "CopyMissing", "2/3")
    message = namespace.status("BackupRun", "one")["message"]
    assert message == "not in every destination: nearby: no commit has healed this copy yet"
    assert "HealingFailed" in namespace.events("BackupRun", "two")
    namespace.run("x")
    namespace.wait_phase("BackupRun", "x", "Succeeded")
    (gap,) = commit_task(kubelet, namespace, "x").gaps
    assert (gap.sources, gap.lacking) == (("primary", "offsite"), ("nearby",))
    assert phase(namespace, "one") == ("Succeeded", None, "3/3")
    assert namespace.events("BackupRun", "one")[-2:] == ["CopyHealed", "CopyHealed"]
    status = namespace.status("BackupRun", "one")
    (complete,) = [each for each in status["conditions"] if each["type"] == "Complete"]
    assert (complete["status"], complete["reason"]) == ("True", "Succeeded")
    path = f"{namespace.name}/chatbot/one/sessions/pod-1/dump.rdb.zst"
    assert sorted(each["uri"] for each in status["targets"][0]["artifacts"]) == [
        f"pvc://backups/x/{path}", f"s3://backups/prod/{path}", f"s3://offsite/{path}",
    ]  # fmt: skip

    def copies() -> bool:
        held = namespace.status("BackupPolicy", "chatbot").get("destinations", ())
        return {one["name"]: one.get("recoveryWindow", {}).get("copies") for one in held} == dict.fromkeys(
            ("primary", "offsite", "nearby"), 3
        )

    wait_for("the policy to know", copies)
    namespace.run("y")
    namespace.wait_phase("BackupRun", "y", "Succeeded")
    assert commit_task(kubelet, namespace, "y").gaps == ()


def test_a_copy_that_the_commit_did_not_find_is_missing_too(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(destinations=PLACES[:2])
    kubelet.behave(namespace.name, "Commit", Ends(message=CommitResult(
        verified_bytes=2048, recovery_point=SNAPSHOT, skew_seconds=0, size_bytes=2048,
        destinations=("primary",), missing={"offsite": "destination offsite: its SHA-256 is another"},
    ).model_dump_json(by_alias=True)))  # fmt: skip
    namespace.run("one")
    status = namespace.wait_phase("BackupRun", "one", "PartiallySucceeded")
    assert {each["destination"] for each in status["targets"][0]["artifacts"]} == {"primary"}
    namespace.run("two")
    namespace.wait_phase("BackupRun", "two", "Succeeded")
    assert commit_task(kubelet, namespace, "two").gaps[0].lacking == ("offsite",)
    assert phase(namespace, "one") == ("Succeeded", None, "2/2")


def test_what_failed_runs_left_is_cleared_away_once(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(destinations=PLACES[:2], retries=0, history={"failed": 0})
    kubelet.behave(namespace.name, "sessions", failed(4, "AccessDenied", "destination primary: 403"))
    namespace.run("one")
    namespace.wait_phase("BackupRun", "one", "Failed")
    kubelet.behave(namespace.name, "Commit", told(leftovers=DeletionOutcome.DELETED + DeletionOutcome.FAILED))
    namespace.run("two")
    namespace.wait_phase("BackupRun", "two", "Succeeded")
    handed = [(each.destination, each.runs) for each in commit_task(kubelet, namespace, "two").leftovers]
    assert handed == [("offsite", ("one",)), ("primary", ("one",))]
    expiring = namespace.status("BackupRun", "one")["expiring"]
    assert expiring == [{"destination": "offsite", "begun": False, "gone": True}]
    namespace.run("x")
    namespace.wait_phase("BackupRun", "x", "Succeeded")
    (left,) = commit_task(kubelet, namespace, "x").leftovers
    assert (left.destination, left.runs) == ("primary", ("one",))
    wait_for("it to be history", lambda: not namespace.get("BackupRun", "one"))


def test_a_run_whose_pods_may_still_write_is_left_alone(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(destinations=PLACES[:1], activeDeadline="3s")
    lost = Lingers()
    kubelet.behave(namespace.name, "sessions", lost)
    namespace.run("one")
    assert namespace.wait_phase("BackupRun", "one", "Failed")["reason"] == "DeadlineExceeded"
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"activeDeadline": "1h"}})
    namespace.run("two")
    namespace.wait_phase("BackupRun", "two", "Succeeded")
    assert commit_task(kubelet, namespace, "two").leftovers == ()
    lost.until.set()

    def gone() -> bool:
        runs = {pod["metadata"]["labels"]["holdfast.dev/run"] for pod in namespace.items("Pod")}
        return "one" not in runs

    wait_for("its pod to end", gone)
    namespace.run("x")
    namespace.wait_phase("BackupRun", "x", "Succeeded")
    (left,) = commit_task(kubelet, namespace, "x").leftovers
    assert left.runs == ("one",)
