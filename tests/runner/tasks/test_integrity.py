"""What is stored is believed only after it was read back, and a repeated step changes nothing."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tests.harness import failed
from tests.places import S3Place, VolumePlace
from tests.runner.engine import configured
from tests.runner.jobs import BIG, Jobs, flip_a_byte, stored

from holdfast.protocol import BackupResult, CommitResult, ExitCode, FailedResult, LookupResult, RestoreResult


@pytest.mark.parametrize("name", ["data", "manifest.json"])
def test_a_flipped_byte_on_a_volume_stops_commit_and_restore(jobs: Jobs, name: str) -> None:
    result = stored(jobs.back_up({"name": "data", "bytes": 3_000_000, "text": True}))
    (path,) = (path for path in jobs.run_folder().rglob("*") if path.is_file() and name in path.name)
    assert jobs.commit(result)[0] == 0
    flip_a_byte(path)
    for outcome in (jobs.commit(result), jobs.restore()):
        message = failed(outcome, ExitCode.MISMATCH, "ChecksumMismatch").failure.message
        assert message.startswith("destination nearby: pvc://backups/")
        assert path.name in message


@pytest.mark.parametrize("size", [3_000_000, BIG])
def test_other_bytes_of_the_same_size_in_s3_stop_the_commit(jobs: Jobs, bucket: S3Place, size: int) -> None:
    jobs.places = {"s3": bucket}
    result = stored(jobs.back_up({"name": "data", "bytes": size}))
    key = f"default/policy/{jobs.run}/target/{result.artifacts[0].name}"
    client = bucket.server.client()
    data = bytearray(client.get_object(Bucket=bucket.bucket, Key=key)["Body"].read())
    data[len(data) // 2] ^= 1
    for checksum in ({"ChecksumAlgorithm": "SHA256"}, {}):
        client.put_object(Bucket=bucket.bucket, Key=key, Body=bytes(data), **checksum)
        message = failed(jobs.commit(result), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
        assert f"destination s3: s3://{bucket.bucket}/{key} is not what was stored" in message
    client.put_object(Bucket=bucket.bucket, Key=key, Body=bytes(data[:-1]))
    assert (
        f"bytes, not {len(data)}"
        in failed(jobs.commit(result), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    )
    client.delete_object(Bucket=bucket.bucket, Key=key)
    message = failed(jobs.commit(result), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    assert "it is not there" in message
    client.close()


def test_a_byte_that_rots_inside_s3_stops_the_restore(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket}
    result = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    key = f"default/policy/{jobs.run}/target/{result.artifacts[0].name}"
    flip_a_byte(bucket.server.folder / bucket.bucket / key)
    message = failed(jobs.restore(), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    assert f"s3://{bucket.bucket}/{key}" in message


def test_objects_that_were_written_without_a_checksum_are_read_to_verify_them(
    jobs: Jobs, bucket: S3Place
) -> None:
    jobs.places = {"s3": bucket}
    result = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    client = bucket.server.client()
    key = f"default/policy/{jobs.run}/target/{result.artifacts[0].name}"
    data = client.get_object(Bucket=bucket.bucket, Key=key)["Body"].read()
    client.put_object(Bucket=bucket.bucket, Key=key, Body=data)
    client.close()
    assert jobs.commit(result)[0] == 0


def test_a_second_attempt_adopts_what_the_first_stored(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket}
    first = stored(jobs.back_up({"name": "data", "bytes": BIG}, {"name": "small", "bytes": 10}))
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    second = stored(jobs.back_up({"name": "other", "bytes": 99}))
    assert second == first.model_copy(update={"destinations": ("s3", "nearby")})
    for item in second.artifacts:
        data = (jobs.run_folder() / "target" / item.name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item.sha256
    assert jobs.commit(second)[0] == 0
    assert jobs.restore("nearby")[0] == 0


def test_a_copy_goes_back_to_s3_with_the_same_checksum(jobs: Jobs, bucket: S3Place) -> None:
    first = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    jobs.places = {"nearby": VolumePlace(), "s3": bucket}
    second = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    assert second.manifest_sha256 == first.manifest_sha256
    manifest = json.loads((jobs.run_folder() / "target/manifest.json").read_text())
    client = bucket.server.client()
    key = f"default/policy/{jobs.run}/target/{first.artifacts[0].name}"
    head = client.head_object(Bucket=bucket.bucket, Key=key, ChecksumMode="ENABLED")
    client.close()
    assert head["ChecksumSHA256"] == manifest["artifacts"][0]["objects"][0]["s3Checksum"]
    assert head["ChecksumSHA256"].endswith("-8")


def test_adopting_checks_what_it_copies(jobs: Jobs, bucket: S3Place) -> None:
    result = stored(jobs.back_up({"name": "data", "bytes": BIG}))
    flip_a_byte(jobs.run_folder() / "target" / result.artifacts[0].name)
    jobs.places = {"nearby": VolumePlace(), "s3": bucket}
    failed(jobs.back_up({"name": "data", "bytes": BIG}), ExitCode.MISMATCH, "ChecksumMismatch")
    assert bucket.keys() == {}


def test_a_run_of_another_uid_is_never_overwritten(jobs: Jobs) -> None:
    result = stored(jobs.back_up({"name": "data", "bytes": 10}, snapshot="2026-11-23T07:45:05+05:45"))
    assert jobs.commit(result)[0] == 0
    before = {path: path.read_bytes() for path in jobs.volume().rglob("*") if path.is_file()}
    jobs.run_uid = "99999999-9999-9999-9999-999999999999"
    message = failed(
        jobs.back_up({"name": "data", "bytes": 10}), ExitCode.TASK_WRONG, "RunAlreadyStored"
    ).failure.message
    assert "snapshot of 2026-11-23T02:00:05Z" in message
    assert "give this run another name" in message
    failed(jobs.commit(result), ExitCode.TASK_WRONG, "RunAlreadyStored")
    assert {path: path.read_bytes() for path in jobs.volume().rglob("*") if path.is_file()} == before


def test_a_commit_of_several_targets_can_be_repeated(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    early = stored(jobs.back_up({"name": "data", "bytes": 10}, target="early",
                                snapshot="2026-11-23T02:00:01+00:00"))  # fmt: skip
    late = stored(jobs.back_up({"name": "data", "bytes": 10}, target="late",
                               snapshot="2026-11-23T09:00:31+07:00"))  # fmt: skip
    outcomes = [jobs.commit(early=early, late=late, failed=("broken",)) for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    code, result = outcomes[0]
    assert code == 0
    assert isinstance(result, CommitResult)
    assert result.recovery_point == early.snapshot_time
    assert result.skew_seconds == 30
    entry = json.loads((jobs.volume() / f"default/policy/catalogue/{jobs.run}.json").read_text())
    assert [target["name"] for target in entry["targets"]] == ["early", "late"]
    assert entry["failedTargets"] == ["broken"]
    assert entry["scheduledTime"] == "2026-11-23T02:00:00Z"
    assert entry["targets"][0]["manifestSha256"] == early.manifest_sha256
    outcome = jobs.commit(early=early)
    assert (
        "other targets or checksums" in failed(outcome, ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    )


def test_the_commit_deletes_only_what_is_of_its_run_and_that_its_entry_does_not_lead_to(jobs: Jobs) -> None:
    kept = stored(jobs.back_up({"name": "data", "bytes": 10}, target="kept"))
    stored(jobs.back_up({"name": "data", "bytes": 10}, target="lost-its-result"))
    folder = jobs.run_folder()
    leftover = folder / "failed/abcde-123456/.data.zst.1234"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    (folder / "kept/old-attempt").mkdir()
    (folder / "kept/old-attempt/data.zst").write_bytes(b"whole, but not named")
    other_run = folder.parent / "policy-202611220200/kept/x/data.zst"
    other_run.parent.mkdir(parents=True)
    other_run.write_bytes(b"another run's")
    catalogue = folder.parent / "catalogue"
    catalogue.mkdir()
    (catalogue / f".{jobs.run}.json.12345678").write_bytes(b"half")
    assert jobs.commit(kept=kept, failed=("lost-its-result", "failed"))[0] == 0
    files = {str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*") if path.is_file()}
    assert files == {
        f"{jobs.run}/kept/manifest.json",
        f"{jobs.run}/report.json",
        f"{jobs.run}/kept/{kept.artifacts[0].name}",
        "policy-202611220200/kept/x/data.zst",
        f"catalogue/{jobs.run}.json",
    }
    assert not (folder / "failed").exists()


def test_a_lookup_that_finds_nothing_names_what_is_there(jobs: Jobs) -> None:
    assert jobs.commit(stored(jobs.back_up({"name": "data", "bytes": 10})))[0] == 0
    catalogue = jobs.run_folder().parent / "catalogue"
    for day in range(10, 17):
        shutil.copy(catalogue / f"{jobs.run}.json", catalogue / f"policy-202611{day}0200.json")
    code, found = jobs.run_lookup()
    assert (code, isinstance(found, LookupResult)) == (0, True)
    message = failed(
        jobs.run_lookup("default/policy/policy-1"), ExitCode.TASK_WRONG, "RunNotFound"
    ).failure.message
    assert "pvc://backups/default/policy/catalogue/policy-1.json" in message
    assert "the newest of 8 there: policy-202611230200, policy-202611160200" in message
    assert "policy-202611120200" not in message
    assert (
        "none is there"
        in failed(
            jobs.run_lookup("default/nothing/policy-1"), ExitCode.TASK_WRONG, "RunNotFound"
        ).failure.message
    )
    for path in ("policy-1", "a/b/c/d", "default/../policy-1"):
        failed(jobs.run_lookup(path), ExitCode.TASK_WRONG, "PathInvalid")
    jobs.run = "policy-1"
    failed(jobs.restore(), ExitCode.TASK_WRONG, "RunNotFound")


def test_a_restore_that_differs_fails_with_the_list(jobs: Jobs) -> None:
    stored(jobs.back_up({"name": "data", "bytes": 10}))
    code, result = jobs.restore(environment=configured(mismatches=["table a: 5 rows, not 6"]))
    assert code == ExitCode.MISMATCH
    assert isinstance(result, FailedResult)
    assert result.failure.reason == "RestoreMismatch"
    assert "table a: 5 rows, not 6" in result.failure.message


def test_a_restore_names_the_target_that_is_not_in_the_run(jobs: Jobs) -> None:
    assert jobs.commit(stored(jobs.back_up({"name": "data", "bytes": 10})))[0] == 0
    outcome = jobs.restore(target="other")
    message = failed(outcome, ExitCode.TASK_WRONG, "TargetNotFound").failure.message
    assert "it holds target" in message


def test_a_moved_bucket_restores_on_its_own(jobs: Jobs, tmp_path: Path) -> None:
    result = stored(jobs.back_up({"name": "data", "bytes": 1000}))
    assert jobs.commit(result)[0] == 0
    shutil.copytree(jobs.volume(), tmp_path / "elsewhere/kept")
    jobs.root = tmp_path / "new"
    jobs.places = {"found": VolumePlace(tmp_path / "elsewhere")}
    jobs.prefix = "kept"
    code, restored = jobs.restore()
    assert code == 0
    assert isinstance(restored, RestoreResult)
    assert restored.snapshot_time == result.snapshot_time


def test_progress_is_told_while_it_runs_and_at_the_end(jobs: Jobs) -> None:
    running = jobs.begin({"name": "data", "bytes": 40 << 20, "pause": 0.15})
    code, result = running.result()
    assert code == 0
    assert isinstance(result, BackupResult)
    lines = running.progress()
    assert 2 <= len(lines) <= 8
    assert [line["bytes"] for line in lines] == sorted(line["bytes"] for line in lines)
    assert lines[-1] == {"version": 1, "kind": "Progress", "step": "storing data", "bytes": 40 << 20,
                         "storedBytes": result.size_bytes, "rows": 0}  # fmt: skip


def test_a_task_that_is_not_understood_is_refused(jobs: Jobs) -> None:
    task = jobs.backup_task("redis", {"nonsense": 1})
    outcome = jobs.finish(task)
    assert "nonsense" in failed(outcome, ExitCode.TASK_WRONG, "TaskInvalid").failure.message
    outcome = jobs.finish(task.model_copy(update={"engine": "oracle"}))
    assert (
        "'oracle' is none of postgres"
        in failed(outcome, ExitCode.TASK_WRONG, "EngineUnknown").failure.message
    )
    outcome = jobs.finish(task.model_copy(update={"version": 2}))
    assert "version" in failed(outcome, ExitCode.TASK_WRONG, "TaskInvalid").failure.message
