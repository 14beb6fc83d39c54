"""A Redis backup and restore beside redis-cli's and REPLICAOF, in turns, on the same servers and machine.

    .venv/bin/python -m benchmarks.redis [--keys 1000000] [--runs 3]

Holdfast's side is the real runner of a Job, from its start to its end, with a volume: it checks what it
stores, and counts and compares what it restores. redis-cli checks and compares nothing. Backup: the RDB that
redis-cli reads, into zstd with as many threads. Restore: redis-cli's pipe mode with the commands that
Holdfast sends, as one file; REPLICAOF is a second server that loads the RDB, and that the target then
follows until it has everything.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engines.redis.data import fill_many
from tests.engines.redis.servers import Server, digest
from tests.harness import Runner
from tests.places import VolumePlace
from tests.waiting import wait_until

from holdfast.engines.redis import rdb


def main() -> None:
    """Print a row for each run and the ratios of the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        source, target = Server(root / "source").start(), Server(root / "target").start()
        try:
            fill_many(source, options.keys)
            _backups(root, source, options.runs)
            _restores(root, source, target, options.runs)
        finally:
            source.stop()
            target.stop()


def _backups(root: Path, source: Server, runs: int) -> None:
    pipe = f"redis-cli -p {source.port} --rdb - 2>/dev/null | zstd -q -3 -T2 -f -o {root}/peer.zst"
    print(f"R: {pipe}")

    def ours() -> float:
        place = root / f"own-{time.monotonic_ns()}"
        runner = Runner(place, fresh=True, places={"nearby": VolumePlace()})
        start = time.monotonic()
        code, result = runner.run_backup("redis", source.spec)
        assert code == 0, result
        return time.monotonic() - start

    _in_turns("backup", runs, {"R": lambda: _timed(pipe), "H": ours}, lambda: None)


def _restores(root: Path, source: Server, target: Server, runs: int) -> None:
    place = root / "restore"
    runner = Runner(place, fresh=True, places={"nearby": VolumePlace()})
    code, result = runner.run_backup("redis", source.spec)
    assert code == 0, result
    code, committed = runner.run_commit({"target": ("redis", result)})  # type: ignore[dict-item]
    assert code == 0, committed
    folder = root / "third"
    folder.mkdir()
    subprocess.run(["redis-cli", "-p", str(source.port), "--rdb", folder / "dump.rdb"], check=True,
                   capture_output=True)  # fmt: skip
    _write_commands(folder / "dump.rdb", root / "commands")
    pipe = f"redis-cli -p {target.port} --pipe < {root}/commands > /dev/null"
    print(f"R: {pipe}")
    before = digest(source)

    def ours() -> float:
        task = runner.restore_task("redis", source.spec, target.spec)
        start = time.monotonic()
        code, result = runner.finish(task)
        assert code == 0, result
        return time.monotonic() - start

    def replica() -> float:
        start = time.monotonic()
        third = Server(folder, ("--dbfilename", "dump.rdb")).start()
        try:
            with target.client() as client:
                client.replicaof("127.0.0.1", third.port)
                wait_until(lambda: client.info("replication")["master_link_status"] == "up", "it follows")
                client.replicaof("NO", "ONE")
            return time.monotonic() - start
        finally:
            third.stop()

    def empty() -> None:
        with target.client() as client:
            client.flushall()

    sides: dict[str, Callable[[], float]] = {"R": lambda: _timed(pipe), "F": replica, "H": ours}
    _in_turns("restore", runs, sides, empty, lambda: digest(target) == before)


def _write_commands(dump: Path, commands: Path) -> None:
    data = dump.read_bytes()
    head = rdb.read_head(data)
    with commands.open("wb") as file:
        for _, key, expires_ms, kind, start, end in rdb.records(data, head.end):
            value = rdb.payload(b"%c%b" % (kind, data[start:end]), head.version)
            parts = (b"RESTORE", key, b"%d" % (expires_ms or 0), value, b"ABSTTL")
            file.write(b"*5\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))


def _in_turns(what: str, runs: int, sides: dict[str, Callable[[], float]], before: Callable[[], Any],
              is_whole: Callable[[], bool] = lambda: True) -> None:  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(runs):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for name in order:
            before()
            seconds[name].append(sides[name]())
            assert is_whole(), name
        print(f"  {what} " + "   ".join(f"{name} {seconds[name][-1]:5.2f} s" for name in sides), flush=True)
    medians = {name: statistics.median(all_) for name, all_ in seconds.items()}
    ratios = ", ".join(f"H/{name} {medians['H'] / medians[name]:.2f}" for name in sides if name != "H")
    print(f"median {what} " + ", ".join(f"{name} {value:.2f} s" for name, value in medians.items()), ratios)


def _timed(command: str) -> float:
    start = time.monotonic()
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
