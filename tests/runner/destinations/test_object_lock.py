"""What a bucket's answer about an object must say, and how a HEAD tells of an archive."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.destinations.s3 import ObjectLock
from holdfast.runner.destinations.destination import ArchiveState
from holdfast.runner.destinations.s3.archive import archived, thaw_request
from holdfast.runner.destinations.s3.objectlock import Lock

NOW = datetime(2026, 11, 23, 2, 0, 0, 900_000, tzinfo=UTC)
UNTIL = datetime(2026, 12, 23, 2, tzinfo=UTC)
LOCK = Lock(ObjectLock(mode="Compliance", retain="30d"), NOW)


def test_one_moment_to_the_second() -> None:
    assert LOCK.until == UNTIL
    assert LOCK.fields == {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": UNTIL}


def head(mode: str | None = "COMPLIANCE", until: datetime | None = UNTIL) -> dict[str, Any]:
    fields = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("answer", "lack"),
    [
        (head(), None),
        (head(until=UNTIL + timedelta(days=1)), None),
        (head(until=UNTIL - timedelta(seconds=1)), "the bucket says COMPLIANCE until 2026-12-23T01:59:59Z"),
        (head(mode="GOVERNANCE"), "the bucket says GOVERNANCE until 2026-12-23T02:00:00Z"),
        (head(None, None), "it has no lock that these credentials may see"),
        (head(until=None), "it has no lock"),
    ],
)
def test_the_answer_is_held_against_what_was_asked(answer: dict[str, Any], lack: str | None) -> None:
    found = LOCK.lack(answer, UNTIL)
    assert (found is None) is (lack is None)
    if lack is not None and found is not None:
        assert found.startswith(lack)
        assert found.endswith("COMPLIANCE until 2026-12-23T02:00:00Z was asked for")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({}, None),
        ({"StorageClass": "STANDARD_IA"}, None),
        ({"StorageClass": "GLACIER_IR"}, None),
        ({"StorageClass": "INTELLIGENT_TIERING"}, None),
        ({"StorageClass": "GLACIER"}, ArchiveState("GLACIER", thawing=False)),
        (
            {"StorageClass": "DEEP_ARCHIVE", "Restore": 'ongoing-request="true"'},
            ArchiveState("DEEP_ARCHIVE", thawing=True),
        ),
        (
            {"StorageClass": "GLACIER",
             "Restore": 'ongoing-request="false", expiry-date="Fri, 23 Dec 2026 00:00:00 GMT"'},
            None,
        ),
        (
            {"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "ARCHIVE_ACCESS"},
            ArchiveState("ARCHIVE_ACCESS", thawing=False),
        ),
    ],
)  # fmt: skip
def test_what_has_to_be_thawed(answer: dict[str, Any], state: ArchiveState | None) -> None:
    assert archived(answer) == state


def test_intelligent_tiering_is_asked_for_no_days() -> None:
    assert thaw_request({"StorageClass": "GLACIER"})["Days"] == 7
    assert "Days" not in thaw_request({"ArchiveStatus": "DEEP_ARCHIVE_ACCESS"})
