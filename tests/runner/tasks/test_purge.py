"""A run's data goes with its BackupRun: all of it, of that run only, killed and resumed, locked, refused."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.faultproxy import Request, fault_proxy
from tests.harness import POLICY, failed
from tests.places import S3Place, S3Server, VolumePlace
from tests.runner.history import LOCK, History, claims, deletes, kill_at, traces
from tests.runner.jobs import Jobs

from holdfast.destinations.s3 import ObjectLock
from holdfast.engines.transfer import DestinationError
from holdfast.protocol import ExitCode, FailedResult, PurgeResult, PurgeTask
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import LockedError, Version
from holdfast.runner.process.mounts import Mounts

LOCKING = {"object_lock": ObjectLock(mode="Governance", retain="30d")}


def purge_task(history: History, number: int, *, committed: bool = True, **fields: Any) -> PurgeTask:
    values: dict[str, Any] = {
        "namespace": history.jobs.namespace,
        "policy": POLICY,
        "run": f"r{number}",
        "run_uid": f"uid-{number}",
        "recovery_point": history.point(number) if committed else None,
        "destinations": history.jobs.destinations(),
    }
    return PurgeTask(**(values | fields))


def told(result: PurgeResult | FailedResult) -> list[tuple[str, bool]]:
    return [(note.reason, note.warning) for note in result.notes]


@pytest.mark.parametrize("lock", [False, True], ids=["plain", "versioned"])
def test_nothing_of_the_run_is_left_and_all_of_the_others(
    history: History, s3: S3Server, versioned: S3Server, lock: bool
) -> None:
    bucket = versioned.new_bucket(lock=True) if lock else s3.new_bucket()
    history.jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    for number in (1, 2):
        history.commit(number)
    # The newest: no guard keeps it.
    result = history.do(purge_task(history, 2))
    assert result.destinations == ("s3", "nearby")
    assert told(result) == [("DataDeleted", False)] * 2
    assert traces(bucket, 2) == []
    assert not any("r2" in path.name for path in history.jobs.volume().rglob("*"))
    assert history.is_whole(1, "s3")
    assert history.is_whole(1, "nearby")
    # Doing it again is no error.
    assert history.do(purge_task(history, 2)).destinations == ("s3", "nearby")


def test_what_a_stopped_run_left_goes(history: History, bucket: S3Place) -> None:
    history.jobs.places = {"s3": bucket}
    history.store(1)
    client = bucket.server.client()
    key = f"default/{POLICY}/r1/three/pod-1/data.zst"
    client.create_multipart_upload(Bucket=bucket.bucket, Key=key)
    client.put_object(Bucket=bucket.bucket, Key=f"{key}.part", Body=b"x")
    client.close()
    assert history.do(purge_task(history, 1, committed=False)).destinations == ("s3",)
    assert traces_of_keys(bucket) == []
    assert bucket.uploads() == []


def traces_of_keys(bucket: S3Place) -> list[str]:
    return sorted(bucket.keys())


def test_a_run_that_was_brought_back_from_the_catalogue_is_known_by_its_moment(
    history: History, bucket: S3Place
) -> None:
    history.jobs.places = {"s3": bucket}
    history.commit(1)
    assert history.do(purge_task(history, 1, run_uid="another")).destinations == ("s3",)
    assert traces_of_keys(bucket) == []


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "only stored"])
def test_the_data_of_another_run_of_the_same_name_stays(
    history: History, bucket: S3Place, committed: bool
) -> None:
    history.jobs.places = {"s3": bucket}
    if committed:
        history.commit(1)
    else:
        history.store(1)
    before = bucket.keys()
    fields: list[dict[str, Any]] = [{"recovery_point": None}]
    if committed:
        fields.append({"recovery_point": history.point(1) + timedelta(seconds=1)})
    for each in fields:
        result = history.do(purge_task(history, 1, run_uid="another", **each))
        assert result.destinations == ()
        assert told(result) == [("DataKept", True)]
        assert "is of another run: the data stays" in result.notes[0].message
    assert bucket.keys() == before


def test_a_damaged_entry_does_not_tell_whose_it_is(history: History, jobs: Jobs) -> None:
    history.commit(1)
    entry = jobs.volume() / f"default/{POLICY}/catalogue/r1.json"
    entry.write_bytes(entry.read_bytes()[:100])
    result = history.do(purge_task(history, 1))
    assert told(result) == [("DataKept", True)]
    assert (jobs.volume() / f"default/{POLICY}/r1").is_dir()


@pytest.mark.parametrize("name", ["catalogue", "wal"])
def test_the_other_folders_are_no_runs(history: History, jobs: Jobs, name: str) -> None:
    history.commit(1)
    task = purge_task(history, 1).model_copy(update={"run": name})
    failure = failed(jobs.finish(task), ExitCode.TASK_WRONG, "TaskInvalid").failure
    assert f"{name} is not a run" in failure.message
    assert history.is_whole(1, "nearby")


def test_what_is_locked_stays_whole_and_its_date_is_told(history: History, versioned: S3Server) -> None:
    bucket = versioned.new_bucket(lock=True)
    history.jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    history.commit(1)
    client = versioned.client()
    key = next(key for key in bucket.keys() if "/r1/two/" in key and "data" in key)  # noqa: SIM118
    until = datetime.now(tz=history.point(1).tzinfo) + timedelta(days=400)
    retention = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    client.put_object_retention(Bucket=bucket.bucket, Key=key, Retention=retention)
    client.close()
    before = bucket.versions()
    result = history.do(purge_task(history, 1))
    assert result.destinations == ("nearby",)
    assert told(result) == [("DataLocked", True), ("DataDeleted", False)]
    assert f"it is locked until {until:%Y-%m-%dT%H:%M}" in result.notes[0].message
    assert bucket.versions() == before
    assert history.is_whole(1, "s3")


def test_a_bucket_that_locks_whatever_is_in_it(history: History, versioned: S3Server) -> None:
    bucket = versioned.new_bucket(lock=True)
    history.jobs.places = {"s3": bucket}
    history.commit(1)
    client = versioned.client()
    client.put_object_lock_configuration(Bucket=bucket.bucket, ObjectLockConfiguration=LOCK)
    client.close()
    result = history.do(purge_task(history, 1))
    assert told(result) == [("DataLocked", True)]
    assert "some of it is gone" not in result.notes[0].message
    assert history.is_whole(1, "s3")


def test_a_locked_run_stays_whole_in_a_bucket_without_versions(history: History, s3: S3Server) -> None:
    bucket = dataclasses.replace(s3.new_bucket(lock=True), settings=LOCKING)
    history.jobs.places = {"s3": bucket}
    history.commit(1)
    before = bucket.keys()
    result = history.do(purge_task(history, 1))
    assert told(result) == [("DataLocked", True)]
    assert "it is locked until " in result.notes[0].message
    assert "some of it is gone" not in result.notes[0].message
    assert bucket.keys() == before
    assert history.is_whole(1, "s3")


def test_a_run_without_locks_goes_from_a_locking_bucket_without_versions(
    history: History, s3: S3Server
) -> None:
    bucket = s3.new_bucket(lock=True)
    history.jobs.places = {"s3": bucket}
    history.commit(1)
    assert history.do(purge_task(history, 1)).destinations == ("s3",)
    assert traces_of_keys(bucket) == []


def test_a_lock_that_the_refusal_does_not_name_is_a_lock(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(lock=True), endpoint=proxy.endpoint, settings=LOCKING)
        history.jobs.places = {"s3": bucket}
        (specification,) = history.jobs.destinations()
        destination = connect(specification, Mounts(history.jobs.root))
        assert destination.create("locked", b"1")
        assert destination.create("free", b"1", transient=True)
        proxy.add(deletes, status=403, code="AccessDenied")
        with pytest.raises(LockedError, match="it is locked until"):
            destination.erase(Version("locked"))
        with pytest.raises(DestinationError) as refusal:
            destination.erase(Version("free"))
    assert refusal.value.reason == "AccessDenied"


def heads(request: Request) -> bool:
    return request.method == "HEAD"


def test_no_lock_is_looked_for_where_the_bucket_has_none(history: History, s3: S3Server) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        history.jobs.places = {"s3": bucket}
        history.commit(1)
        proxy.requests.clear()
        assert history.do(purge_task(history, 1)).destinations == ("s3",)
        assert len([request for request in proxy.requests if "object-lock" in request.query]) == 1
        assert not any(map(heads, proxy.requests))


def test_locks_are_looked_for_where_nobody_may_ask_whether_the_bucket_has_any(
    history: History, s3: S3Server
) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(lock=True), endpoint=proxy.endpoint, settings=LOCKING)
        history.jobs.places = {"s3": bucket}
        history.commit(1)
        proxy.add(lambda request: "object-lock" in request.query, status=403, code="AccessDenied")
        proxy.requests.clear()
        assert told(history.do(purge_task(history, 1))) == [("DataLocked", True)]
        assert any(map(heads, proxy.requests))
        assert not any(map(deletes, proxy.requests)), "it was looked for before anything was deleted"
        assert history.is_whole(1, "s3")


def test_a_run_goes_where_nobody_may_look_for_locks(history: History, s3: S3Server) -> None:
    """Without s3:GetObjectVersion, and without the right to ask for the bucket's lock."""
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        history.jobs.places = {"s3": bucket}
        history.commit(1)
        proxy.add(lambda request: "object-lock" in request.query, status=403, code="AccessDenied")
        proxy.add(
            lambda request: heads(request) and "versionId" in request.query, status=403, code="AccessDenied"
        )
        assert told(history.do(purge_task(history, 1))) == [("DataDeleted", False)]
        assert traces_of_keys(bucket) == []


