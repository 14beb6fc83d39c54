"""There and back: what is stored is what was written, in every destination, and restores."""

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from tests.certificates import self_signed
from tests.places import S3Place, VolumePlace, start_s3
from tests.processes import stop
from tests.runner.engine import content, producer
from tests.runner.jobs import Jobs

from holdfast.protocol import BackupResult, CommitResult, FailedResult, LookupResult, RestoreResult


@pytest.mark.parametrize("size", [1, 8 << 20, (8 << 20) + 1, 40_000_000])
def test_every_destination_holds_what_the_engine_wrote(jobs: Jobs, bucket: S3Place, size: int) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    jobs.prefix = "some/prefix"
    code, stored = jobs.back_up({"name": "data.bin", "bytes": size}, {"name": "more", "bytes": 5, "seed": 2})
    assert code == 0
    assert isinstance(stored, BackupResult)
    assert stored.destinations == ("s3", "nearby")
    assert stored.plain_bytes == size + 5

    run = f"some/prefix/default/policy/{jobs.run}"
    keys = {f"{run}/target/{item.name}": item.size_bytes for item in stored.artifacts}
    manifest = (jobs.run_folder() / "target/manifest.json").read_bytes()
    assert bucket.keys() == keys | {f"{run}/target/manifest.json": len(manifest)}
    assert hashlib.sha256(manifest).hexdigest() == stored.manifest_sha256
    for item in stored.artifacts:
        data = (jobs.run_folder() / "target" / item.name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == item.sha256
        assert (bucket.server.folder / bucket.bucket / run / "target" / item.name).read_bytes() == data
    first = jobs.run_folder() / "target" / stored.artifacts[0].name
    assert subprocess.check_output(["zstd", "-dc", first]) == content(size)

    code, committed = jobs.commit(stored)
    assert code == 0
    assert isinstance(committed, CommitResult)
    assert committed.verified_bytes == 2 * stored.size_bytes
    for name in jobs.places:
        code, restored = jobs.restore(name)
        assert code == 0
        assert isinstance(restored, RestoreResult)
        assert restored.compared == 2
        code, found = jobs.run_lookup(destination=name)
        assert isinstance(found, LookupResult)
        assert found.recovery_point == stored.snapshot_time
        assert found.targets[0].spec == {"host": {"name": "test", "port": 1}}


def test_the_output_of_a_command_is_stored_as_zstd_reads_it(jobs: Jobs) -> None:
    size = 30_000_000
    code, stored = jobs.back_up({"name": "a b/ü.dump", "command": producer(size, 3, text=True)})
    assert code == 0
    assert isinstance(stored, BackupResult)
    assert stored.artifacts[0].name.endswith("/a%20b%2F%C3%BC.dump.zst")
    path = jobs.run_folder() / "target" / stored.artifacts[0].name
    assert subprocess.check_output(["zstd", "-dc", path]) == content(size, 3, text=True)
    assert stored.size_bytes < size * 0.6
    manifest = json.loads((jobs.run_folder() / "target/manifest.json").read_text())
    assert manifest["artifacts"][0]["name"] == "a b/ü.dump"
    assert manifest["artifacts"][0]["plainBytes"] == size
    assert jobs.restore()[0] == 0


def test_a_megabyte_that_decompresses_to_a_gigabyte_restores_in_little_memory(jobs: Jobs) -> None:
    jobs.fresh = True
    command = ["head", "-c", "2000000000", "/dev/zero"]
    code, stored = jobs.back_up({"name": "zeros", "command": command})
    assert code == 0
    assert isinstance(stored, BackupResult)
    assert stored.size_bytes < 1 << 20
    assert jobs.restore()[0] == 0
    assert jobs.peak_megabytes("restore") < 100


def test_s3_over_tls_is_verified(jobs: Jobs, tmp_path: Path) -> None:
    server = start_s3(tmp_path / "objects", certificate=self_signed(tmp_path))
    try:
        place = server.new_bucket()
        jobs.places = {"s3": dataclasses.replace(place, trusted=False)}
        code, result = jobs.back_up({"name": "data", "bytes": 10})
        assert code == 4
        assert isinstance(result, FailedResult)
        assert result.failure.reason == "CertificateNotTrusted"
        assert place.keys() == {}
        jobs.places = {"s3": place}
        code, result = jobs.back_up({"name": "data", "bytes": 40_000_000})
        assert code == 0
        assert jobs.commit(result)[0] == 0
        assert jobs.restore()[0] == 0
        by_config_map = {"ca_config_map": {"name": "s3-ca"}}
        jobs.places = {"s3": dataclasses.replace(place, trusted=False, settings=by_config_map)}
        assert jobs.back_up({"name": "more", "bytes": 10})[0] == 0
    finally:
        stop(server.process)
