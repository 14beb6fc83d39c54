"""Which runs may hold data, which finalizers follow from that, and how long a failed deletion waits."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import factories
from tests.factories import stored_target

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun
from holdfast.domain.labels import DATA
from holdfast.domain.rows import row_of
from holdfast.domain.run import deletion
from holdfast.domain.stored import may_hold_data

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HELD = {"targets": [stored_target("one")]}


def run(status: dict[str, Any], *finalizers: str, deleted: datetime | None = None) -> BackupRun:
    metadata = {"finalizers": finalizers, "deletionTimestamp": deleted}
    return factories.run(metadata=metadata, status=status)


def policy(says: str = "Delete", *finalizers: str) -> BackupPolicy:
    return factories.policy(metadata={"finalizers": finalizers}, deletionPolicy=says)


STARTED = {"startTime": NOW}
ENDED = STARTED | {"completionTime": NOW}


@pytest.mark.parametrize(("status", "deleted", "holds"), [
    ({}, None, False),
    ({"phase": "Pending"}, None, False),
    ({"phase": "Missed", "completionTime": NOW}, None, False),
    (STARTED | {"phase": "Running"}, None, True),
    (STARTED | {"phase": "Committing"}, None, True),
    (ENDED | HELD | {"phase": "Succeeded"}, None, True),
    (ENDED | HELD | {"phase": "Failed"}, None, True),
    (ENDED | {"phase": "Failed"}, None, False),
    (ENDED | {"phase": "Expired"}, None, False),
    (ENDED | {"phase": "Cancelled"}, NOW - timedelta(seconds=9), True),
    (ENDED | {"phase": "Cancelled"}, NOW + timedelta(seconds=1), False),
])  # fmt: skip
def test_which_runs_may_hold_data(status: dict[str, Any], deleted: datetime | None, holds: bool) -> None:
    assert may_hold_data(run(status, deleted=deleted)) is holds


STORED = ENDED | HELD | {"phase": "Succeeded"}


@pytest.mark.parametrize(("of", "says", "finalizers"), [
    (run(STORED), "Delete", (DATA,)),
    (run(STORED, "x"), "Delete", ("x", DATA)),
    (run(STORED, DATA, "x"), "Delete", (DATA, "x")),
    (run(STORED, DATA, "x"), "Retain", ("x",)),
    (run(STORED), "Retain", ()),
    (run(ENDED | {"phase": "Expired"}, DATA), "Delete", ()),
    (run(STORED, "x", deleted=NOW), "Delete", ("x",)),
    (run(STORED, DATA, deleted=NOW), "Delete", (DATA,)),
    (run(STORED, DATA, deleted=NOW), "Retain", ()),
])  # fmt: skip
def test_finalizers_follow_the_policy(of: BackupRun, says: str, finalizers: tuple[str, ...]) -> None:
    assert deletion.run_finalizers(row_of(of), policy(says)) == finalizers


def test_the_policys_own_finalizer() -> None:
    assert deletion.policy_finalizers(policy()) == (DATA,)
    assert deletion.policy_finalizers(policy("Delete", DATA, "x")) == (DATA, "x")
    assert deletion.policy_finalizers(policy("Retain", DATA, "x")) == ("x",)


def test_the_garbage_collector_is_kept_from_the_purge_job() -> None:
    assert deletion.without_foreground(run(STORED, DATA, "foregroundDeletion", "x")) == (DATA, "x")


def test_pauses_grow_to_an_hour() -> None:
    status = deletion.with_deletion_started(run(STORED).status)
    pauses = []
    for _ in range(20):
        step = deletion.retry_later(status, "the bucket is away", NOW)
        status = step.status
        assert status.deletion is not None
        assert status.deletion.next_time is not None
        pauses.append((status.deletion.next_time - NOW).total_seconds())
    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses[-1] == 3600
    assert status.deletion is not None
    assert (status.deletion.attempts, status.deletion.message) == (20, "the bucket is away")
    assert step.notices[0].warning
