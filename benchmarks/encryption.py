"""What encryption costs a backup and a restore, in turns, for streams that compress differently well.

    .venv/bin/python -m benchmarks.encryption [--megabytes 1000] [--runs 4]

The source costs nothing: the stream is made of blocks in memory, so a real dump has more to wait for and
loses less. The destination is a volume on the local disk.
"""

import argparse
import os
import random
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from pyrage import x25519

from holdfast.api.destination import Destination
from holdfast.destinations.volume import Volume
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import StoredObject
from holdfast.runner.stored.object_reader import ObjectReader
from holdfast.runner.stream.pipeline import Pipeline
from holdfast.runner.tasks.restore import PlainReader

BLOCKS = 16
IDENTITY = x25519.Identity.generate()


def blocks(kind: str) -> list[bytes]:
    """Blocks of a megabyte: rows of a table, words, or noise."""
    chance = random.Random(1)
    if kind == "noise":
        return [chance.randbytes(1 << 20) for _ in range(BLOCKS)]
    if kind == "words":
        parts = [chance.randbytes(chance.randint(3, 9)).hex() + " " for _ in range(4000)]
    else:
        parts = [
            f"{number}\tname {number % 97}\ta text that is in every row\t{chance.random():.6f}\n"
            for number in range(12000)
        ]
    return ["".join(chance.choices(parts, k=140_000)).encode()[: 1 << 20] for _ in range(BLOCKS)]


def timed(data: list[bytes], megabytes: int, folder: Path, encrypted: bool) -> tuple[float, float, int]:
    """Seconds of a backup and of a restore, and the stored bytes."""
    (folder / "destinations/nearby/volume").mkdir(parents=True, exist_ok=True)
    place = Destination.model_validate({"name": "nearby", "volume": Volume(claim_name="backups")})
    destination = connect(place, Mounts(folder))
    with Path(os.devnull).open("w") as nowhere:
        meter = Meter(nowhere)
        begin = time.monotonic()
        recipients = [IDENTITY.to_public()] if encrypted else []
        pipeline = Pipeline(LiveDestinations([destination]), "data", meter, recipients)
        for number in range(megabytes):
            pipeline.write(data[number * 7 % BLOCKS])
        done = pipeline.finish()
        stored = time.monotonic()
        objects = [
            StoredObject(key=each.key, size_bytes=each.stored.size, sha256=each.stored.sha256, s3_checksum="")
            for each in done.objects
        ]
        identities = [IDENTITY] if encrypted else []
        with (
            closing(ObjectReader(destination, "", objects, meter)) as stream,
            closing(PlainReader(stream, done.plain_bytes, identities, meter)) as reader,
        ):
            reader.finish()
        restored = time.monotonic()
    for each in objects:
        destination.delete(each.key)
    return stored - begin, restored - stored, sum(each.size_bytes for each in objects)


def main() -> None:
    """Print the medians for each kind of stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder:
        for kind in ("rows", "words", "noise"):
            data = blocks(kind)
            seen: dict[bool, list[tuple[float, float, int]]] = {False: [], True: []}
            for number in range(options.runs):
                for encrypted in (False, True) if number % 2 == 0 else (True, False):
                    seen[encrypted].append(timed(data, options.megabytes, Path(folder), encrypted))
            (plain, plain_back), (age, age_back) = (
                tuple(median(each[place] for each in seen[which]) for place in (0, 1))
                for which in (False, True)
            )
            print(
                f"{kind}: {options.megabytes} MiB stored as {seen[True][0][2] >> 20} MiB; "
                f"backup {plain:.2f} s, encrypted {age:.2f} s ({age / plain:.2f}); "
                f"restore {plain_back:.2f} s, encrypted {age_back:.2f} s ({age_back / plain_back:.2f})"
            )


if __name__ == "__main__":
    main()
