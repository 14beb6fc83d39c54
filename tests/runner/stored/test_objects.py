"""An artifact of several objects is stored, verified, adopted, healed, deleted and restored as one stream."""

import hashlib
import io
import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from pyrage import x25519
from tests.harness import failed
from tests.nullstore import null_store
from tests.places import S3Place, S3Server, VolumePlace
from tests.readme import without_holdfast
from tests.runner.engine import content
from tests.runner.history import History, traces
from tests.runner.jobs import Jobs, flip_a_byte, stored
from tests.runner.upkeep.test_healing import Pair
from tests.scheduling import amounts

from holdfast.engines.transfer import MismatchError
from holdfast.protocol import ExitCode
from holdfast.runner.destinations import connect
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import Manifest, StoredObject
from holdfast.runner.stored.object_reader import ObjectReader
from holdfast.runner.stream.pipeline import Compression
from holdfast.runner.tasks.restore import PlainReader

MIB = 1 << 20
SIZES = {"part": 5 * MIB, "parts": 2}
"""S3 takes no smaller parts."""
THREE_OBJECTS = 25_000_000
NAMES = ["data.zst", "data.zst.0001", "data.zst.0002"]


@pytest.mark.parametrize("encrypted", [False, True])
def test_it_is_one_stream_in_every_destination(
    jobs: Jobs, bucket: S3Place, tmp_path: Path, encrypted: bool
) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    if encrypted:
        identity = x25519.Identity.generate()
        jobs.recipients, jobs.identity = (str(identity.to_public()),), str(identity)
    result = stored(jobs.back_up({"name": "data", "bytes": THREE_OBJECTS}, sizes=SIZES))
    names = [name.replace(".zst", ".zst.age") if encrypted else name for name in NAMES]
    assert [Path(item.name).name for item in result.artifacts] == names
    assert jobs.commit(result)[0] == 0
    for place in jobs.places:
        assert jobs.restore(place)[0] == 0
    manifest = json.loads((jobs.run_folder() / "target/manifest.json").read_text())
    assert manifest["version"] == 2
    sizes = [item["sizeBytes"] for item in manifest["artifacts"][0]["objects"]]
    assert sizes[:2] == [10 * MIB, 10 * MIB]

    folder = (jobs.run_folder() / "target" / result.artifacts[0].name).parent
    (tmp_path / "identity.txt").write_text(jobs.identity or "")
    decrypt = f"age -d -i {tmp_path}/identity.txt |" if encrypted else ""
    line = f"cat {folder}/{names[0]}* | {decrypt} zstd -dc"
    assert subprocess.check_output(["bash", "-o", "pipefail", "-c", line]) == content(THREE_OBJECTS)

    assert jobs.finish(jobs.verify_task({"target": ("redis", result)}))[0] == 0
    flip_a_byte(folder / names[1])
    outcome = jobs.finish(jobs.verify_task({"target": ("redis", result)}))
    message = failed(outcome, ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    assert names[1] in message
    assert names[2] not in message
    message = failed(jobs.restore("nearby"), ExitCode.MISMATCH, "ChecksumMismatch").failure.message
    assert names[1] in message


def test_the_readme_says_how_to_read_it(tmp_path: Path) -> None:
    line = without_holdfast("Several objects", **{"pg_restore --create --dbname=postgres": "cat"})
    data = subprocess.run(["zstd", "-c"], input=b"a dump", check=True, capture_output=True).stdout
    for number, name in enumerate(("", ".0001", ".0002")):
        (tmp_path / f"knowledge_base.dump.zst{name}").write_bytes(data[number * 6 : number * 6 + 6])
    (tmp_path / "knowledge_base.dump.zst.0002").write_bytes(data[12:])
    assert subprocess.check_output(["bash", "-euc", line], cwd=tmp_path) == b"a dump"


def test_a_source_that_breaks_in_the_third_leaves_none(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"s3": bucket, "nearby": VolumePlace()}
    outcome = jobs.back_up({"name": "data", "bytes": THREE_OBJECTS, "fail": True}, sizes=SIZES)
    failed(outcome, ExitCode.SOURCE_FAILED, "TestBroke")
    assert (bucket.keys(), bucket.uploads()) == ({}, [])
    assert list(jobs.volume().rglob("*.zst*")) == []


def test_a_second_attempt_adopts_all(jobs: Jobs, bucket: S3Place) -> None:
    jobs.places = {"nearby": VolumePlace()}
    first = stored(jobs.back_up({"name": "data", "bytes": THREE_OBJECTS}, sizes=SIZES))
    jobs.places["s3"] = bucket
    second = stored(jobs.back_up({"name": "data", "bytes": 5}))
    assert second.manifest_sha256 == first.manifest_sha256
    assert jobs.commit(second)[0] == 0
    assert jobs.restore("s3")[0] == 0
    kept = json.loads((jobs.run_folder() / "target/manifest.json").read_text())["artifacts"][0]["objects"]
    client = bucket.server.client()
    key = f"default/policy/{jobs.run}/target/{kept[0]['key']}"
    head = client.head_object(Bucket=bucket.bucket, Key=key, ChecksumMode="ENABLED")
    client.close()
    assert head["ChecksumSHA256"] == kept[0]["s3Checksum"], "it was cut as it was before"


def test_it_is_healed_and_deleted(history: History, s3: S3Server, tmp_path: Path) -> None:
    good = VolumePlace(tmp_path / "good")
    (tmp_path / "good").mkdir()
    lacking = s3.new_bucket()
    pair = Pair(history, good, lacking)
    history.size, history.sizes = 11 * MIB, SIZES
    pair.store_good(1)
    history.size = 1000
    assert pair.commit(2, 1).healing == "h"
    pair.assert_healed(1)
    assert len([key for key in lacking.keys() if "/r1/" in key and ".zst." in key]) == 2  # noqa: SIM118
    history.commit(3, 1, keep=(2,))
    assert traces(lacking, 1) == []
    assert not list((tmp_path / "good").rglob("r1*"))


def test_the_parts_of_200_gibibytes_take_no_more_memory_than_those_of_one(jobs: Jobs) -> None:
    """25,600 parts in four objects, each of 16 KiB in place of 8 MiB."""
    jobs.fresh = True
    peaks = {}
    for name, parts in (("small", 4_000), ("large", 25_600)):
        jobs.root = jobs.root.parent / name
        jobs.root.mkdir()
        command = ["sh", "-c", f"head -c {parts * (16 << 10)} /dev/urandom"]
        sizes = {"part": 16 << 10, "parts": 8192}
        result = stored(jobs.back_up({"name": "data", "command": command}, sizes=sizes))
        assert len(result.artifacts) == (4 if name == "large" else 1)
        assert jobs.restore()[0] == 0
        peaks[name] = (jobs.peak_megabytes("backup"), jobs.peak_megabytes("restore"))
    assert peaks["large"][0] < peaks["small"][0] + 15, peaks
    assert peaks["large"][1] < peaks["small"][1] + 15, peaks


@pytest.mark.parametrize("gibibytes", amounts(1, 200))
def test_a_slow_store_takes_no_memory_however_much_is_stored(jobs: Jobs, gibibytes: int) -> None:
    """Noise of 64 MiB again and again: zstd looks back for 2 MiB."""
    jobs.fresh = True
    noise = jobs.root / "noise"
    jobs.root.mkdir(exist_ok=True)
    noise.write_bytes(os.urandom(64 * MIB))
    with null_store(150e6) as store:
        jobs.places = {"s3": store.place}
        command = ["sh", "-c", f"for i in $(seq {16 * gibibytes}); do cat {noise}; done"]
        result = stored(jobs.back_up({"name": "data", "command": command}))
    assert store.parts >= 128 * gibibytes
    assert len(result.artifacts) == -(-result.size_bytes // (64 << 30))
    assert jobs.peak_megabytes("backup") < 200


def test_the_checksum_of_the_frame_proves_the_plain_bytes(jobs: Jobs) -> None:
    """Stored bytes may be what the manifest says and still be no right frame: zstd finds it."""
    (destination,) = (connect(each, Mounts(jobs.root)) for each in jobs.destinations())
    frame = Compression()
    data = frame.feed(os.urandom(100_000)) + frame.finish()
    assert zstandard.get_frame_parameters(data).has_checksum
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    for key, whole in (("right", data), ("wrong", wrong)):
        destination.create(key, whole)
        sha256 = hashlib.sha256(whole).hexdigest()
        objects = [StoredObject(key=key, size_bytes=len(whole), sha256=sha256, s3_checksum="")]
        meter = Meter(io.StringIO())
        with closing(PlainReader(ObjectReader(destination, "", objects, meter), 100_000, (), meter)) as plain:
            if key == "right":
                plain.finish()
                continue
            with pytest.raises(MismatchError, match=f"/{key} is not what was stored"):
                plain.finish()


def test_a_manifest_of_a_later_format_is_refused() -> None:
    with pytest.raises(MismatchError, match="is not a manifest of version 1 or 2"):
        Manifest.parse(b'{"version": 3}', "destination here: s3://b/manifest.json")
