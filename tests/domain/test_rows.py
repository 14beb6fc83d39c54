"""What the row of a run says."""

from typing import Any

import pytest
from tests import factories
from tests.factories import ONE, TWO, stored_target

from holdfast.api.run import BackupRun
from holdfast.domain.labels import IMPORTED, MISSED, STARTED
from holdfast.domain.rows import row_of


def test_a_row_says_where_a_run_is_stored() -> None:
    expiring = [{"destination": "two", "begun": True}]
    status = {
        "phase": "PartiallySucceeded",
        "destinations": [ONE, TWO],
        "sizeBytes": 7,
        "expiring": expiring,
        "leftovers": ["one"],
        "targets": [stored_target("one", "two"), {"name": "b", "engine": "redis", "phase": "Failed"}],
    }
    row = row_of(factories.run(status=status))
    assert row.destinations_holding == {"one"}
    assert row.destinations_being_deleted == {"two"}
    assert row.stored_bytes == {"one": 7, "two": 1}
    assert row.leftovers == {"one"}
    assert row.targets_held == {"a"}
    assert row.targets_count == 2
    assert row.targets_under_way == 0
    assert (row.is_stored, row.is_whole, row.has_ended, row.has_checksums) == (True, False, True, False)


@pytest.mark.parametrize(
    ("run", "facts"),
    [
        (factories.run(), set()),
        (factories.run(cancel=True), {"is_cancelled"}),
        (factories.run(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), {"is_deleted"}),
        (factories.run(metadata={"annotations": {IMPORTED: "u"}}), {"is_imported"}),
        (factories.run(metadata={"annotations": {MISSED: "late"}}), {"is_missed"}),
        (factories.run(metadata={"annotations": {STARTED: "another"}}), {"is_duplicate"}),
        (factories.run(metadata={"annotations": {STARTED: "r-uid"}}), set()),
        (factories.run(status={"deletion": {}}), {"has_purge"}),
        (factories.run(status={"verification": {"phase": "Running"}}), {"is_being_verified"}),
        (factories.run(status={"verification": {"phase": "Failed"}}), set()),
        (factories.run(status={"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}), {"may_hold_data"}),
    ],
)
def test_a_row_says_what_keeps_a_run_from_being_chosen(run: BackupRun, facts: set[str]) -> None:
    row: Any = row_of(run)
    names = ("is_cancelled", "is_deleted", "is_imported", "is_missed", "is_duplicate", "has_purge",
             "is_being_verified", "may_hold_data", "is_verified")  # fmt: skip
    assert {name for name in names if getattr(row, name)} == facts
