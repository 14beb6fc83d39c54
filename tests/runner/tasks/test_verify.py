"""Every stored byte of every copy is read, and whatever differs is named."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from tests.faultproxy import fault_proxy
from tests.harness import failed
from tests.places import S3Place, VolumePlace
from tests.runner.jobs import Jobs, flip_a_byte, stored

from holdfast.layout import REPORT
from holdfast.protocol import BackupResult, ExitCode, Result, VerifyResult

PARTS = 9_000_000
"""Bytes that are uploaded as two parts."""


@dataclasses.dataclass
class Run:
    """A committed run of two targets, in a bucket and on a volume."""

    jobs: Jobs
    bucket: S3Place
    results: dict[str, tuple[str, BackupResult]]
    """By target, with its engine."""

    def verify(self) -> tuple[int, Result]:
        return self.jobs.finish(self.jobs.verify_task(self.results))

    def message(self, code: ExitCode, reason: str) -> str:
        """What a verification that must fail so says."""
        return failed(self.verify(), code, reason).failure.message

    def file(self, name: str, place: str = "s3") -> Path:
        """A stored object, by a part of its key."""
        root = self.bucket.server.folder / self.bucket.bucket if place == "s3" else self.jobs.volume()
        (found,) = (path for path in root.rglob("*") if path.is_file() and name in str(path))
        return found


@pytest.fixture
def run(jobs: Jobs, bucket: S3Place) -> Run:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    of_a = jobs.back_up({"name": "data", "bytes": PARTS}, {"name": "more", "bytes": 9}, target="a")
    of_b = jobs.back_up({"name": "other", "bytes": 1000}, target="b")
    results = {"a": ("redis", stored(of_a)), "b": ("redis", stored(of_b))}
    assert jobs.run_commit(results)[0] == 0
    return Run(jobs, bucket, results)


def test_a_good_run_is_read_as_a_whole(run: Run) -> None:
    code, result = run.verify()
    assert code == 0
    assert isinstance(result, VerifyResult)
    assert [copy.destination for copy in result.copies] == ["s3", "nearby"]
    files = [path for path in run.jobs.volume().rglob("*") if path.is_file() and path.name != REPORT]
    sizes = [path.stat().st_size for path in files]
    for copy in result.copies:
        assert (copy.objects, copy.bytes_read) == (len(sizes), sum(sizes)) == (6, sum(sizes))


@pytest.mark.parametrize("name", ["a/manifest.json", "data.zst", "more.zst", "other.zst", "catalogue"])
@pytest.mark.parametrize("place", ["s3", "nearby"])
def test_what_differs_is_named_and_what_does_not_too(run: Run, place: str, name: str) -> None:
    path = run.file(name, place)
    flip_a_byte(path)
    message = run.message(ExitCode.MISMATCH, "ChecksumMismatch")
    at, other = (f"s3://{run.bucket.bucket}", "nearby") if place == "s3" else ("pvc://backups", "s3")
    key = str(path).partition("default/")[2]
    assert message.count("is not ") == 1
    assert f"destination {place}: {at}/default/{key} is not" in message
    assert f"destination {other}: every byte is what was stored" in message


def test_every_bad_object_of_every_copy_is_looked_for(run: Run) -> None:
    for name in ("data.zst", "more.zst", "other.zst", "b/manifest.json"):
        flip_a_byte(run.file(name))
    run.file("more.zst", "nearby").unlink()
    with run.file("other.zst", "nearby").open("ab") as file:
        file.write(b"x")
    message = run.message(ExitCode.MISMATCH, "ChecksumMismatch")
    # The artifacts of a target whose manifest is bad are not known; three objects of a copy are named.
    for name in ("data.zst", "more.zst", "b/manifest.json"):
        assert f"{run.file(name).name} is not what was stored" in message
    assert message.count("destination s3: ") == 3
    assert message.count("destination nearby: ") == 2
    assert "more.zst is not what was stored: it is not there" in message
    assert "bytes, not " in message


def test_of_many_bad_objects_some_are_named_and_the_others_counted(run: Run) -> None:
    for name in ("data.zst", "more.zst", "other.zst", "catalogue"):
        flip_a_byte(run.file(name))
    message = run.message(ExitCode.MISMATCH, "ChecksumMismatch")
    assert message.count(f"s3://{run.bucket.bucket}") == 3
    assert "destination s3: and 1 more object" in message


def test_a_copy_that_is_gone_is_missed(run: Run) -> None:
    shutil.rmtree(run.jobs.volume() / "default")
    message = run.message(ExitCode.MISMATCH, "ChecksumMismatch")
    assert f"catalogue/{run.jobs.run}.json is not what was stored: it is not there" in message


def test_the_checksum_that_the_store_keeps_is_not_enough(run: Run) -> None:
    """The commit takes it for an answer, and sees nothing."""
    flip_a_byte(run.file("data.zst"))
    assert run.jobs.run_commit(run.results)[0] == 0
    assert "data.zst" in run.message(ExitCode.MISMATCH, "ChecksumMismatch")


def test_another_run_of_the_same_name_is_not_this_one(run: Run) -> None:
    sha256 = {"manifest_sha256": "f" * 64}
    run.results["b"] = "redis", run.results["b"][1].model_copy(update=sha256)
    message = run.message(ExitCode.MISMATCH, "ChecksumMismatch")
    assert message.count("b/manifest.json is not what was stored") == 2
    run.results["c"] = run.results["a"]
    assert "it lacks c" in run.message(ExitCode.MISMATCH, "ChecksumMismatch")


def test_a_destination_that_is_away_is_no_mismatch_and_hides_none(run: Run) -> None:
    with fault_proxy(run.bucket.server.port) as proxy:
        away = dataclasses.replace(run.bucket, endpoint=proxy.endpoint)
    run.jobs.places = {"s3": away, "nearby": VolumePlace()}
    message = run.message(ExitCode.DESTINATION_FAILED, "DestinationUnreachable")
    assert "destination nearby: every byte is what was stored" in message
    flip_a_byte(run.file("other.zst", "nearby"))
    message = run.message(ExitCode.MISMATCH, "ChecksumMismatch")
    assert "other.zst is not what was stored" in message
    assert "destination s3: " in message


def test_a_configuration_that_is_wrong_is_not_tried_again(run: Run) -> None:
    task = run.jobs.verify_task(run.results)
    (run.jobs.root / "destinations/s3/credentials/AWS_ACCESS_KEY_ID").unlink()
    failed(run.jobs.finish(task), ExitCode.TASK_WRONG, "SecretKeyNotFound")


def test_memory_does_not_grow_with_the_data(jobs: Jobs) -> None:
    jobs.fresh = True
    peaks = []
    for number, size in enumerate((1_000_000, 200_000_000)):
        jobs.run = f"policy-{number}"
        result = stored(jobs.back_up({"name": "data", "bytes": size}))
        assert jobs.commit(result)[0] == 0
        for log in (jobs.root / "runs").glob("verify-*"):
            shutil.rmtree(log)
        task = jobs.verify_task({"target": ("redis", result)})
        assert jobs.finish(task, module="tests.runner.job")[0] == 0
        peaks.append(jobs.peak_megabytes("verify"))
    assert peaks[1] - peaks[0] < 16, peaks
