"""A policy's reconcile in this process, on a real API server: what is left of it when a section fails."""

from typing import Any

import pytest
from tests.controller.client import Namespace
from tests.controller.conftest import list_again

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun
from holdfast.controller.errors import ConflictError, NotFoundError
from holdfast.controller.queue import Key
from holdfast.controller.reconcilers import policies
from holdfast.controller.reconcilers.policies import Policies
from holdfast.controller.work.context import Context
from holdfast.domain.policy.status import STATUS_SECTIONS

MOMENT = "2026-01-01T02:00:00Z"


class DefectError(Exception):
    """What a section raises here."""


def broken(*_: Any) -> Any:
    raise DefectError


PARTS = {
    "schedule": {"nextScheduleTime", "observedGeneration", "Ready"},
    "newest runs": {"lastRun", "BackupFresh"},
    "recovery windows": {"destinations"},
    "retention plan": {"retentionPlan"},
    "quota": {"WithinQuota"},
    "verification": {"nextVerificationTime", "RecoveryVerified"},
}
"""By section: the fields and conditions that are its own."""


def parts(status: dict[str, Any]) -> set[str]:
    fields = (name for name, value in status.items() if value != [])
    return {*fields, *(condition["type"] for condition in status["conditions"])}


@pytest.mark.parametrize("section", PARTS)
async def test_a_section_that_fails_leaves_the_part_of_the_others_written(
    context: Context, namespace: Namespace, section: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored = {
        "phase": "Succeeded", "completionTime": MOMENT, "recoveryPoint": MOMENT,
        "destinations": [{"name": "primary", "s3": {"bucket": "backups"}}],
        "targets": [{
            "name": "sessions", "engine": "redis", "phase": "Succeeded",
            "artifacts": [{"destination": "primary", "uri": "s3://x", "sizeBytes": 1, "sha256": "a" * 64}],
        }],
    }  # fmt: skip
    namespace.run("stored")
    namespace.patch("BackupRun", "stored", {"status": stored}, subresource="/status")
    namespace.policy(
        schedule="0 2 1 1 *",
        retention={"keepLast": 3},
        verification={"schedule": "@yearly", "mode": "Checksum"},
        destinations=[{"name": "primary", "s3": {"bucket": "backups"}, "quota": {"size": "1Gi"}}],
    )
    await list_again(context)
    key = Key(BackupPolicy.plural, namespace.name, "chatbot")
    reconcile = Policies(context).reconcile
    with pytest.MonkeyPatch.context() as patched:
        if section in STATUS_SECTIONS:
            patched.setitem(STATUS_SECTIONS, section, broken)
        else:
            patched.setattr(
                policies, {"schedule": "record_slots", "verification": "mark_due"}[section], broken
            )
        with pytest.raises(DefectError):  # so that the queue tries again
            await reconcile(key)
    status = namespace.status("BackupPolicy", "chatbot")
    others = set[str]().union(*(part for name, part in PARTS.items() if name != section))
    assert others <= parts(status)
    assert not PARTS[section] & parts(status)
    assert status["catalogue"]["survey"], "the sections after the status are run too"
    assert f"section {section} failed" in caplog.text

    await reconcile(key)
    assert set[str]().union(*PARTS.values()) <= parts(namespace.status("BackupPolicy", "chatbot"))


async def test_a_policy_for_which_nothing_is_forbidden_any_more_says_so(
    context: Context, namespace: Namespace
) -> None:
    namespace.policy()
    said = {"type": "Permitted", "status": "False", "reason": "Forbidden", "lastTransitionTime": MOMENT}
    namespace.patch("BackupPolicy", "chatbot", {"status": {"conditions": [said]}}, subresource="/status")
    await list_again(context)
    key = Key(BackupPolicy.plural, namespace.name, "chatbot")
    while await Policies(context).reconcile(key) == 0:
        pass
    assert "Permitted" not in parts(namespace.status("BackupPolicy", "chatbot"))
    assert "Ready" in parts(namespace.status("BackupPolicy", "chatbot"))


async def test_a_run_is_written_to_only_as_it_was_listed(context: Context, namespace: Namespace) -> None:
    namespace.run("by-hand")
    await list_again(context)
    (row,) = context.runs.of_policy(namespace.name, "chatbot")
    assert (await context.runs.read(row)).metadata.uid == row.uid
    assert context.runs.of_policy(namespace.name, "other") == ()
    namespace.patch("BackupRun", "by-hand", {"spec": {"cancel": True}})
    with pytest.raises(ConflictError):
        await context.runs.read(row)
    (row,) = context.runs.of_policy(namespace.name, "chatbot")
    await context.cluster.delete(await context.cluster.get(BackupRun, namespace.name, "by-hand"))
    with pytest.raises(NotFoundError):
        await context.runs.read(row)
