"""One run is one recovery set: what it brings back, how far its snapshots are apart, what failures leave."""

from pathlib import Path

from tests.places import S3Place, VolumePlace
from tests.runner.engine import configured
from tests.runner.jobs import MODULE, SPEC, Jobs

from holdfast.protocol import BackupResult, CommitResult, ExitCode, FailedResult, RestoreResult


def back_up(jobs: Jobs, target: str, snapshot: str, **artifact: object) -> BackupResult:
    artifact = {"name": "data", "bytes": 100, **artifact}
    code, result = jobs.back_up(artifact, target=target, snapshot=snapshot)
    assert isinstance(result, BackupResult), result
    assert code == 0
    return result


def test_the_skew_is_between_the_first_and_the_last_snapshot(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    middle = back_up(jobs, "middle", "2026-11-23T02:00:03+00:00")
    last = back_up(jobs, "last", "2026-11-23T09:00:09.9+07:00")
    first = back_up(jobs, "first", "2026-11-23T02:00:01+00:00")
    code, result = jobs.commit(middle=middle, last=last, first=first)
    assert isinstance(result, CommitResult), result
    assert (code, result.skew_seconds, result.recovery_point) == (0, 8, first.snapshot_time)


def test_a_backup_that_lacks_something_is_not_kept_if_the_policy_says_so(jobs: Jobs, tmp_path: Path) -> None:
    jobs.places = {"nearby": VolumePlace(tmp_path)}
    lacks = [{"what": f"rows of table t{n}", "count": n, "reason": "TestLeftOut"} for n in range(5)]
    task = jobs.backup_task("redis", SPEC, "target").model_copy(update={"on_omission": "Fail"})
    for omissions in (lacks, []):
        told = configured({"name": "data", "bytes": 100}, omissions=omissions)
        code, result = jobs.finish(task, module=MODULE, environment=told)
        is_kept = any(tmp_path.rglob("manifest.json"))
        assert (code == 0, is_kept) == (not omissions, not omissions), result
        if omissions:
            assert isinstance(result, FailedResult)
            assert (code, result.failure.reason) == (ExitCode.TASK_WRONG, "DataOmitted")
            assert result.failure.message == (
                "onOmission of target target is Fail, and the backup lacks rows of table t0 (0), "
                "rows of table t1 (1), rows of table t2 (2) and 2 more"
            )


def test_the_targets_that_succeeded_restore_when_another_has_failed(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    kept = back_up(jobs, "kept", "2026-11-23T02:00:01+00:00")
    code, broken = jobs.back_up({"name": "data", "bytes": 100, "fail": True}, target="broken")
    assert isinstance(broken, FailedResult)
    assert code == ExitCode.SOURCE_FAILED
    code, result = jobs.commit(kept=kept, failed=("broken",))
    assert isinstance(result, CommitResult), result
    assert (result.recovery_point, result.skew_seconds) == (kept.snapshot_time, 0)
    for place in jobs.places:
        code, restored = jobs.restore(place, "kept")
        assert isinstance(restored, RestoreResult), restored
        assert (code, restored.compared, restored.mismatched) == (0, 1, 0)
        code, refused = jobs.restore(place, "broken")
        assert isinstance(refused, FailedResult), refused
        assert "broken" in refused.failure.message


def test_what_no_object_of_could_be_made_is_never_restored(jobs: Jobs, tmp_path: Path) -> None:
    jobs.places = {"nearby": VolumePlace(tmp_path)}
    jobs.commit(target=back_up(jobs, "target", "2026-11-23T02:00:01+00:00"))
    long = ["index " + "x" * 400, "a view"]
    for way, staged, says in (
        ("Fail", ["copy 1"], "and 1 more; all else is restored and kept as copy 1: promote: Swap"),
        ("Fail", [], "and 1 more; nothing is kept"),
        ("Continue", [], "and 1 more; nothing is kept"),
    ):
        task = jobs.restore_task("redis", SPEC).model_copy(update={"on_object_error": way})
        told = configured(failed_objects=long, staged=staged)
        code, result = jobs.finish(task, module=MODULE, environment=told)
        assert isinstance(result, FailedResult), result
        assert (code, result.failure.reason) == (ExitCode.MISMATCH, "ObjectsFailed")
        assert says in result.failure.message
