"""A lookup says what a run holds, however long the sections of its targets are."""

import hashlib
from datetime import UTC, datetime
from typing import Any

from tests.runner.jobs import Jobs

from holdfast.api.run import Source
from holdfast.protocol import ListedTarget, LookupResult, LookupTask
from holdfast.runner.stored.manifest import CatalogueEntry, CatalogueTarget

NOW = datetime(2026, 11, 23, 2, 0, 5, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "service": {"name": "chroma", "port": 8000},
    "tenants": [
        {
            "name": hashlib.sha256(f"tenant {tenant}".encode()).hexdigest(),
            "databases": [f"database-{tenant}-{number}" for number in range(20)],
        }
        for tenant in range(100)
    ],
}
"""Names that compress badly, as the identifiers of tenants do."""


def entry(jobs: Jobs) -> CatalogueEntry:
    """The entry of a run of one Chroma server with a hundred tenants."""
    target = CatalogueTarget(
        name="vectors", engine="chroma", spec=SPEC, snapshot_time=NOW, source=Source(address="chroma:8000"),
        contents={}, size_bytes=0, manifest_sha256="a" * 64, artifacts=(),
    )  # fmt: skip
    return CatalogueEntry(
        tool_version="0", namespace=jobs.namespace, policy="policy", run=jobs.run, run_uid="u",
        trigger="Manual", scheduled_time=None, started_time=NOW, completed_time=NOW, recovery_point=NOW,
        skew_seconds=0, size_bytes=0, targets=(target,), failed_targets=(),
    )  # fmt: skip


def test_targets_that_no_result_has_room_for_are_in_the_log(jobs: Jobs) -> None:
    jobs.destinations()
    catalogue = jobs.run_folder().parent / "catalogue"
    catalogue.mkdir(parents=True)
    (catalogue / f"{jobs.run}.json").write_bytes(entry(jobs).encode())
    running = jobs.start(LookupTask(source=jobs.stored_run()))
    code, result = running.result()
    assert (code, type(result)) == (0, LookupResult), result
    assert isinstance(result, LookupResult)
    assert (result.lines, result.targets) == (1, ())
    whole = result.from_log(running.stdout.read_bytes())
    assert whole is not None
    assert whole.targets == (ListedTarget(name="vectors", engine="chroma", spec=SPEC),)
    assert whole.recovery_point == result.recovery_point == NOW
    assert result.from_log(running.stdout.read_bytes()[:-100]) is None
