"""A PostgreSQL backup to S3 beside the plainest pipe and restic, in turns, on the same server and machine.

    .venv/bin/python -m benchmarks.postgres_backup [--data pgbench|text] [--gigabytes 3] [--runs 3]

Holdfast's side is the real runner of a Job: it also counts every row in the dump's snapshot, hashes twice and
stores on an S3 server that shares the machine's cores; then the same encrypted, and then into a second bucket
too. The pipe writes nowhere; restic, which is what K8up runs, compresses, encrypts and stores on the same S3
server. pgbench's rows compress to nearly nothing; those of words do as prose does.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyrage import x25519
from tests.apiserver import programs
from tests.harness import Runner, S3Place, free_port, start_s3, stop

BINARIES = Path("/usr/lib/postgresql/15/bin")
DATABASE = "bench"
PASSWORD = "benchmark"

_PGBENCH_BYTES = 15.7e6
"""Of a database by pgbench, for each unit of its scale."""
_WORDS = """
    CREATE TABLE documents (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);
    WITH words AS MATERIALIZED
        (SELECT array_agg(substr(md5(i::text), 1, 3 + i % 7)) AS list FROM generate_series(1, 2000) i)
    INSERT INTO documents (body)
        SELECT (SELECT string_agg(list[1 + floor(random() * 2000)::int + 0 * n], ' ')
                FROM generate_series(1, 120 + 0 * g) n)
        FROM words, generate_series(1, 115000) g
"""
_WORDS_BYTES = 100e6
"""Of `documents`. Repeated after as many bytes, which no compression in use here looks back."""
_AGAIN = "INSERT INTO documents (body) SELECT body FROM documents WHERE id <= 115000"


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=("pgbench", "text"), default="pgbench")
    parser.add_argument("--gigabytes", type=float, default=3.14)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        with server(root) as port:
            psql(port, "postgres", f"CREATE DATABASE {DATABASE}")
            fill(port, options.data, options.gigabytes * 1e9)
            psql(port, DATABASE, "VACUUM ANALYZE")
            size = psql(port, DATABASE, f"SELECT pg_database_size('{DATABASE}')")
            print(f"database: {int(size) / 1e9:.2f} GB of {options.data}")
            _compare(root, port, options.runs)


def fill(port: int, data: str, size: float) -> None:
    """Fill the database with about `size` bytes."""
    if data == "pgbench":
        scale = round(size / _PGBENCH_BYTES)
        _as_postgres("pgbench", *to(port), "--initialize", "--quiet", f"--scale={scale}", DATABASE)
        return
    psql(port, DATABASE, _WORDS)
    for _ in range(round(size / _WORDS_BYTES) - 1):
        psql(port, DATABASE, _AGAIN)


def _compare(root: Path, port: int, runs: int) -> None:
    dump = dump_of(port)
    pipe = f"{dump} | zstd -T0 -3 > /dev/null"
    restic = f"{dump} | restic backup --stdin --stdin-filename {DATABASE}.dump"
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


def dump_of(port: int) -> str:
    """The command that dumps the database."""
    return f"{BINARIES}/pg_dump --format=custom --compress=0 {' '.join(to(port))} {DATABASE}"


def timed(pipe: str, environment: dict[str, str] | None = None) -> float:
    """The seconds that a pipe of commands takes."""
    command = ["bash", "-o", "pipefail", "-c", pipe]
    start = time.monotonic()
    subprocess.run(command, check=True, env=_environment() | (environment or {}), stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def repository(cache: Path, place: S3Place) -> dict[str, str]:
    """A new repository of restic; what its commands need to use it."""
    (binary,) = programs("restic")
    environment = {
        "PATH": f"{Path(binary).parent}:{os.environ['PATH']}",
        "RESTIC_CACHE_DIR": str(cache),
        "RESTIC_REPOSITORY": f"s3:{place.server.endpoint}/{place.bucket}",
        "RESTIC_PASSWORD": PASSWORD,
        "AWS_ACCESS_KEY_ID": place.server.access_key,
        "AWS_SECRET_ACCESS_KEY": place.server.secret_key,
    }
    timed("restic init", environment)
    return environment


def _timed_backup(
    root: Path, places: dict[str, S3Place], port: int, variant: Variant
) -> tuple[float, int, int]:
    runner = Runner(root, fresh=True, places=places, recipients=variant.recipients)  # type: ignore[arg-type]
    spec = {
        "host": {"name": "127.0.0.1", "port": port},
        "credentialsSecret": {"name": "pg"},
        "majorVersion": 15,
        "databases": [DATABASE],
    }
    task = runner.backup_task("postgres", spec)
    start = time.monotonic()
    running = runner.start(
        task,
        secrets={"credentials": {"username": "postgres", "password": PASSWORD}},
        environment={"PATH": f"{BINARIES}:{os.environ['PATH']}"},
    )
    peaks: list[int] = []
    sampler = threading.Thread(target=lambda: peaks.append(_peak(running.process)))
    sampler.start()
    code, result = running.result()
    seconds = time.monotonic() - start
    sampler.join()
    assert code == 0, result
    shutil.rmtree(root)
    return seconds, peaks[0], result.size_bytes  # type: ignore[union-attr]


def _peak(process: "subprocess.Popen[bytes]") -> int:
    """The largest sum of proportional set sizes of a process and its children, in bytes."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_pss(pid) for pid in _family(process.pid)))
        time.sleep(0.1)
    return peak


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                yield from _family(int(child))
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@contextmanager
def server(root: Path) -> Iterator[int]:
    """PostgreSQL 15 below `root`; its port."""
    data, port = root / "data", free_port()
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    password = root / "password"
    password.write_text(PASSWORD)
    _as_postgres("initdb", f"--pgdata={data}", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
    settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    settings += " -c shared_buffers=1GB -c max_wal_size=8GB"
    _as_postgres(
        "pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={data}/log", f"--options={settings}"
    )
    try:
        yield port
    finally:
        _as_postgres("pg_ctl", "stop", "--wait", "--mode=fast", f"--pgdata={data}")


def to(port: int) -> list[str]:
    """What tells a client program where the server is."""
    return ["--host=127.0.0.1", f"--port={port}", "--username=postgres"]


def psql(port: int, database: str, sql: str) -> str:
    """What a statement prints."""
    command = [f"{BINARIES}/psql", *to(port), "--no-psqlrc", "--tuples-only", f"--command={sql}", database]
    return subprocess.run(command, check=True, env=_environment(), stdout=subprocess.PIPE, text=True).stdout


def _as_postgres(program: str, *arguments: str) -> None:
    subprocess.run([BINARIES / program, *arguments], check=True, user="postgres", env=_environment(),
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")  # fmt: skip


def _environment() -> dict[str, str]:
    return {**os.environ, "PGPASSWORD": PASSWORD}


if __name__ == "__main__":
    main()
