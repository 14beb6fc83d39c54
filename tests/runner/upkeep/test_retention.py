"""Deletion on a volume and in real buckets, with and without versions and locks: refused, killed, resumed."""

import dataclasses
import shutil
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from tests.faultproxy import fault_proxy
from tests.harness import POLICY
from tests.places import S3Place, S3Server, VolumePlace
from tests.runner.history import FIRST, LOCK, History, claims, deletes, traces
from tests.runner.jobs import Jobs

from holdfast.protocol import ExpiryCandidate


@pytest.mark.parametrize("lock", [False, True], ids=["plain", "versioned"])
def test_what_is_handed_goes_and_nothing_else(
    history: History, s3: S3Server, versioned: S3Server, lock: bool
) -> None:
    bucket = versioned.new_bucket(lock=True) if lock else s3.new_bucket()
    history.jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    for number in (1, 2, 3):
        history.commit(number)
    assert traces(bucket, 1)
    result = history.commit(4, 1, 2, keep=(3,))
    assert result.retention == {"s3": "dd", "nearby": "dd"}
    assert sorted(note.message for note in result.notes) == [
        "destination nearby: r1, r2", "destination s3: r1, r2",
    ]  # fmt: skip
    for number in (1, 2):
        assert traces(bucket, number) == []
        assert not any(f"r{number}" in path.name for path in history.jobs.volume().rglob("*"))
    for number in (3, 4):
        assert history.is_whole(number, "s3")
        assert history.is_whole(number, "nearby")


def test_the_guards_hold_whatever_is_handed(history: History, bucket: S3Place) -> None:
    history.jobs.places = {"s3": bucket}
    for number in (1, 2, 3, 4):
        history.commit(number)
    # r4 is the newest with every target, which r5 has not, and r2 the newest verified.
    result = history.commit(5, 1, 2, 4, verified=(1, 2), failed=("three",))
    assert result.retention == {"s3": "drr"}
    (refused,) = [note for note in result.notes if note.reason == "RetentionRefused"]
    assert refused.warning
    assert "r2, r4: r2 is the newest verified run in the catalogue" in refused.message
    assert [number for number in range(1, 6) if claims(bucket, number)] == [2, 3, 4, 5]
    # A witness that was named but is not in the catalogue is none.
    task = history.with_due(history.tasks["r5"], 2, 3, keep=(4, 9), verified=(2, 9))
    assert history.do(task).retention == {"s3": "rd"}
    # Newer than the run that is committed, of another moment, or not a run at all.
    history.commit(6)
    task = history.with_due(history.tasks["r5"], 6)
    wrong = ExpiryCandidate(run="r4", recovery_point=FIRST)
    own = ExpiryCandidate(run="r5", recovery_point=history.point(5))
    names = [ExpiryCandidate(run=name, recovery_point=FIRST) for name in ("catalogue", "wal")]
    expiry = task.retention[0].model_copy(update={"delete": (*task.retention[0].delete, wrong, own, *names)})
    before = bucket.keys()
    assert history.do(task.model_copy(update={"retention": (expiry,)})).retention == {"s3": "rrrrr"}
    assert bucket.keys() == before


def test_a_damaged_entry_is_refused_and_named(history: History, jobs: Jobs) -> None:
    history.commit(1)
    entry = jobs.volume() / f"default/{POLICY}/catalogue/r1.json"
    entry.write_bytes(entry.read_bytes()[:100])
    result = history.commit(2, 1)
    assert result.retention == {"nearby": "r"}
    assert "r1.json is not a catalogue entry" in result.notes[0].message
    assert (jobs.volume() / f"default/{POLICY}/r1").is_dir()


def test_a_refusal_says_the_moments_in_utc(history: History) -> None:
    history.zone = timezone(timedelta(hours=5, minutes=45))
    for number in (1, 2):
        history.commit(number)
    task = history.with_due(history.store(3), 1)
    other = ExpiryCandidate(run="r1", recovery_point=history.point(2))
    expiry = task.retention[0].model_copy(update={"delete": (other,)})
    (note,) = history.do(task.model_copy(update={"retention": (expiry,)})).notes
    assert "the catalogue's r1 is of 2026-11-02T02:00:05Z, not of 2026-11-03T02:00:05Z" in note.message


