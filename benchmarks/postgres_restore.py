"""A PostgreSQL restore from S3 beside restic's, in turns, on the same server and machine.

    .venv/bin/python -m benchmarks.postgres_restore [--data pgbench|text] [--gigabytes 1] [--runs 3]

Both repositories are encrypted. Holdfast's side is the real runner of a Job: it decrypts, checks every byte
against the manifest, restores into a database of another name, counts every row and only then renames it.
restic, which is what K8up runs, writes the dump into pg_restore, which has no parallel jobs for a pipe.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.postgres_backup import (
    BINARIES,
    DATABASE,
    PASSWORD,
    dump_of,
    fill,
    psql,
    repository,
    server,
    timed,
    to,
)
from pyrage import x25519
from tests.harness import Runner, S3Server, start_s3, stop

SECRETS = {"credentials": {"username": "postgres", "password": PASSWORD}}


def main() -> None:
    """Print a row for each run and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=("pgbench", "text"), default="pgbench")
    parser.add_argument("--gigabytes", type=float, default=1)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        with server(root) as port:
            psql(port, "postgres", f"CREATE DATABASE {DATABASE}")
            fill(port, options.data, options.gigabytes * 1e9)
            size = psql(port, DATABASE, f"SELECT pg_database_size('{DATABASE}')")
            print(f"database: {int(size) / 1e9:.2f} GB of {options.data}")
            s3 = start_s3(root / "objects")
            try:
                _compare(root, port, s3, options.runs)
            finally:
                stop(s3.process)


def _compare(root: Path, port: int, s3: S3Server, runs: int) -> None:
    restic = f"restic dump latest /{DATABASE}.dump"
    create = f"{BINARIES}/psql {' '.join(to(port))} --command='CREATE DATABASE {DATABASE}' postgres"
    load = f"{BINARIES}/pg_restore {' '.join(to(port))} --dbname={DATABASE}"
    pipe = f"{create} && {restic} | {load}"
    print(f"R: {pipe}")
    print("H: python -m holdfast.runner (a Restore task of an encrypted run in S3, as in a Job)")
    environment = repository(root / "cache", s3.new_bucket())
    timed(f"{dump_of(port)} | restic backup --stdin --stdin-filename {DATABASE}.dump", environment)
    ours = _Ours(root / "root", port, s3)
    before = _state(port)
    peer, own = [], []
    for number in range(runs):
        sides = [
            (peer, lambda: timed(pipe, environment)),
            (own, ours.restore),
        ]
        for seconds, restore in sides if number % 2 else sides[::-1]:
            psql(port, "postgres", f"DROP DATABASE {DATABASE}")
            seconds.append(restore())
            assert _state(port) == before
        print(f"  R {peer[-1]:5.1f} s   H {own[-1]:5.1f} s", flush=True)
    theirs, mine = statistics.median(peer), statistics.median(own)
    print(f"median R {theirs:.1f} s, H {mine:.1f} s, H/R {mine / theirs:.2f}")


class _Ours:
    """A committed run, and its restore by the runner."""

    def __init__(self, root: Path, port: int, s3: S3Server) -> None:
        identity = x25519.Identity.generate()
        self._runner = Runner(root, fresh=True, places={"primary": s3.new_bucket()},
                              recipients=(str(identity.to_public()),), identity=str(identity))  # fmt: skip
        self._spec = {
            "host": {"name": "127.0.0.1", "port": port},
            "credentialsSecret": {"name": "pg"},
            "majorVersion": 15,
            "databases": [DATABASE],
        }
        self._options: dict[str, Any] = {
            "secrets": SECRETS,
            "environment": {"PATH": f"{BINARIES}:{os.environ['PATH']}"},
        }
        task = self._runner.backup_task("postgres", self._spec)
        code, result = self._runner.finish(task, **self._options)
        assert code == 0, result
        code, committed = self._runner.run_commit({"target": ("postgres", result)})  # type: ignore[dict-item]
        assert code == 0, committed

    def restore(self) -> float:
        """Restore the database; the seconds that the Job's process took."""
        task = self._runner.restore_task("postgres", self._spec)
        start = time.monotonic()
        code, result = self._runner.finish(task, **self._options)
        assert code == 0, result
        return time.monotonic() - start


def _state(port: int) -> str:
    """The rows of each table, counted, and the indexes."""
    tables = psql(port, DATABASE, "SELECT string_agg(format('SELECT %L, count(*) FROM %I', tablename, "
                  "tablename), ' UNION ALL ' ORDER BY tablename) FROM pg_tables "
                  "WHERE schemaname = 'public'").strip()  # fmt: skip
    indexes = psql(port, DATABASE, "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    return psql(port, DATABASE, f"{tables} ORDER BY 1") + indexes


if __name__ == "__main__":
    main()
