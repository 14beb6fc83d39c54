"""Quotas and locks from a policy to its conditions, events and runs, by the real operator."""

from typing import Any

import pytest
from tests.controller.client import Namespace, wait_for
from tests.controller.kubelet import Kubelet

from holdfast.protocol import BackupTask, CommitTask

pytestmark = pytest.mark.usefixtures("operator")

S3 = {"bucket": "backups", "credentialsSecret": {"name": "s3"}}


def primary(**fields: Any) -> dict[str, Any]:
    """A destination; every run stores 2048 bytes in it."""
    return {"name": "primary", "s3": S3} | fields


def back_up(namespace: Namespace, name: str) -> dict[str, Any]:
    namespace.run(name)
    return namespace.wait_phase("BackupRun", name, "Succeeded", "PartiallySucceeded", "Failed")


def condition(namespace: Namespace) -> dict[str, Any]:
    """WithinQuota as it is now."""
    conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
    return next((each for each in conditions if each["type"] == "WithinQuota"), {})


def wait_reason(namespace: Namespace, reason: str) -> dict[str, Any]:
    wait_for(f"WithinQuota to be {reason}", lambda: condition(namespace).get("reason") == reason)
    return condition(namespace)


def set_quota(namespace: Namespace, **quota: Any) -> None:
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"destinations": [primary(quota=quota)]}})


def told(namespace: Namespace, reason: str) -> int:
    return namespace.events("BackupPolicy", "chatbot").count(reason)


def test_a_quota_warns_then_refuses_and_says_what_to_do(namespace: Namespace, kubelet: Kubelet) -> None:
    namespace.policy(destinations=[primary(quota={"size": "5000"})])
    assert wait_reason(namespace, "WithinQuota")["status"] == "True"
    back_up(namespace, "one")
    back_up(namespace, "two")
    shown = wait_reason(namespace, "QuotaWarning")
    assert shown["status"] == "False"
    assert shown["message"] == "destination primary holds 4.0KiB of its quota of 4.9KiB (81 %)"
    assert back_up(namespace, "three")["phase"] == "Succeeded"
    wait_reason(namespace, "QuotaExceeded")
    status = back_up(namespace, "four")
    assert (status["phase"], status["reason"]) == ("Failed", "QuotaExceeded")
    assert "raise destinations[primary].quota.size" in status["message"]
    assert status.get("targets", []) == []
    assert not [t for t in kubelet.tasks.values() if isinstance(t, BackupTask)
                and (t.namespace, t.run) == (namespace.name, "four")]  # fmt: skip
    assert (told(namespace, "QuotaWarning"), told(namespace, "QuotaExceeded")) == (1, 1)
    set_quota(namespace, size="1Mi")
    assert wait_reason(namespace, "WithinQuota")["status"] == "True"
    assert back_up(namespace, "five")["phase"] == "Succeeded"
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"destinations": [primary()]}})
    wait_for("the condition to go with the quota", lambda: not condition(namespace))


def test_a_run_goes_on_without_an_optional_destination_that_is_full(
    namespace: Namespace, kubelet: Kubelet
) -> None:
    nearby = {"name": "nearby", "required": False, "volume": {"claimName": "a"}, "quota": {"size": "1000"}}
    namespace.policy(destinations=[primary(), nearby])
    assert back_up(namespace, "one")["copies"] == "2/2"
    wait_reason(namespace, "QuotaExceeded")
    status = back_up(namespace, "two")
    assert (status["phase"], status["reason"], status["copies"]) == (
        "PartiallySucceeded",
        "CopyMissing",
        "1/2",
    )
    assert "nearby: destination nearby holds 2.0KiB of its quota of 1000B" in status["message"]
    tasks = [each for each in kubelet.tasks.values() if isinstance(each, BackupTask | CommitTask)]
    mine = [each for each in tasks if (each.namespace, each.run) == (namespace.name, "two")]
    assert {(each.kind, tuple(place.name for place in each.destinations)) for each in mine} == {
        ("Backup", ("primary",)), ("Commit", ("primary", "nearby")),
    }  # fmt: skip
    assert "QuotaExceeded" in namespace.events("BackupRun", "two")


def test_what_retention_deletes_next_makes_room_for_a_run(namespace: Namespace) -> None:
    namespace.policy(destinations=[primary(quota={"size": "3000"})], retention={"keepLast": 1})
    back_up(namespace, "one")
    back_up(namespace, "two")
    wait_reason(namespace, "QuotaExceeded")

    def freed() -> bool:
        plan = namespace.status("BackupPolicy", "chatbot").get("retentionPlan", {})
        return [each["deleteBytes"] for each in plan.get("destinations", [])] == [2048]

    wait_for("the plan to say what it frees", freed)
    assert back_up(namespace, "zed")["phase"] == "Succeeded"
    namespace.wait_phase("BackupRun", "one", "Expired")


def test_a_locked_artifact_says_until_when(namespace: Namespace) -> None:
    lock = {"objectLock": {"mode": "Compliance", "retain": "30d"}}
    namespace.policy(destinations=[primary(s3=S3 | lock), {"name": "other", "s3": S3 | {"bucket": "more"}}])
    (target,) = back_up(namespace, "one")["targets"]
    assert {each["destination"]: each.get("retainUntil") for each in target["artifacts"]} == {
        "primary": "2036-01-02T03:04:05Z", "other": None,
    }  # fmt: skip
