"""Who gets public keys, who gets identities, and what is refused without, by the real operator."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.controller.client import Namespace, wait_for
from tests.controller.kubelet import Ends, Kubelet

from holdfast.domain import labels
from holdfast.protocol import BackupTask, CommitTask, ListedTarget, LookupResult, RestoreTask

pytestmark = pytest.mark.usefixtures("operator")

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
SECRET = "backup-identity"
RUN_REF = {"source": {"runRef": {"name": "now"}}}
REDIS = {"service": {"name": "redis", "port": 6379}}


def backed_up(namespace: Namespace, **age: Any) -> dict[str, Any]:
    """An encrypted run that succeeded: its status."""
    namespace.policy(encryption={"age": {"recipients": [RECIPIENT], **age}})
    namespace.run("now")
    return namespace.wait_phase("BackupRun", "now", "Succeeded", "Failed")


def mounting(namespace: Namespace) -> set[str]:
    """The kinds of Jobs that mount the identity."""
    return {
        job["metadata"]["labels"][labels.COMPONENT]
        for job in namespace.items("Job")
        if SECRET in json.dumps(job["spec"]["template"]["spec"]["volumes"])
    }


def test_only_the_restore_mounts_the_identity(namespace: Namespace, kubelet: Kubelet) -> None:
    status = backed_up(namespace, identitySecret={"name": SECRET})
    assert status["phase"] == "Succeeded"
    assert [artifact["encrypted"] for artifact in status["targets"][0]["artifacts"]] == [True]
    backups = [
        t for t in kubelet.tasks.values() if isinstance(t, BackupTask) and t.namespace == namespace.name
    ]
    assert [task.recipients for task in backups] == [(RECIPIENT,)]
    (commit,) = [
        t for t in kubelet.tasks.values() if isinstance(t, CommitTask) and t.namespace == namespace.name
    ]
    assert commit.recipients == (RECIPIENT,)
    assert status["report"].endswith("/now/report.json.zst.age")
    assert {job["metadata"]["labels"][labels.COMPONENT] for job in namespace.items("Job")} == {
        "Backup",
        "Commit",
    }
    assert mounting(namespace) == set()
    namespace.create("RestoreRequest", "back", RUN_REF)
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    assert mounting(namespace) == {"Restore"}
    (task,) = [
        t for t in kubelet.tasks.values() if isinstance(t, RestoreTask) and t.namespace == namespace.name
    ]
    assert task.identity_secret == SECRET


def refused(namespace: Namespace, spec: dict[str, Any]) -> str:
    """The message of a request that is refused without a Job that restores."""
    namespace.create("RestoreRequest", "back", spec)
    status = namespace.wait_phase("RestoreRequest", "back", "Refused", "Succeeded", "Failed")
    assert (status["phase"], status["reason"]) == ("Refused", "IdentityMissing")
    assert RECIPIENT in status["message"]
    assert not [
        job for job in namespace.items("Job")
        if job["metadata"]["labels"][labels.COMPONENT] == "Restore"
    ]  # fmt: skip
    return str(status["message"])


def test_restore_without_any_identity_is_refused(namespace: Namespace) -> None:
    backed_up(namespace)
    message = refused(namespace, RUN_REF)
    assert "encryption.age.identitySecret of the policy" in message
    assert "source.location.identitySecret" in message


def found(*recipients: str) -> Ends:
    """A lookup that finds the target encrypted to `recipients`."""
    target = ListedTarget(name="sessions", engine="redis", spec=REDIS, recipients=recipients)
    result = LookupResult(
        policy="chatbot", run="now", recovery_point=datetime(2026, 1, 1, tzinfo=UTC), targets=(target,)
    )
    return Ends(0, result.model_dump_json(by_alias=True))


def test_an_identity_that_the_policy_names_later_is_taken(namespace: Namespace, kubelet: Kubelet) -> None:
    backed_up(namespace)
    age = {"recipients": [RECIPIENT], "identitySecret": {"name": SECRET}}
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"encryption": {"age": age}}})
    kubelet.behave(namespace.name, "Lookup", found(RECIPIENT))
    namespace.create("RestoreRequest", "back", RUN_REF)
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    assert mounting(namespace) == {"Restore"}


def location(**more: Any) -> dict[str, Any]:
    """A request for a run whose cluster is gone."""
    return {"source": {"location": {"s3": {"bucket": "backups"}, "path": "rag/chatbot/now", **more}}}


def test_restore_from_a_location_takes_its_identity(namespace: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(namespace.name, "Lookup", found(RECIPIENT))
    namespace.create("RestoreRequest", "back", location(identitySecret={"name": SECRET}))
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    assert mounting(namespace) == {"Restore"}


def test_restore_from_a_location_without_identity_is_refused(namespace: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(namespace.name, "Lookup", found(RECIPIENT))
    message = refused(namespace, location())
    assert "set source.location.identitySecret to a Secret" in message


def test_a_run_that_is_not_encrypted_mounts_no_identity(namespace: Namespace, kubelet: Kubelet) -> None:
    kubelet.behave(namespace.name, "Lookup", found())
    namespace.create("RestoreRequest", "back", location(identitySecret={"name": SECRET}))
    namespace.wait_phase("RestoreRequest", "back", "Succeeded")
    assert mounting(namespace) == set()


def test_a_recipient_that_was_copied_wrong_makes_the_policy_not_ready(namespace: Namespace) -> None:
    namespace.policy(encryption={"age": {"recipients": [RECIPIENT[:-1] + "q"]}})

    def condition() -> dict[str, Any] | None:
        conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
        return next((each for each in conditions if each["type"] == "Ready"), None)

    ready = wait_for("Ready", condition)
    assert (ready["status"], ready["reason"]) == ("False", "RecipientInvalid")
    assert "encryption.age.recipients[0]" in ready["message"]
