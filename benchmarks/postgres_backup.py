"""A PostgreSQL backup to S3 beside the plainest pipe and restic, in turns, on the same server and machine.

    .venv/bin/python -m benchmarks.postgres_backup [--data pgbench|text] [--gigabytes 3] [--runs 3]

Holdfast's side is the real runner of a Job: it also counts every row in the dump's snapshot, hashes twice and
stores on an S3 server that shares the machine's cores; then the same encrypted, and then into a second bucket
too. The pipe writes nowhere; restic, which is what K8up runs, compresses, encrypts and stores on the same S3
server. pgbench's rows compress to nearly nothing; those of words do as prose does.
"""

import shutil
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.postgres import (
    OF_THE_RUNNER,
    arguments,
    database,
    dump_of,
    repository,
    target,
    timed,
    to_restic,
)
from pyrage import x25519
from tests.harness import Runner
from tests.places import S3Place, start_s3
from tests.processes import Process, family, stop

from holdfast.protocol import BackupResult


@dataclass(frozen=True)
class Variant:
    """A way to run the backup."""

    letter: str
    title: str
    recipients: tuple[str, ...] = ()
    places: tuple[str, ...] = ("primary",)
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Print a row for each run and the ratios of the medians."""
    options = arguments(__doc__, gigabytes=3.14)
    with database(options.data, options.gigabytes) as (root, port):
        _compare(root, port, options.runs)


def _compare(root: Path, port: int, runs: int) -> None:
    pipe = f"{dump_of(port)} | zstd -T0 -3 > /dev/null"
    restic = to_restic(port)
    recipient = (str(x25519.Identity.generate().to_public()),)
    plain = Variant("B", "python -m holdfast.runner (a Backup task with one S3 destination, as in a Job)")
    others = [
        Variant("C", "the same, encrypted to one age recipient", recipient),
        Variant("D", "the same, encrypted, to two S3 destinations", recipient, ("primary", "offsite")),
    ]
    print(f"A: {pipe}")
    print(f"R: {restic}, into a new repository in a bucket")
    for variant in (plain, *others):
        print(f"{variant.letter}: {variant.title}")
    s3 = start_s3(root / "objects")
    try:
        pipes, restics, memory = [], [], []
        timed(pipe)  # warms the page cache for all
        for number in range(runs):
            pipes.append(timed(pipe))
            restics.append(timed(restic, repository(root / f"cache-{number}", s3.new_bucket())))
            variants = [plain, *others]
            # In turns which comes first: the load of a shared machine rises and falls.
            for variant in variants[number % 3 :] + variants[: number % 3]:
                places = {name: s3.new_bucket() for name in variant.places}
                seconds, peak, stored = _timed_backup(root / f"root-{number}", places, port, variant)
                variant.seconds.append(seconds)
                memory.append(peak)
            times = "   ".join(f"{each.letter} {each.seconds[-1]:5.1f} s" for each in variants)
            row = f"  A {pipes[-1]:5.1f} s   R {restics[-1]:5.1f} s   {times}   {stored / 1e6:.0f} MB stored"
            print(row, flush=True)
    finally:
        stop(s3.process)
    pipe_seconds, middle = statistics.median(pipes), statistics.median(plain.seconds)
    peer = statistics.median(restics)
    print(f"median A {pipe_seconds:.1f} s, B {middle:.1f} s, B/A {middle / pipe_seconds:.2f}")
    print(f"median R {peer:.1f} s, B/R {middle / peer:.2f}")
    for each in others:
        own = statistics.median(each.seconds)
        ratios = f"{each.letter}/B {own / middle:.2f}, {each.letter}/R {own / peer:.2f}"
        print(f"median {each.letter} {own:.1f} s, {ratios}")
    print(f"memory of each runner, its children included (PSS): {max(memory) / 1e6:.0f} MB at most")


def _timed_backup(
    root: Path, places: dict[str, S3Place], port: int, variant: Variant
) -> tuple[float, int, int]:
    runner = Runner(root, fresh=True, places=places, recipients=variant.recipients)  # type: ignore[arg-type]
    task = runner.backup_task("postgres", target(port))
    start = time.monotonic()
    running = runner.start(task, **OF_THE_RUNNER)
    peaks: list[int] = []
    sampler = threading.Thread(target=lambda: peaks.append(_peak(running.process)))
    sampler.start()
    code, result = running.result()
    seconds = time.monotonic() - start
    sampler.join()
    assert code == 0, result
    assert isinstance(result, BackupResult)
    shutil.rmtree(root)
    return seconds, peaks[0], result.size_bytes


def _peak(process: Process) -> int:
    """The largest sum of proportional set sizes of a process and its children, in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_pss(pid) for pid in family(process.pid)))
        time.sleep(0.1)
    return peak


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