def test_a_bucket_whose_lock_holds_is_waited_for(history: History, versioned: S3Server) -> None:
    """The bucket locks whatever is in it, and does not say so beforehand."""
    bucket = versioned.new_bucket(lock=True)
    history.jobs.places = {"s3": bucket}
    history.commit(1)
    client = versioned.client()
    client.put_object_lock_configuration(Bucket=bucket.bucket, ObjectLockConfiguration=LOCK)
    before = bucket.versions()
    result = history.commit(2, 1)
    assert result.retention == {"s3": "l"}
    (note,) = result.notes
    assert (note.reason, note.warning) == ("RetentionWaits", True)
    assert "object lock" in note.message
    assert before.items() <= bucket.versions().items()
    markers = {key for (key, _), marker in bucket.versions().items() if marker}
    assert all(".probe-" in key for key in markers), "no delete marker of a run stays"
    assert history.is_whole(1, "s3")
    client.put_object_lock_configuration(
        Bucket=bucket.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    client.close()
    assert history.commit(3, 1).retention == {"s3": "d"}
    assert traces(bucket, 1) == []


def test_one_object_under_a_legal_hold_keeps_the_whole_run(history: History, versioned: S3Server) -> None:
    bucket = versioned.new_bucket(lock=True)
    history.jobs.places = {"s3": bucket}
    history.commit(1)
    held = next(key for key in bucket.keys() if "/r1/two/" in key and "more" in key)  # noqa: SIM118
    client = versioned.client()
    client.put_object_legal_hold(Bucket=bucket.bucket, Key=held, LegalHold={"Status": "ON"})
    before = bucket.versions()
    result = history.commit(2, 1)
    assert result.retention == {"s3": "l"}
    assert f"{held}: it is under a legal hold" in result.notes[0].message
    assert before.items() <= bucket.versions().items()
    assert history.is_whole(1, "s3")
    client.put_object_legal_hold(Bucket=bucket.bucket, Key=held, LegalHold={"Status": "OFF"})
    client.close()
    assert history.commit(3, 1).retention == {"s3": "d"}
    assert traces(bucket, 1) == []


def test_a_destination_that_breaks_does_not_fail_the_run(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        history.jobs.places = {"s3": bucket}
        for number in (1, 2, 3):
            history.commit(number)
        fault = proxy.add(lambda request: deletes(request) and "/r1/" in request.path,
                          status=403, code="AccessDenied")  # fmt: skip
        result = history.commit(4, 1, 2)
        assert result.retention == {"s3": "fu"}
        assert {note.reason for note in result.notes} == {"RetentionFailed", "RetentionUnfinished"}
        assert "AccessDenied" in next(n.message for n in result.notes if n.reason == "RetentionFailed")
        assert not claims(bucket, 1)
        assert history.is_whole(2, "s3")
        proxy.faults.remove(fault)
        assert history.commit(5, 1, 2).retention == {"s3": "dd"}
        assert traces(bucket, 1) == traces(bucket, 2) == []


def test_no_deletion_begins_once_the_time_is_over(history: History) -> None:
    history.commit(1)
    task = history.with_due(history.store(2), 1).model_copy(update={"retention_seconds": 0.0})
    assert history.do(task).retention == {"nearby": "u"}
    assert history.is_whole(1, "nearby")


def test_a_run_whose_folder_is_gone_already_counts_as_deleted(history: History, jobs: Jobs) -> None:
    history.commit(1)
    shutil.rmtree(jobs.volume() / f"default/{POLICY}/r1")
    Path(jobs.volume() / f"default/{POLICY}/catalogue/r1.json").unlink()
    assert history.commit(2, 1).retention == {"nearby": "d"}
