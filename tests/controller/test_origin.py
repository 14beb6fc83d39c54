"""A restore's reconcile in this process, on a real API server: what it knows is of one moment."""

from collections import Counter
from typing import Any

import pytest
from tests.controller.client import Namespace

from holdfast.api.restore import RestoreRequest
from holdfast.controller.queue import Key
from holdfast.controller.reconcilers.restores import Restores
from holdfast.controller.work.context import Context

MOMENT = "2026-01-01T02:00:00Z"
STORED = {
    "phase": "Succeeded", "startTime": MOMENT, "completionTime": MOMENT, "recoveryPoint": MOMENT,
    "destinations": [{"name": "primary", "s3": {"bucket": "backups"}}],
    "targets": [{
        "name": "sessions", "engine": "redis", "phase": "Succeeded",
        "artifacts": [{"destination": "primary", "uri": "s3://x", "sizeBytes": 1, "sha256": "a" * 64}],
    }],
}  # fmt: skip


async def test_a_restore_reads_its_run_and_its_policy_once(
    context: Context, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace.policy()  # made after the run started: the catalogue has to be read
    namespace.run("stored")
    namespace.patch("BackupRun", "stored", {"status": STORED}, subresource="/status")
    namespace.create("RestoreRequest", "back", {"source": {"runRef": {"name": "stored"}}})
    key, reconcile = Key(RestoreRequest.plural, namespace.name, "back"), Restores(context).reconcile
    await reconcile(key)
    assert namespace.status("RestoreRequest", "back")["source"] == "stored"
    reads: Counter[str] = Counter()
    get = context.cluster.get

    async def counted(kind: Any, where: str, name: str) -> Any:
        reads[kind.kind_name()] += 1
        return await get(kind, where, name)

    monkeypatch.setattr(context.cluster, "get", counted)
    await reconcile(key)
    assert namespace.status("RestoreRequest", "back")["reason"] == "LookingUp"
    assert reads == {"RestoreRequest": 1, "BackupRun": 1, "BackupPolicy": 1}
