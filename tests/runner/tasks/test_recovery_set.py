"""One run is one recovery set: what it brings back, how far its snapshots are apart, what failures leave."""

from tests.places import S3Place, VolumePlace
from tests.runner.jobs import Jobs

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
