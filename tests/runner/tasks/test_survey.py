"""Surveys of real destinations: every entry is told of, whole or damaged, and a probe leaves nothing."""

import dataclasses
import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.faultproxy import Request, fault_proxy
from tests.harness import POLICY
from tests.machine import free_port
from tests.places import S3Place, S3Server, VolumePlace
from tests.runner.jobs import Jobs
from tests.scheduling import amounts

from holdfast.api.run import Source
from holdfast.domain.backup.catalogue import Page, page_of
from holdfast.protocol import BackupResult, CommitResult, FailedResult, SurveyResult, SurveyTask
from holdfast.runner.destinations import connect
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored import probe
from holdfast.runner.stored.manifest import CatalogueArtifact, CatalogueEntry, CatalogueTarget
from holdfast.runner.tasks.survey import survey

NOW = datetime(2026, 11, 26, tzinfo=UTC)
CATALOGUE = f"default/{POLICY}/catalogue/"
SHA = "a" * 64
LOCK = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}


def entry(run: str, number: int = 0, **changes: Any) -> CatalogueEntry:
    """An entry of three targets with five artifacts, as large as that of a small application."""
    moment = NOW - timedelta(hours=number)
    targets = tuple(
        CatalogueTarget(
            name=name,
            engine="redis",
            spec={"service": {"name": "redis", "port": 6379}},
            snapshot_time=moment,
            source=Source(address="redis:6379", role="Standby", version="7.4.1"),
            contents={"databases": 1, "keys": number},
            size_bytes=10,
            manifest_sha256=SHA,
            artifacts=tuple(
                CatalogueArtifact(name=f"abcde-123456/{each}.zst", size_bytes=5, sha256=SHA)
                for each in range(artifacts)
            ),
        )
        for name, artifacts in (("one", 2), ("two", 2), ("three", 1))
    )
    return CatalogueEntry(
        tool_version="0.1.0", namespace="default", policy=POLICY, run=run, run_uid=f"uid-{number}",
        trigger="Schedule", scheduled_time=moment, started_time=moment, completed_time=moment,
        recovery_point=moment, skew_seconds=0, size_bytes=30, targets=targets, failed_targets=(),
    ).model_copy(update=changes)  # fmt: skip


def put(place: S3Place, files: dict[str, bytes]) -> None:
    """Write into the catalogue in a bucket."""
    client = place.server.client()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(
            lambda name: client.put_object(Bucket=place.bucket, Key=CATALOGUE + name, Body=files[name]), files
        ):
            pass
    client.close()


def look(jobs: Jobs, after: str = "", most: int = 1000) -> tuple[SurveyResult, Page, bytes]:
    """Survey by a real Job: its Result, and the page and the whole log that the operator gets."""
    task = SurveyTask(
        namespace="default", policy=POLICY, destinations=jobs.destinations(), after=after, most=most
    )
    running = jobs.start(task)
    code, result = running.result()
    assert code == 0, running.log()
    assert isinstance(result, SurveyResult)
    log = running.stderr.read_bytes() + running.stdout.read_bytes()
    page = page_of(result, log, after, NOW)
    assert page is not None
    return result, page, log


