"""What is said on an object that this release does not understand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.domain.unclear import message_of, status_of

NOW = datetime(2026, 1, 31, 2, tzinfo=UTC)
SAID = {"reason": "NotUnderstood", "message": "m"}


def of(kind: str, status: Any) -> dict[str, Any] | None:
    return status_of({"kind": kind, "status": status}, "NotUnderstood", "m", NOW)


@pytest.mark.parametrize("status", [None, [], "x"])
def test_a_run_without_a_status_waits(status: Any) -> None:
    assert of("BackupRun", status) == {"phase": "Pending"} | SAID


def test_a_run_under_way_stays_in_its_phase() -> None:
    status = {"phase": "Sealing", "shards": [1]}
    assert of("BackupRun", status) == status | SAID
    assert of("BackupRun", status | SAID) is None


def test_a_run_that_has_ended_keeps_saying_how() -> None:
    assert of("BackupRun", {"phase": "Sealed", "completionTime": "2026-01-01T00:00:00Z"}) is None


def test_a_policy_is_not_ready_since_it_is_not() -> None:
    other = {"type": "BackupFresh", "status": "True"}
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-31T02:00:00Z"} | SAID
    assert of("BackupPolicy", {"conditions": [other]}) == {"conditions": [other, ready]}
    before = {"type": "Ready", "status": "False", "lastTransitionTime": "2025-01-01T00:00:00Z", "reason": "X"}
    assert of("BackupPolicy", {"conditions": [before, 7]}) == {"conditions": [before | SAID, 7]}
    assert of("BackupPolicy", {"conditions": "x"}) == {"conditions": [ready]}


def test_what_is_forbidden_is_a_condition_of_its_own() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z", "reason": "X"}
    body = {"kind": "BackupPolicy", "status": {"conditions": [ready]}}
    after = status_of(body, "Forbidden", "m", NOW)
    assert after is not None
    assert after["conditions"][0] == ready
    assert (after["conditions"][1]["type"], after["conditions"][1]["reason"]) == ("Permitted", "Forbidden")
    assert status_of(body | {"status": after}, "Forbidden", "m", NOW) is None


def test_who_deletes_it_reads_what_holds_it() -> None:
    metadata = {"deletionTimestamp": "x", "finalizers": ["holdfast.dev/data", "other"]}
    assert message_of("p", {}) == "this release does not understand it: p"
    assert "without its finalizer holdfast.dev/data it goes, and its data stays" in message_of("p", metadata)