def test_what_was_stored_before_the_bucket_kept_versions_is_not_only_hidden(
    history: History, versioned: S3Server
) -> None:
    """A store may refuse to delete it as a wrong request; a deletion without its id would only hide it."""
    with fault_proxy(versioned.port) as proxy:
        bucket = dataclasses.replace(versioned.new_bucket(), endpoint=proxy.endpoint)
        history.jobs.places = {"s3": bucket}
        history.commit(1)
        client = versioned.client()
        client.put_bucket_versioning(Bucket=bucket.bucket, VersioningConfiguration={"Status": "Enabled"})
        client.close()
        before = bucket.versions().keys()
        refused = proxy.add(
            lambda request: deletes(request) and request.query.get("versionId") == ["null"],
            status=400, code="InvalidRequest",
        )  # fmt: skip
        code, result = history.jobs.finish(purge_task(history, 1))
        assert refused.seen
        assert isinstance(result, FailedResult)
        assert (code, told(result)) == (ExitCode.DESTINATION_FAILED, [])
        assert before <= bucket.versions().keys()


def test_one_destination_that_fails_keeps_no_other_from_being_cleared(
    history: History, s3: S3Server, jobs: Jobs
) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        jobs.places = {"s3": bucket, "nearby": VolumePlace()}
        history.commit(1)
        fault = proxy.add(deletes, status=403, code="AccessDenied")
        code, result = jobs.finish(purge_task(history, 1))
        assert isinstance(result, FailedResult)
        assert (code, result.failure.reason) == (4, "AccessDenied")
        assert told(result) == [("DataDeleted", False)]
        assert not any("r1" in path.name for path in jobs.volume().rglob("*"))
        proxy.faults.remove(fault)
        code, result = jobs.finish(purge_task(history, 1))
        assert isinstance(result, PurgeResult)
        assert traces(bucket, 1) == []


@pytest.mark.parametrize("lock", [False, True], ids=["plain", "versioned"])
def test_killed_between_any_two_deletions(
    history: History, s3: S3Server, versioned: S3Server, lock: bool
) -> None:
    server = versioned if lock else s3
    with fault_proxy(server.port) as proxy:
        bucket = dataclasses.replace(server.new_bucket(lock=lock), endpoint=proxy.endpoint)
        history.jobs.places = {"s3": bucket}
        history.commit(100)
        history.commit(1)
        proxy.requests.clear()
        history.do(purge_task(history, 1))
        needed = len([request for request in proxy.requests if deletes(request)])
        assert needed > 6, "an entry, two manifests, four artifacts"
        for number in range(2, needed + 2):
            history.commit(number)
            before = {version for version in bucket.versions() if f"/r{number}/" in version[0]}
            moment = number - 1
            done = bool(moment % 2) and moment < needed
            kill_at(history, purge_task(history, number), proxy, deletes, moment, done=done)
            if claims(bucket, number):
                assert before <= bucket.versions().keys(), "it is claimed and partly gone"
            assert history.do(purge_task(history, number)).destinations == ("s3",)
            assert traces(bucket, number) == []
        assert history.is_whole(100, "s3")