@pytest.mark.parametrize("count", amounts(400, 2000))
def test_many_entries_page_by_page(jobs: Jobs, bucket: S3Place, s3: S3Server, count: int) -> None:
    names = [f"policy-{number:012}" for number in range(count)]
    entries = {f"{name}.json": entry(name, number).encode() for number, name in enumerate(names)}
    offsite = s3.new_bucket()
    put(bucket, entries)
    put(offsite, dict(list(entries.items())[:30]))
    jobs.places = {"s3": bucket, "offsite": offsite}
    found: dict[str, tuple[str, ...]] = {}
    pages, after = 0, ""
    while True:
        result, page, log = look(jobs, after, most=3 * count // 8)
        assert len(log) < 3 << 20
        assert (page.damaged, result.failures) == ((), {})
        found |= {name: run.destinations for name, run in page.runs.items()}
        pages, after = pages + 1, result.last
        if not after:
            break
    assert pages == 3
    assert list(found) == names
    assert [name for name, held in found.items() if held == ("s3", "offsite")] == names[:30]
    assert {held for name, held in found.items() if name not in names[:30]} == {("s3",)}


def test_an_entry_says_what_the_backup_said(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    lacks = [{"what": "an index", "reason": "TestLeftOut"}]
    _, backup = jobs.back_up({"name": "data", "bytes": 3000}, {"name": "more", "bytes": 10}, omissions=lacks)
    assert isinstance(backup, BackupResult)
    assert [omission.what for omission in backup.omissions] == ["an index"]
    _, committed = jobs.commit(backup)
    assert isinstance(committed, CommitResult)
    _, page, _ = look(jobs)
    (run,) = page.runs.values()
    (target,) = run.targets
    assert (run.run, run.run_uid, run.destinations) == (jobs.run, jobs.run_uid, ("s3", "nearby"))
    for name in ("recovery_point", "skew_seconds", "size_bytes"):
        assert getattr(run, name) == getattr(committed, name)
    for name in (
        "snapshot_time",
        "source",
        "contents",
        "manifest_sha256",
        "encrypted",
        "artifacts",
        "omissions",
    ):
        assert getattr(target, name) == getattr(backup, name), name


def test_what_is_damaged_is_named_and_hides_nothing_else(jobs: Jobs, bucket: S3Place) -> None:
    good = entry("good")
    text = entry("torn").encode()
    later = json.loads(entry("later").encode()) | {"version": 2}
    put(bucket, {
        "good.json": good.encode(),
        "torn.json": text[: len(text) // 2],
        "empty.json": b"",
        "later.json": json.dumps(later).encode(),
        "moved.json": entry("moved", namespace="other").encode(),
        "renamed.json": entry("before").encode(),
        "slotless.json": entry("slotless", trigger="Sometimes").encode(),
        "Upper.json": entry("Upper").encode(),
        "notes.txt": b"buy milk",
    })  # fmt: skip
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    jobs.destinations()
    catalogue = jobs.volume() / CATALOGUE
    catalogue.mkdir(parents=True)
    (catalogue / "good.json").write_bytes(entry("good", run_uid="another").encode())
    (catalogue / ".good.json.1a2b3c4d").write_bytes(b"half")
    _, page, _ = look(jobs)
    assert list(page.runs) == ["good"]
    assert page.runs["good"].destinations == ("s3",)
    told = {each.uri: each.message for each in page.damaged}
    at = f"s3://{bucket.bucket}/{CATALOGUE}"
    expected = {
        f"{at}torn.json": "it is not a catalogue entry of version 1: Invalid JSON",
        f"{at}empty.json": "it is not a catalogue entry of version 1: Invalid JSON",
        f"{at}later.json": "version",
        f"{at}moved.json": "it is the entry of run other/policy/moved",
        f"{at}renamed.json": "it is the entry of run default/policy/before",
        f"{at}slotless.json": "trigger",
        f"{at}Upper.json": "run",
        f"{at}notes.txt": "not a catalogue entry",
        f"pvc://backups/{CATALOGUE}good.json": f"it says otherwise than {at}good.json",
    }
    assert told.keys() == expected.keys()
    for uri, part in expected.items():
        assert part in told[uri], uri
        assert uri not in told[uri]


def test_a_page_ends_before_its_log_grows_too_long(jobs: Jobs) -> None:
    (catalogue := jobs.volume() / CATALOGUE).mkdir(parents=True)
    for number in range(20):
        (catalogue / f"r{number:02}.json").write_bytes(entry(f"r{number:02}").encode())
    task = SurveyTask(namespace="default", policy=POLICY, destinations=jobs.destinations())
    found, after = [], ""
    while True:
        out = io.StringIO()
        asked = task.model_copy(update={"after": after})
        result = survey(asked, Mounts(jobs.root), Meter(io.StringIO()), out, max_bytes=5000)
        assert len(out.getvalue()) < 5000 + 2500
        page = page_of(result, out.getvalue().encode(), after, NOW)
        assert page is not None
        assert page.runs
        found += list(page.runs)
        if not (after := result.last):
            break
    assert found == [f"r{number:02}" for number in range(20)]


@pytest.mark.parametrize("kind", ["plain", "versioned", "volume"])
def test_a_probe_leaves_nothing(jobs: Jobs, s3: S3Server, versioned: S3Server, kind: str) -> None:
    bucket = versioned.new_bucket(lock=True) if kind == "versioned" else s3.new_bucket()
    jobs.places = {"here": VolumePlace() if kind == "volume" else bucket}
    result, _, _ = look(jobs)
    assert (result.failures, result.listed) == ({}, ("here",))
    assert bucket.versions() == {}
    if kind == "volume":
        assert [path for path in jobs.volume("here").rglob("*") if path.is_file()] == []


def test_a_probe_that_the_bucket_locks_is_hidden_and_swept_away_later(
    jobs: Jobs, versioned: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = versioned.new_bucket(lock=True)
    client = versioned.client()
    client.put_object_lock_configuration(Bucket=bucket.bucket, ObjectLockConfiguration=LOCK)
    jobs.places = {"s3": bucket}
    result, _, _ = look(jobs)
    assert result.failures == {}
    assert sorted(bucket.versions().values()) == [False, True], "a version and the marker that hides it"
    assert bucket.keys() == {}
    client.put_object_lock_configuration(
        Bucket=bucket.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )
    client.close()
    look(jobs)
    assert len(bucket.versions()) == 2, "it may belong to a probe that goes on"
    monkeypatch.setattr(probe, "_LEFT_BEHIND", timedelta(seconds=-5))
    (destination,) = jobs.destinations()
    probe.sweep(connect(destination, Mounts(jobs.root)), f"default/{POLICY}/")
    assert bucket.versions() == {}


@pytest.mark.parametrize("locks", [False, True], ids=["free", "locked"])
def test_a_bucket_with_object_lock_and_without_versions_is_reachable(
    jobs: Jobs, s3: S3Server, locks: bool
) -> None:
    bucket = s3.new_bucket(lock=True)
    if locks:
        client = s3.client()
        client.put_object_lock_configuration(Bucket=bucket.bucket, ObjectLockConfiguration=LOCK)
        client.close()
    jobs.places = {"s3": bucket}
    result, _, _ = look(jobs)
    assert result.failures == {}
    assert len(bucket.keys()) == locks, "only what is locked stays"


def probes(request: Request, method: str) -> bool:
    """Whether it is of a probe's object."""
    return request.method == method and "/.probe-" in request.path


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_what_refuses_a_probe_is_named_and_its_runs_are_found(jobs: Jobs, s3: S3Server, method: str) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        put(bucket, {"good.json": entry("good").encode()})
        proxy.add(lambda request: probes(request, method), status=403, code="AccessDenied")
        jobs.places = {"s3": bucket, "nearby": VolumePlace()}
        result, page, _ = look(jobs)
    assert list(result.failures) == ["s3"]
    assert result.failures["s3"].reason == "AccessDenied"
    assert ".probe-" in result.failures["s3"].message
    assert result.listed == ("s3", "nearby")
    assert list(page.runs) == ["good"]


def test_what_gives_other_bytes_than_were_written_is_named(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    (destination,) = (connect(each, Mounts(jobs.root)) for each in jobs.destinations())
    monkeypatch.setattr(destination, "read", lambda key: b"other")
    with pytest.raises(Exception, match="was written, and then holds 5 other bytes"):
        probe.write_and_read(destination, "default/policy/")


def test_what_is_not_there_is_named(jobs: Jobs, bucket: S3Place) -> None:
    put(bucket, {"good.json": entry("good").encode()})
    jobs.places = {
        "s3": bucket,
        "absent": dataclasses.replace(bucket, bucket="none-such"),
        "away": dataclasses.replace(bucket, endpoint=f"http://127.0.0.1:{free_port()}"),
        "keyless": bucket,
        "unmounted": VolumePlace(),
    }
    task = SurveyTask(namespace="default", policy=POLICY, destinations=jobs.destinations())
    shutil.rmtree(jobs.root / "destinations/keyless/credentials")
    shutil.rmtree(jobs.volume("unmounted"))
    code, result = jobs.finish(task)
    assert code == 0
    assert isinstance(result, SurveyResult)
    assert result.listed == ("s3",)
    assert {name: failure.reason for name, failure in result.failures.items()} == {
        "absent": "BucketNotFound",
        "away": "DestinationUnreachable",
        "keyless": "SecretNotFound",
        "unmounted": "ClaimNotFound",
    }


def test_a_folder_that_cannot_be_read_is_not_an_empty_catalogue(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root every folder can be read: so the system call is told to fail."""
    (jobs.volume() / CATALOGUE).mkdir(parents=True)
    real = __import__("os").scandir

    def scandir(path: Any) -> Any:
        if "catalogue" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    task = SurveyTask(namespace="default", policy=POLICY, destinations=jobs.destinations())
    result = survey(task, Mounts(jobs.root), Meter(io.StringIO()), io.StringIO())
    assert result.listed == ()
    assert result.failures["nearby"].reason == "AccessDenied"


def test_a_destination_that_breaks_down_while_it_is_read_is_not_taken_for_listed(
    jobs: Jobs, s3: S3Server
) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        put(bucket, {f"r{number}.json": entry(f"r{number}").encode() for number in range(20)})
        proxy.add(lambda r: r.method == "GET" and "/catalogue/r1" in r.path, cut_answer_after=0)
        (catalogue := jobs.volume() / CATALOGUE).mkdir(parents=True)
        (catalogue / "r1.json").write_bytes(entry("r1").encode())
        jobs.places = {"s3": bucket, "nearby": VolumePlace()}
        result, page, _ = look(jobs)
    assert result.listed == ("nearby",)
    assert list(result.failures) == ["s3"]
    assert {name: run.destinations for name, run in page.runs.items()} == {"r1": ("nearby",)}


# The probe before a run.


def test_a_destination_that_takes_nothing_ends_the_run_before_the_source_is_touched(
    jobs: Jobs, s3: S3Server
) -> None:
    with fault_proxy(s3.port) as proxy:
        bucket = dataclasses.replace(s3.new_bucket(), endpoint=proxy.endpoint)
        jobs.places = {"nearby": VolumePlace(), "s3": bucket}
        fault = proxy.add(lambda request: probes(request, "PUT"), status=403, code="AccessDenied")
        code, result = jobs.back_up({"name": "data", "bytes": 10}, defect="the source was touched")
        assert code == 4
        assert isinstance(result, FailedResult)
        assert result.failure.reason == "AccessDenied"
        assert "destination s3" in result.failure.message
        assert not jobs.run_folder().exists()
        # One that may be missing is dropped, and said to be missing.
        jobs.optional = ("s3",)
        code, result = jobs.back_up({"name": "data", "bytes": 10})
        assert code == 0
        assert isinstance(result, BackupResult)
        assert result.destinations == ("nearby",)
        assert "AccessDenied" in result.missing["s3"]
        proxy.faults.remove(fault)
        # Who may not delete can be backed up to all the same.
        jobs.run, jobs.optional = "another", ()
        proxy.add(lambda request: probes(request, "DELETE"), status=403, code="AccessDenied")
        code, result = jobs.back_up({"name": "data", "bytes": 10})
        assert code == 0
        assert isinstance(result, BackupResult)
        assert result.destinations == ("nearby", "s3")


def test_jobs_that_begin_at_once_on_a_fresh_volume_do_not_disturb_each_other(jobs: Jobs) -> None:
    running = [jobs.begin({"name": "data", "bytes": 10}, target=f"t{number}", pause=0) for number in range(6)]
    assert [each.result()[0] for each in running] == [0] * 6
