"""Object lock, archives and full stores, on real servers: checked against their answer, and said plainly."""

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from tests.faultproxy import FaultProxy, fault_proxy
from tests.harness import POLICY, failed
from tests.places import S3Place, S3Server, VolumePlace, start_s3
from tests.processes import stop
from tests.runner.archive import Archive
from tests.runner.jobs import Jobs, stored
from tests.waiting import wait_until

from holdfast.protocol import (
    BackupResult,
    CommitResult,
    ExitCode,
    Expiry,
    ExpiryCandidate,
    RestoreResult,
)

BIG = 10_000_000
"""Noise of two parts."""
LOCK = {"objectLock": {"mode": "Compliance", "retain": "1d"}}
FREE_TO_LIFT = {"objectLock": {"mode": "Governance", "retain": "1d"}}
DAY = timedelta(days=1)


@pytest.fixture
def locking(versioned: S3Server) -> S3Place:
    """A bucket with object lock, as a destination that asks for it."""
    return dataclasses.replace(versioned.new_bucket(lock=True), settings=LOCK)


def committed(outcome: tuple[int, object]) -> CommitResult:
    """The outcome as the success that it must be."""
    code, result = outcome
    assert code == 0, result
    assert isinstance(result, CommitResult)
    return result


def locks(place: S3Place) -> dict[str, tuple[str, datetime]]:
    """By key: the mode and the end of its lock, as the server says."""
    client = place.server.client()
    found = {}
    for key, version in place.versions():
        head = client.head_object(Bucket=place.bucket, Key=key, VersionId=version)
        found[key] = (head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate"))
    client.close()
    return found


def test_everything_that_is_stored_is_locked_as_the_result_says(jobs: Jobs, locking: S3Place) -> None:
    jobs.places = {"s3": locking, "nearby": VolumePlace()}
    began = datetime.now(UTC).replace(microsecond=0)
    result = stored(jobs.back_up({"name": "small", "bytes": 10}, {"name": "data", "bytes": BIG}))
    ended = datetime.now(UTC)
    assert list(result.retain_until) == ["s3"]
    until = result.retain_until["s3"]
    assert began + DAY <= until <= ended + DAY
    assert committed(jobs.commit(result)).destinations == ("s3", "nearby")
    found = locks(locking)
    entry = f"default/{POLICY}/catalogue/{jobs.run}.json"
    report = f"default/{POLICY}/{jobs.run}/report.json"
    assert len(found) == 5, "two artifacts, the manifest, the entry, the report"
    assert {key: lock for key, lock in found.items() if key not in (entry, report)} == {
        key: ("COMPLIANCE", until) for key in found if key not in (entry, report)
    }
    for key in (entry, report):
        assert found[key][0] == "COMPLIANCE"
        assert found[key][1] >= until, "retention takes the entry out first, so it must be free last"
    assert jobs.restore("s3")[0] == 0
    client = locking.server.client()
    for key, version in locking.versions():
        with pytest.raises(botocore.exceptions.ClientError, match=r"lock|WORM|AccessDenied"):
            client.delete_object(Bucket=locking.bucket, Key=key, VersionId=version)
    client.close()


def test_a_bucket_without_object_lock_is_refused_before_the_source_is_read(
    jobs: Jobs, bucket: S3Place, versioned: S3Server
) -> None:
    for place in (bucket, versioned.new_bucket()):
        jobs.places = {"s3": dataclasses.replace(place, settings=LOCK)}
        running = jobs.begin({"name": "data", "bytes": 10, "fail": True})
        message = failed(running.result(), ExitCode.TASK_WRONG, "ObjectLockMissing").failure.message
        assert f"bucket {place.bucket} has no object lock" in message
        assert place.keys() == {}


def test_an_optional_bucket_without_object_lock_is_a_missing_copy(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": dataclasses.replace(bucket, settings=LOCK), "nearby": VolumePlace()}
    jobs.optional = ("s3",)
    result = stored(jobs.back_up({"name": "data", "bytes": 10}))
    assert result.destinations == ("nearby",)
    assert "has no object lock" in result.missing["s3"]
    assert result.retain_until == {}


def without_lock(head: bytes) -> bytes:
    """An answer that says nothing of a lock."""
    return b"\r\n".join(
        line for line in head.split(b"\r\n") if not line.lower().startswith(b"x-amz-object-lock")
    )


def is_head(part: str) -> Any:
    """Matches HEADs of objects whose path has `part`."""
    return lambda request: request.method == "HEAD" and part in request.path


@pytest.mark.parametrize("part", [".zst", "manifest.json"])
def test_a_lock_that_the_bucket_does_not_confirm_fails_the_backup(
    jobs: Jobs, locking: S3Place, part: str
) -> None:
    with fault_proxy(locking.server.port) as proxy:
        jobs.places = {"s3": dataclasses.replace(locking, endpoint=proxy.endpoint)}
        proxy.add(is_head(part), rewrite_answer=without_lock)
        outcome = jobs.back_up({"name": "data", "bytes": BIG})
        message = failed(outcome, ExitCode.TASK_WRONG, "ObjectLockNotApplied").failure.message
    assert part in message
    assert "it has no lock that these credentials may see (s3:GetObjectRetention)" in message
    assert not any("catalogue" in key for key in locking.keys())  # noqa: SIM118


@pytest.mark.parametrize("part", [".zst", "manifest.json", "catalogue"])
def test_a_lock_that_the_bucket_does_not_confirm_fails_the_commit(
    jobs: Jobs, locking: S3Place, part: str
) -> None:
    with fault_proxy(locking.server.port) as proxy:
        jobs.places = {"s3": dataclasses.replace(locking, endpoint=proxy.endpoint)}
        result = stored(jobs.back_up({"name": "data", "bytes": 10}))
        proxy.add(is_head(part), rewrite_answer=without_lock)
        refused = failed(jobs.commit(result), ExitCode.TASK_WRONG, "ObjectLockNotApplied")
        assert part in refused.failure.message


def test_what_a_failed_attempt_left_locked_stays_and_the_commit_says_so(jobs: Jobs, locking: S3Place) -> None:
    jobs.places = {"s3": locking, "nearby": VolumePlace()}
    running = jobs.begin({"name": "whole", "bytes": 10}, {"name": "data", "bytes": 60_000_000, "pause": 0.2})
    wait_until(locking.uploads, "the second artifact begins")
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    (left,) = locking.keys()
    result = stored(jobs.back_up({"name": "data", "bytes": 10}))
    outcome = committed(jobs.commit(result))
    (note,) = [each for each in outcome.notes if each.reason == "LeftoversLocked"]
    assert note.message.startswith("destination s3: 1 objects of failed attempts are locked")
    assert left in note.message
    assert left in locking.keys()  # noqa: SIM118
    assert outcome.aborted_uploads == 1
    assert not any(path.name.startswith("whole") for path in jobs.volume().rglob("*"))
    assert not any(locking.versions().values()), "no delete marker hides it"


def test_what_a_failed_attempt_left_unlocked_goes_with_all_its_versions(
    jobs: Jobs, versioned: S3Server
) -> None:
    place = versioned.new_bucket(lock=True)
    jobs.places = {"s3": place}
    failing = jobs.back_up({"name": "whole", "bytes": 10}, {"name": "data", "bytes": 10, "fail": True})
    failed(failing, ExitCode.SOURCE_FAILED, "TestBroke")
    assert [key for key, _ in place.versions() if "data" in key] == []
    committed(jobs.commit(stored(jobs.back_up({"name": "data", "bytes": 10}))))
    assert [key for key, _ in place.versions() if "whole" in key] == []
    assert not any(place.versions().values())


def point(run: str) -> datetime:
    """The recovery point of run `r0`, `r1` …"""
    return datetime(2026, 11, 1, 2, 0, 5, tzinfo=UTC) + int(run[1:]) * DAY


def store(jobs: Jobs, run: str, **artifact: Any) -> BackupResult:
    """Back a run up."""
    jobs.run, jobs.run_uid = run, f"uid-{run}"
    return stored(jobs.back_up({"name": "data", "bytes": 10} | artifact, snapshot=point(run).isoformat()))


def candidates(*runs: str) -> tuple[ExpiryCandidate, ...]:
    """Runs as the operator knows them."""
    return tuple(ExpiryCandidate(run=run, recovery_point=point(run)) for run in runs)


def commit_deleting(
    jobs: Jobs, run: str, victim: str, place: str = "s3", keep: tuple[str, ...] = (), **artifact: Any
) -> CommitResult:
    """Make another run, whose commit is handed the victim."""
    result = store(jobs, run, **artifact)
    task = jobs.commit_task({"target": ("redis", result)})
    due = (Expiry(destination=place, delete=candidates(victim), keep=candidates(*keep)),)
    return committed(jobs.finish(task.model_copy(update={"retention": due})))


def test_retention_waits_for_the_lock_and_then_deletes(jobs: Jobs, versioned: S3Server) -> None:
    place = dataclasses.replace(versioned.new_bucket(lock=True), settings=FREE_TO_LIFT)
    jobs.places = {"s3": place}
    committed(jobs.commit(store(jobs, "r0")))
    before = place.versions()
    outcome = commit_deleting(jobs, "r1", "r0")
    assert outcome.retention == {"s3": "l"}
    assert "it is locked until 20" in outcome.notes[0].message
    assert before.items() <= place.versions().items()
    client = versioned.client()
    soon = datetime.now(UTC) + timedelta(seconds=6)
    for key, version in before:
        client.put_object_retention(
            Bucket=place.bucket, Key=key, VersionId=version, BypassGovernanceRetention=True,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": soon},
        )  # fmt: skip
    client.close()
    wait_until(lambda: datetime.now(UTC) > soon, "the lock ends")
    assert commit_deleting(jobs, "r2", "r0").retention == {"s3": "d"}
    assert not any("/r0" in key for key, _ in place.versions())


def test_a_storage_class_that_the_store_refuses_is_not_tried_again(
    jobs: Jobs, bucket: S3Place, s3: S3Server
) -> None:
    with fault_proxy(s3.port) as proxy:
        settings = {"storageClass": "NO_SUCH_CLASS"}
        jobs.places = {"s3": dataclasses.replace(bucket, endpoint=proxy.endpoint, settings=settings)}
        proxy.add(lambda request: request.headers.get("x-amz-storage-class") == "NO_SUCH_CLASS",
                  status=400, code="InvalidStorageClass")  # fmt: skip
        outcome = jobs.back_up({"name": "data", "bytes": BIG})
        assert (
            "InvalidStorageClass"
            in failed(outcome, ExitCode.TASK_WRONG, "StorageClassInvalid").failure.message
        )
    assert bucket.keys() == {}
    assert bucket.uploads() == []


def classes(proxy: FaultProxy) -> dict[str, str | None]:
    """By the last part of their paths: the storage class that objects were written with."""
    return {
        each.path.rsplit("/", 1)[1]: each.headers.get("x-amz-storage-class")
        for each in proxy.requests
        if (
            (each.method == "PUT" and each.part is None)
            or (each.method == "POST" and "uploads" in each.query)
        )
        and ".probe-" not in each.path
    }


@pytest.mark.parametrize(("storage_class", "documents"), [("STANDARD_IA", "STANDARD_IA"), ("GLACIER", None)])
def test_manifests_are_stored_where_they_can_be_read_at_once(
    jobs: Jobs, bucket: S3Place, s3: S3Server, storage_class: str, documents: str | None
) -> None:
    with fault_proxy(s3.port) as proxy:
        settings = {"storageClass": storage_class}
        jobs.places = {"s3": dataclasses.replace(bucket, endpoint=proxy.endpoint, settings=settings)}
        result = stored(jobs.back_up({"name": "small", "bytes": 10}, {"name": "big", "bytes": BIG}))
        committed(jobs.commit(result))
        assert classes(proxy) == {
            "small.zst": storage_class,
            "big.zst": storage_class,
            "manifest.json": documents,
            f"{jobs.run}.json": documents,
            "report.json": documents,
        }


@pytest.fixture
def archive(jobs: Jobs, bucket: S3Place, s3: S3Server) -> Iterator[Archive]:
    """The only destination of `jobs`, which stores artifacts in DEEP_ARCHIVE."""
    with fault_proxy(s3.port) as proxy:
        settings = {"storageClass": "DEEP_ARCHIVE"}
        jobs.places = {"s3": dataclasses.replace(bucket, endpoint=proxy.endpoint, settings=settings)}
        yield Archive(proxy)


def test_a_commit_verifies_an_archive_by_the_checksums_that_it_keeps(jobs: Jobs, archive: Archive) -> None:
    result = stored(jobs.back_up({"name": "small", "bytes": 10}, {"name": "data", "bytes": BIG}))
    assert committed(jobs.commit(result)).verified_bytes == result.size_bytes
    assert archive.refused == []
    assert archive.asked == {}


def test_an_archive_that_keeps_no_checksum_cannot_be_verified(jobs: Jobs, archive: Archive) -> None:
    result = stored(jobs.back_up({"name": "data", "bytes": 10}))

    def without_checksum(head: bytes) -> bytes:
        left_out = (b"x-amz-checksum", b"x-amz-storage-class")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(left_out)]
        return b"\r\n".join([lines[0], b"x-amz-storage-class: DEEP_ARCHIVE", *lines[1:]])

    archive.proxy.faults.clear()
    archive.proxy.add(is_head(".zst"), rewrite_answer=without_checksum)
    message = failed(jobs.commit(result), ExitCode.TASK_WRONG, "ChecksumMissing").failure.message
    assert "does not let it be read back" in message


def test_a_restore_thaws_everything_and_waits_before_it_begins(jobs: Jobs, archive: Archive) -> None:
    archive.polls = 3
    committed(
        jobs.commit(stored(jobs.back_up({"name": "small", "bytes": 10}, {"name": "data", "bytes": BIG})))
    )
    archive.proxy.requests.clear()
    running = jobs.start(jobs.restore_task("redis", {"host": {"name": "test", "port": 1}}),
                         module="tests.runner.job")  # fmt: skip
    code, result = running.result()
    assert code == 0, running.log()
    assert isinstance(result, RestoreResult)
    (note,) = result.notes
    assert note.reason == "Thawed"
    assert note.message.startswith("destination s3: 2 objects were thawed from DEEP_ARCHIVE first")
    assert archive.refused == [], "nothing was read before it could be"
    steps = [line["step"] for line in running.progress()]
    assert any(step.startswith("thawing 2 of 2 objects from DEEP_ARCHIVE, which takes") for step in steps), (
        steps
    )
    asked = [r for r in archive.proxy.requests if r.method == "POST" and "restore" in r.query]
    assert len(asked) == 2, "each is asked for once"


def test_a_restore_that_is_repeated_waits_for_what_is_thawing_already(jobs: Jobs, archive: Archive) -> None:
    archive.polls = 1 << 30
    committed(jobs.commit(stored(jobs.back_up({"name": "data", "bytes": 10}))))
    task = jobs.restore_task("redis", {"host": {"name": "test", "port": 1}})
    first = jobs.start(task, module="tests.runner.job")
    wait_until(lambda: archive.asked, "the thawing is asked for")
    stop(first.process)
    archive.polls = max(archive.asked.values()) + 2
    archive.proxy.requests.clear()
    code, result = jobs.finish(task, module="tests.runner.job")
    assert code == 0, result
    assert not [r for r in archive.proxy.requests if r.method == "POST"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_s3_server(jobs: Jobs, small: Path) -> None:
    server = start_s3(small / "objects")
    try:
        place = server.new_bucket()
        jobs.places = {"s3": place}
        outcome = jobs.back_up({"name": "data", "bytes": 2 * BIG})
        assert (
            "destination s3"
            in failed(outcome, ExitCode.DESTINATION_FAILED, "DestinationFull").failure.message
        )
        assert place.keys() == {}
        assert place.uploads() == []
    finally:
        stop(server.process)


@pytest.mark.parametrize(
    ("status", "code"),
    [(507, "XMinioStorageFull"), (507, "InsufficientStorage"), (507, "Other"), (403, "QuotaExceeded"),
     (400, "XMinioAdminBucketQuotaExceeded")],
)  # fmt: skip
def test_every_way_that_a_store_says_that_it_is_full(
    jobs: Jobs, bucket: S3Place, s3: S3Server, status: int, code: str
) -> None:
    with fault_proxy(s3.port) as proxy:
        jobs.places = {"s3": dataclasses.replace(bucket, endpoint=proxy.endpoint)}
        proxy.add(lambda request: request.part == 2, status=status, code=code)
        failed(jobs.back_up({"name": "data", "bytes": BIG}), ExitCode.DESTINATION_FAILED, "DestinationFull")
    assert bucket.keys() == {}
    assert bucket.uploads() == []


def test_retention_frees_a_full_destination_that_the_run_is_not_in(
    jobs: Jobs, bucket: S3Place, small: Path
) -> None:
    """Else an optional one that is full would stay full: no run gets there, and none deletes there."""
    jobs.places = {"s3": bucket, "small": VolumePlace(small)}
    jobs.optional = ("small",)
    for run in ("r0", "r1"):
        assert committed(jobs.commit(store(jobs, run, bytes=5_000_000))).destinations == ("s3", "small")
    outcome = commit_deleting(jobs, "r2", "r0", "small", ("r1",), bytes=2 * BIG)
    assert outcome.destinations == ("s3",)
    assert outcome.retention == {"small": "d"}
    files = [path for path in small.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["data.zst", "manifest.json", "r1.json", "report.json"]
    # The last that is there stays, though the run that is committed is newer.
    last = commit_deleting(jobs, "r3", "r1", "small", bytes=2 * BIG)
    assert last.retention == {"small": "r"}
    assert "r1 is the newest run in the catalogue" in last.notes[0].message
