"""A PostgreSQL 15 with data in it for the benchmarks, and the commands that stand beside Holdfast's own."""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.machine import free_port, programs
from tests.places import S3Place

BINARIES = Path("/usr/lib/postgresql/15/bin")
DATABASE = "bench"
PASSWORD = "benchmark"
OF_THE_RUNNER: dict[str, Any] = {
    "secrets": {"credentials": {"username": "postgres", "password": PASSWORD}},
    "environment": {"PATH": f"{BINARIES}:{os.environ['PATH']}"},
}
"""What a runner needs to reach the database."""

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


def arguments(about: str | None, gigabytes: float) -> argparse.Namespace:
    """What a benchmark was asked for; `gigabytes` of data unless it was told another number."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", choices=("pgbench", "text"), default="pgbench")
    parser.add_argument("--gigabytes", type=float, default=gigabytes)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


@contextmanager
def database(data: str, gigabytes: float) -> Iterator[tuple[Path, int]]:
    """A server with the database, filled: a folder for whatever else is made, and the server's port."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="holdfast-benchmark-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        with _server(root) as port:
            psql(port, "postgres", f"CREATE DATABASE {DATABASE}")
            _fill(port, data, gigabytes * 1e9)
            psql(port, DATABASE, "VACUUM ANALYZE")
            size = psql(port, DATABASE, f"SELECT pg_database_size('{DATABASE}')")
            print(f"database: {int(size) / 1e9:.2f} GB of {data}")
            yield root, port


def _fill(port: int, data: str, size: float) -> None:
    if data == "pgbench":
        scale = round(size / _PGBENCH_BYTES)
        _as_postgres("pgbench", *to(port), "--initialize", "--quiet", f"--scale={scale}", DATABASE)
        return
    psql(port, DATABASE, _WORDS)
    for _ in range(round(size / _WORDS_BYTES) - 1):
        psql(port, DATABASE, _AGAIN)


def dump_of(port: int) -> str:
    """The command that dumps the database."""
    return f"{BINARIES}/pg_dump --format=custom --compress=0 {' '.join(to(port))} {DATABASE}"


def to_restic(port: int) -> str:
    """The pipe that stores the dump in a repository of restic."""
    return f"{dump_of(port)} | restic backup --stdin --stdin-filename {DATABASE}.dump"


def target(port: int) -> dict[str, Any]:
    """The database as a target of a policy."""
    return {
        "host": {"name": "127.0.0.1", "port": port},
        "credentialsSecret": {"name": "pg"},
        "majorVersion": 15,
        "databases": [DATABASE],
    }


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
