"""A PostgreSQL restore from S3 beside restic's, in turns, on the same server and machine.

    .venv/bin/python -m benchmarks.postgres_restore [--data pgbench|text] [--gigabytes 1] [--runs 3]

Both repositories are encrypted. Holdfast's side is the real runner of a Job: it decrypts, checks every byte
against the manifest, restores into a database of another name, counts every row and only then renames it.
restic, which is what K8up runs, writes the dump into pg_restore, which has no parallel jobs for a pipe.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.postgres import (
    BINARIES,
    DATABASE,
    OF_THE_RUNNER,
    arguments,
    database,
    psql,
    repository,
    target,
    timed,
    to,
    to_restic,
)
from pyrage import x25519
from tests.harness import Runner
from tests.places import S3Server, start_s3
from tests.processes import stop


def main() -> None:
    """Print a row for each run and the ratio of the medians."""
    options = arguments(__doc__, gigabytes=1)
    with database(options.data, options.gigabytes) as (root, port):
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
    timed(to_restic(port), environment)
    ours = _Ours(root / "root", port, s3)
    before = _state(port)
    peer: list[float] = []
    own: list[float] = []
    for number in range(runs):
        sides: list[tuple[list[float], Callable[[], float]]] = [
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
        self._target = target(port)
        task = self._runner.backup_task("postgres", self._target)
        code, result = self._runner.finish(task, **OF_THE_RUNNER)
        assert code == 0, result
        code, committed = self._runner.run_commit({"target": ("postgres", result)})  # type: ignore[dict-item]
        assert code == 0, committed

    def restore(self) -> float:
        """Restore the database; the seconds that the Job's process took."""
        task = self._runner.restore_task("postgres", self._target)
        start = time.monotonic()
        code, result = self._runner.finish(task, **OF_THE_RUNNER)
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
