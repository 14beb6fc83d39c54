"""Never a false success: sources, stores and networks that break leave nothing that looks whole."""

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faultproxy import FaultProxy, Request, fault_proxy
from tests.harness import failed
from tests.machine import bytes_below
from tests.places import S3Place, S3Server, VolumePlace, start_s3
from tests.processes import stop
from tests.runner.engine import configured, producer
from tests.runner.jobs import BIG, Jobs, stored
from tests.waiting import wait_until

from holdfast.protocol import BackupResult, CommitResult, ExitCode, FailedResult


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    """A fault proxy in front of the session's S3."""
    with fault_proxy(s3.port) as running:
        yield running


@pytest.fixture
def broken(jobs: Jobs, bucket: S3Place, proxy: FaultProxy) -> S3Place:
    """The only destination of `jobs`: a bucket behind the proxy."""
    place = dataclasses.replace(bucket, endpoint=proxy.endpoint)
    jobs.places = {"s3": place}
    return place


def test_a_program_cut_off_after_100_megabytes_leaves_nothing(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    command = producer(100_000_000, end="import os; os.kill(os.getpid(), 9)")
    failed(jobs.back_up({"name": "dump", "command": command}), ExitCode.SOURCE_FAILED, "ProducerFailed")
    assert bucket.keys() == {}
    assert bucket.uploads() == []
    assert list(jobs.volume().rglob("*.zst*")) == []


@pytest.mark.parametrize("size", [0, 10, BIG])
def test_an_engine_that_breaks_or_writes_nothing_leaves_nothing(
    jobs: Jobs, bucket: S3Place, size: int
) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    outcome = jobs.back_up({"name": "whole", "bytes": 5}, {"name": "data", "bytes": size, "fail": size > 0})
    failed(outcome, ExitCode.SOURCE_FAILED, "TestBroke" if size else "EmptyOutput")
    assert all("whole" in key for key in bucket.keys())  # noqa: SIM118
    assert bucket.uploads() == []
    assert [path for path in jobs.volume().rglob("*.zst*") if "whole" not in path.name] == []


def test_an_empty_output_is_a_failure(jobs: Jobs) -> None:
    outcome = jobs.back_up({"name": "dump", "command": ["true"]})
    failed(outcome, ExitCode.SOURCE_FAILED, "EmptyOutput")


def test_a_defect_is_told_with_its_traceback(jobs: Jobs) -> None:
    code, result = jobs.back_up({"name": "data", "bytes": 5}, defect="here")
    assert (code, isinstance(result, FailedResult)) == (1, True)
    assert isinstance(result, FailedResult)
    assert result.failure.reason == "Defect"
    assert "KeyError: 'here'" in result.failure.log_tail
    assert not (jobs.run_folder() / "target/manifest.json").exists()


def test_the_s3_server_killed_in_mid_upload(jobs: Jobs, tmp_path: Path) -> None:
    server = start_s3(tmp_path / "objects")
    assert server.process is not None
    bucket = server.new_bucket()
    jobs.places = {"s3": bucket}
    running = jobs.begin({"name": "data", "bytes": 2_000_000_000})
    try:
        parts = server.folder / bucket.bucket
        wait_until(lambda: bytes_below(parts) > BIG, "parts arrive")
        server.process.kill()
        server.process.wait()
        failure = failed(running.result(120), ExitCode.DESTINATION_FAILED, "DestinationUnreachable").failure
    finally:
        stop(running.process)
    assert "destination s3" in failure.message
    again = start_s3(tmp_path / "objects", server.port)
    try:
        assert bucket.keys() == {}
        code, stored = jobs.back_up({"name": "data", "bytes": 1000})
        assert code == 0
        code, committed = jobs.commit(stored)
        assert isinstance(committed, CommitResult)
        assert committed.aborted_uploads == 1
        assert bucket.uploads() == []
    finally:
        stop(again.process)


def test_sigterm_aborts_the_uploads(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    command = producer(BIG, end="import time; time.sleep(600)")
    running = jobs.begin({"name": "data", "command": command})
    wait_until(bucket.uploads, "the upload begins")
    running.process.send_signal(signal.SIGTERM)
    code, result = running.result(30)
    assert code == ExitCode.TERMINATED
    assert isinstance(result, FailedResult)
    assert result.failure.reason == "Terminated"
    assert bucket.uploads() == []
    assert bucket.keys() == {}
    assert list(jobs.volume().rglob("*.zst*")) == []
    listing = subprocess.check_output(["ps", "-eo", "args"], text=True)
    assert str(jobs.root) not in listing


def is_last_part(request: Request) -> bool:
    """60 MB of noise are 8 parts."""
    return request.part == 8


def test_a_refused_last_part(jobs: Jobs, broken: S3Place, proxy: FaultProxy) -> None:
    proxy.add(is_last_part, status=403, code="AccessDenied")
    outcome = jobs.back_up({"name": "data", "bytes": BIG})
    failure = failed(outcome, ExitCode.DESTINATION_FAILED, "AccessDenied").failure
    assert "destination s3" in failure.message
    assert broken.keys() == {}
    assert broken.uploads() == []


def test_what_a_retry_mends_is_no_failure(jobs: Jobs, broken: S3Place, proxy: FaultProxy) -> None:
    faults = [
        proxy.add(lambda request: request.part == 2, status=503, code="SlowDown", times=2),
        proxy.add(lambda request: request.part == 3, reset_request_after=1 << 20, times=2),
        proxy.add(lambda request: request.part == 4, cut_answer_after=0, times=1),
        proxy.add(lambda request: request.completes, status=500, times=1),
        proxy.add(lambda request: request.path.endswith("manifest.json"), status=503, times=1),
    ]
    code, stored = jobs.back_up({"name": "data", "bytes": BIG})
    assert code == 0
    assert [fault.seen for fault in faults] == [2, 2, 1, 1, 1]
    assert jobs.commit(stored)[0] == 0
    assert jobs.restore()[0] == 0
    assert len(broken.keys()) == 4, "the artifact, the manifest, the entry, the report"


def test_the_lost_answer_to_a_completed_upload(jobs: Jobs, broken: S3Place, proxy: FaultProxy) -> None:
    fault = proxy.add(lambda request: request.completes, cut_answer_after=0, times=1)
    code, stored = jobs.back_up({"name": "data", "bytes": BIG})
    assert (code, fault.seen) == (0, 1)
    assert jobs.commit(stored)[0] == 0
    assert jobs.restore()[0] == 0


def test_the_lost_answer_to_a_written_manifest(jobs: Jobs, broken: S3Place, proxy: FaultProxy) -> None:
    fault = proxy.add(
        lambda request: request.method == "PUT" and request.path.endswith("manifest.json"),
        cut_answer_after=0,
        times=1,
    )
    code, stored = jobs.back_up({"name": "data", "bytes": 10})
    assert (code, fault.seen) == (0, 1)
    assert jobs.commit(stored)[0] == 0


def test_a_store_that_stays_throttled(jobs: Jobs, broken: S3Place, proxy: FaultProxy) -> None:
    proxy.add(lambda request: request.part == 1, status=503, code="SlowDown")
    outcome = jobs.back_up({"name": "data", "bytes": BIG})
    failed(outcome, ExitCode.DESTINATION_FAILED, "DestinationThrottled")
    assert broken.uploads() == []


def test_a_restore_takes_a_broken_download_up_again(jobs: Jobs, broken: S3Place, proxy: FaultProxy) -> None:
    jobs.back_up({"name": "data", "bytes": BIG})
    fault = proxy.add(
        lambda request: request.method == "GET" and "data.zst" in request.path,
        cut_answer_after=10_000_000,
        times=3,
    )
    assert jobs.restore()[0] == 0
    assert fault.seen == 3
    fault.times, fault.cut_answer_after = 1 << 30, 0
    outcome = jobs.restore()
    failed(outcome, ExitCode.DESTINATION_FAILED, "DestinationUnreachable")


def test_one_slow_destination_slows_all_but_memory_stays(
    jobs: Jobs, broken: S3Place, proxy: FaultProxy
) -> None:
    jobs.fresh = True
    jobs.places = {"slow": broken, "nearby": VolumePlace()}
    proxy.add(lambda request: request.part is not None, bytes_per_second=20_000_000)
    code, _ = jobs.back_up({"name": "data", "bytes": 300_000_000})
    assert code == 0
    assert jobs.peak_megabytes("backup") < 180


def test_wrong_settings_of_a_store_have_a_reason(jobs: Jobs, bucket: S3Place, s3: S3Server) -> None:
    def attempt(place: S3Place, reason: str, code: ExitCode = ExitCode.TASK_WRONG) -> str:
        jobs.places = {"s3": place}
        outcome = jobs.back_up({"name": "data", "bytes": 10})
        message = failed(outcome, code, reason).failure.message
        assert message.startswith("destination s3: ")
        assert ".probe-" not in message, "which object was asked for plays no part"
        return message

    message = attempt(dataclasses.replace(bucket, bucket="not-there"), "BucketNotFound")
    assert f"bucket not-there does not exist at {s3.endpoint}" in message
    wrong = dataclasses.replace(s3, secret_key="wrong-secret-key")
    message = attempt(dataclasses.replace(bucket, server=wrong), "SignatureDoesNotMatch")
    assert "correct AWS_SECRET_ACCESS_KEY in Secret s3 (s3.credentialsSecret)" in message
    unknown = dataclasses.replace(s3, access_key="nobody")
    message = attempt(dataclasses.replace(bucket, server=unknown), "InvalidAccessKeyId")
    assert "correct AWS_ACCESS_KEY_ID in Secret s3 (s3.credentialsSecret)" in message
    for endpoint, why in (
        ("http://127.0.0.1:9", "Connection refused"),
        ("http://s3x.invalid", "DNS knows no host s3x.invalid"),
    ):
        nowhere = dataclasses.replace(bucket, endpoint=endpoint)
        message = attempt(nowhere, "DestinationUnreachable", ExitCode.DESTINATION_FAILED)
        assert message == f"destination s3: {endpoint} cannot be reached: {why}"

    jobs.places = {"s3": bucket}
    task = jobs.backup_task("redis", {"host": {"name": "test", "port": 1}})
    (jobs.root / "destinations/s3/credentials/AWS_ACCESS_KEY_ID").unlink()
    outcome = jobs.finish(task, module="tests.runner.job")
    message = failed(outcome, ExitCode.TASK_WRONG, "SecretKeyNotFound").failure.message
    assert "destination s3: s3.credentialsSecret: Secret s3 has no key AWS_ACCESS_KEY_ID" in message


def test_an_optional_destination_without_its_secret_or_claim_leaves_the_others_alone(
    jobs: Jobs, bucket: S3Place
) -> None:
    jobs.places, jobs.optional = (
        {"nearby": VolumePlace(), "s3": bucket, "vol": VolumePlace()},
        ("s3", "vol"),
    )
    task = jobs.backup_task("redis", {"host": {"name": "test", "port": 1}})
    # As the kubelet leaves it: of an optional Secret an empty folder, of a claim that is left out nothing.
    for file in (jobs.root / "destinations/s3/credentials").iterdir():
        file.unlink()
    jobs.volume("vol").rmdir()
    outcome = jobs.finish(
        task, module="tests.runner.job", environment=configured({"name": "data", "bytes": 10})
    )
    result = stored(outcome)
    assert result.destinations == ("nearby",)
    assert result.missing == {
        "s3": "s3.credentialsSecret: this namespace has no Secret s3 with a key AWS_ACCESS_KEY_ID",
        "vol": "volume.claimName: this namespace has no PersistentVolumeClaim backups",
    }


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[VolumePlace]:
    """A file system of 20 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], check=True)
    yield VolumePlace(folder)
    subprocess.run(["umount", folder], check=True)


def test_a_full_volume(jobs: Jobs, small_volume: VolumePlace) -> None:
    assert small_volume.folder is not None
    jobs.places = {"small": small_volume}
    outcome = jobs.back_up({"name": "data", "bytes": BIG})
    failure = failed(outcome, ExitCode.DESTINATION_FAILED, "DestinationFull").failure
    assert failure.message.startswith("destination small: pvc://backups/default/policy/")
    assert [path for path in small_volume.folder.rglob("*") if path.is_file()] == []


def test_an_optional_destination_that_fails_is_missing(
    jobs: Jobs, small_volume: VolumePlace, bucket: S3Place
) -> None:
    assert small_volume.folder is not None
    jobs.places = {"small": small_volume, "s3": bucket}
    jobs.optional = ("small",)
    code, stored = jobs.back_up({"name": "first", "bytes": 10}, {"name": "data", "bytes": BIG},
                                {"name": "last", "bytes": 10})  # fmt: skip
    assert code == 0
    assert isinstance(stored, BackupResult)
    assert stored.destinations == ("s3",)
    assert "No space left" in stored.missing["small"]
    assert "destination small" not in stored.missing["small"]
    assert not list(small_volume.folder.rglob("manifest.json"))
    code, committed = jobs.commit(stored)
    assert code == 0
    assert isinstance(committed, CommitResult)
    assert committed.destinations == ("s3",)
    assert committed.missing["small"] == "lacks target target"
    assert jobs.restore("s3")[0] == 0


def test_no_destination_left_is_a_failure(jobs: Jobs, small_volume: VolumePlace) -> None:
    jobs.places = {"small": small_volume}
    jobs.optional = ("small",)
    failed(jobs.back_up({"name": "data", "bytes": BIG}), ExitCode.DESTINATION_FAILED, "DestinationFull")


def test_a_job_killed_outright_leaves_no_backup_and_the_commit_clears_away(
    jobs: Jobs, bucket: S3Place
) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    running = jobs.begin({"name": "small", "bytes": 10}, {"name": "data", "bytes": BIG, "pause": 0.2})
    wait_until(bucket.uploads, "the upload begins")
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert not any(key.endswith(".json") for key in bucket.keys())  # noqa: SIM118
    code, stored = jobs.back_up({"name": "data", "bytes": BIG})
    assert isinstance(stored, BackupResult)
    code, committed = jobs.commit(stored)
    assert code == 0
    assert isinstance(committed, CommitResult)
    assert committed.aborted_uploads == 1
    kept = {f"default/policy/{jobs.run}/target/{item.name}" for item in stored.artifacts}
    kept |= {f"default/policy/{jobs.run}/target/manifest.json", f"default/policy/catalogue/{jobs.run}.json"}
    kept |= {f"default/policy/{jobs.run}/report.json"}
    assert set(bucket.keys()) == kept
    files = [path for path in jobs.volume().rglob("*") if path.is_file()]
    assert {str(path.relative_to(jobs.volume())) for path in files} == kept
