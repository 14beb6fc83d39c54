"""A PostgreSQL backup to S3 beside the plainest pipe there is, in turns, on the same server and machine.

    .venv/bin/python -m benchmarks.postgres_backup [--scale 200] [--runs 3]

Holdfast's side is the real runner of a Job: it also counts every row in the dump's snapshot, hashes twice and
stores on an S3 server that shares the machine's cores; then the same once more, encrypted. The pipe writes
nowhere.
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
from pathlib import Path

from pyrage import x25519
from tests.harness import Runner, free_port, start_s3, stop

BINARIES = Path("/usr/lib/postgresql/15/bin")
DATABASE = "bench"
PASSWORD = "benchmark"


def main() -> None:
    """Print a row for each run and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=200, help="pgbench's scale; 200 is 3 GB")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        with _server(root) as port:
            _psql(port, "postgres", f"CREATE DATABASE {DATABASE}")
            _as_postgres(
                "pgbench", *_to(port), "--initialize", "--quiet", f"--scale={options.scale}", DATABASE
            )
            _psql(port, DATABASE, "VACUUM ANALYZE")
            size = _psql(port, DATABASE, f"SELECT pg_database_size('{DATABASE}')")
            print(f"database: {int(size) / 1e9:.2f} GB; pgbench scale {options.scale}")
            _compare(root, port, options.runs)


def _compare(root: Path, port: int, runs: int) -> None:
    pipe = f"{BINARIES}/pg_dump --format=custom --compress=0 {' '.join(_to(port))} {DATABASE} | zstd -T0 -3"
    print(f"A: {pipe} > /dev/null")
    print("B: python -m holdfast.runner (a Backup task with one S3 destination, as in a Job)")
    print("C: the same, encrypted to one age recipient")
    recipient = str(x25519.Identity.generate().to_public())
    s3 = start_s3(root / "objects")
    try:
        pipes, backups, encrypted, memory = [], [], [], []
        _timed_pipe(pipe)  # warms the page cache for both
        for number in range(runs):
            pipes.append(_timed_pipe(pipe))
            # In turns which of both comes first: the load of a shared machine rises and falls.
            for recipients in ((), (recipient,)) if number % 2 == 0 else ((recipient,), ()):
                seconds, peak, stored = _timed_backup(
                    root / f"root-{number}", s3.new_bucket(), port, recipients
                )
                (encrypted if recipients else backups).append(seconds)
                memory.append(peak)
            print(
                f"  A {pipes[-1]:5.1f} s   B {backups[-1]:5.1f} s   C {encrypted[-1]:5.1f} s, "
                f"{peak / 1e6:.0f} MB memory, {stored / 1e6:.0f} MB stored"
            )
    finally:
        stop(s3.process)
    ratio = statistics.median(backups) / statistics.median(pipes)
    print(f"median A {statistics.median(pipes):.1f} s, B {statistics.median(backups):.1f} s, B/A {ratio:.2f}")
    cost = statistics.median(encrypted) / statistics.median(backups)
    print(f"median C {statistics.median(encrypted):.1f} s, C/B {cost:.2f}")
    print(f"memory of B and C, their children included (PSS): {max(memory) / 1e6:.0f} MB at most")


def _timed_pipe(pipe: str) -> float:
    start = time.monotonic()
    subprocess.run(["bash", "-o", "pipefail", "-c", f"{pipe} > /dev/null"], check=True, env=_environment())
    return time.monotonic() - start


def _timed_backup(
    root: Path, bucket: object, port: int, recipients: tuple[str, ...]
) -> tuple[float, int, int]:
    runner = Runner(root, fresh=True, places={"primary": bucket}, recipients=recipients)  # type: ignore[dict-item]
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
def _server(root: Path) -> Iterator[int]:
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


def _to(port: int) -> list[str]:
    return ["--host=127.0.0.1", f"--port={port}", "--username=postgres"]


def _psql(port: int, database: str, sql: str) -> str:
    command = [f"{BINARIES}/psql", *_to(port), "--no-psqlrc", "--tuples-only", f"--command={sql}", database]
    return subprocess.run(command, check=True, env=_environment(), stdout=subprocess.PIPE, text=True).stdout


def _as_postgres(program: str, *arguments: str) -> None:
    subprocess.run([BINARIES / program, *arguments], check=True, user="postgres", env=_environment(),
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")  # fmt: skip


def _environment() -> dict[str, str]:
    return {**os.environ, "PGPASSWORD": PASSWORD}


if __name__ == "__main__":
    main()
