"""A catalogue entry tells of every bit of it that changed, and those of older versions are still read."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.api.run import Source
from holdfast.engines.transfer import MismatchError
from holdfast.runner.stored.manifest import (
    CatalogueArtifact,
    CatalogueEntry,
    CatalogueTarget,
    EncryptionRecord,
)

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
URI = "the entry"


def entry(**fields: Any) -> CatalogueEntry:
    target = CatalogueTarget(
        name="db",
        engine="postgres",
        # An escape, and what looks like the place of the checksum.
        spec={"databases": ["a\x1fb", "ü", "0" * 64]},
        snapshot_time=NOW,
        source=Source(address="db:5432"),
        contents={"rows": 5},
        size_bytes=7,
        encrypted=EncryptionRecord(recipients=("age1q",)),
        manifest_sha256="b" * 64,
        artifacts=(CatalogueArtifact(name="a/b.zst", size_bytes=7, sha256="c" * 64),),
    )
    minimal: dict[str, Any] = {
        "tool_version": "0.1.0", "namespace": "ns", "policy": "p", "run": "r", "run_uid": "u",
        "trigger": "Manual", "scheduled_time": None, "started_time": NOW, "completed_time": NOW,
        "recovery_point": NOW, "skew_seconds": 0, "size_bytes": 7, "targets": (target,), "failed_targets": (),
    }  # fmt: skip
    return CatalogueEntry(**(minimal | fields))


def test_it_is_read_as_it_was_written() -> None:
    data = entry().encode()
    found = CatalogueEntry.parse(data, URI)
    assert found.same_backup(entry())
    assert found.encode() == data == entry().encode()
    assert found.sha256 is not None
    assert json.loads(data).keys() == entry().to_json().keys() | {"sha256", "scheduledTime"}


def test_every_bit_counts() -> None:
    data = entry().encode()
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(MismatchError, match=URI):
            CatalogueEntry.parse(bytes(flipped), URI)


def test_an_entry_of_an_older_version_is_read() -> None:
    old = entry().model_dump_json(by_alias=True, indent=1, exclude={"sha256"})
    found = CatalogueEntry.parse(old.encode(), URI)
    assert found.sha256 is None
    assert found.same_backup(entry())
    assert entry().same_backup(found)


def test_an_entry_of_a_newer_version_is_read() -> None:
    """It has fields that are unknown here, and its own checksum of them."""
    newer = type("Newer", (CatalogueEntry,), {"__annotations__": {"more": int}, "more": 5})
    fields = {name: getattr(entry(), name) for name in CatalogueEntry.model_fields}
    data = newer(**fields).encode()
    assert b'"more"' in data
    assert CatalogueEntry.parse(data, URI).same_backup(entry())


def test_what_differs_is_not_the_same_backup() -> None:
    assert entry(tool_version="0.2.0").same_backup(entry())
    assert entry(started_time=NOW - timedelta(seconds=1)).same_backup(entry())
    assert not entry(size_bytes=8).same_backup(entry())


def test_a_run_of_a_part_is_not_whole_for_a_version_that_does_not_know_such_runs() -> None:
    data = json.loads(entry(failed_targets=("a", "b"), skipped_targets=("b",)).encode())
    assert (data["failedTargets"], data["skippedTargets"]) == (["a", "b"], ["b"])
    assert not entry(failed_targets=("b",), skipped_targets=("b",)).same_backup(entry(failed_targets=("b",)))
