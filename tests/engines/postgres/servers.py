"""PostgreSQL servers of the tests: real, on loopback, in memory where there is a tmpfs, gone afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from tests.machine import free_port, memory_folder
from tests.waiting import wait_until

BINARIES = Path("/usr/lib/postgresql/15/bin")
MAJOR = 15
PASSWORD = "pass:word\\with 'odd' characters"
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "unix_socket_directories": "''",
    "listen_addresses": "'127.0.0.1'",
    "wal_level": "logical",
    "hot_standby_feedback": "off",
    "max_prepared_transactions": "5",
    "track_commit_timestamp": "on",
    "autovacuum": "off",
    "log_min_messages": "warning",
}


def as_postgres(command: Sequence[str | Path], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program that refuses to be root."""
    user = pwd.getpwnam("postgres")
    if os.geteuid() == 0:
        options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return subprocess.run(
        [str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, cwd="/", **options,
    )  # fmt: skip


@dataclass
class TestServer:
    """One server. Its superuser is `postgres`, with PASSWORD; every login needs a password."""

    __test__ = False
    folder: Path
    port: int

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def start(self, **settings: str) -> None:
        """Start it and wait until it answers."""
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        as_postgres(
            [BINARIES / "pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-t", "60",
             "-o", f"-p {self.port} {options}", "start"]
        )  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is a crash."""
        if (self.data / "postmaster.pid").exists():
            as_postgres([BINARIES / "pg_ctl", "-D", self.data, "-m", mode, "-w", "stop"])

    def kill(self) -> None:
        """End the postmaster by SIGKILL."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def conninfo(self, database: str = "postgres", user: str = "postgres", password: str = PASSWORD,
                 options: str | None = None) -> str:  # fmt: skip
        """A connection string, for the tests' own eyes."""
        return make_conninfo(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=password,
            dbname=database,
            connect_timeout=10,
            options=options,
        )

    def connect(self, database: str = "postgres", **options: Any) -> "psycopg.Connection[Any]":
        """A connection in autocommit mode."""
        return psycopg.connect(
            self.conninfo(database, **options),
            autocommit=True,
            prepare_threshold=None,
            client_encoding="utf8",
        )

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements one by one; the rows of the last one."""
        with self.connect(database) as connection:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
            return rows

    def value(self, query: str, database: str = "postgres") -> Any:
        """The one value of a query."""
        return self.execute(query, database=database)[0][0]

    def script(self, text: str, database: str = "postgres") -> None:
        """Run a script by psql, which stops at the first error."""
        run = subprocess.run(
            [BINARIES / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(database)],
            input="SET client_min_messages = warning;\n" + text, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr

    def databases(self) -> list[str]:
        """The names of all databases but templates."""
        return [
            row[0]
            for row in self.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
        ]

    def drop(self, *databases: str) -> None:
        """Drop databases that are there."""
        for name in databases:
            quoted = '"' + name.replace('"', '""') + '"'
            self.execute(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")

    def address(self) -> Mapping[str, Any]:
        """As a target of a policy names it."""
        return {"host": {"name": "127.0.0.1", "port": self.port}}

    def target(self, **more: Any) -> dict[str, Any]:
        """The server as a policy's target."""
        return {**self.address(), "credentialsSecret": {"name": "pg"}, "majorVersion": MAJOR, **more}


def secrets(user: str = "postgres", password: str = PASSWORD) -> dict[str, dict[str, str]]:
    """The mounts that a Job gets; with the line break that `echo` leaves."""
    return {"credentials": {"username": user, "password": password + "\n"}}


@contextmanager
def _folder() -> Iterator[Path]:
    with memory_folder() as folder:
        shutil.chown(folder, "postgres") if os.geteuid() == 0 else None
        yield folder


@contextmanager
def primary(**settings: str) -> Iterator[TestServer]:
    """A new server."""
    with _folder() as folder:
        server = TestServer(folder, free_port())
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        as_postgres(
            [BINARIES / "initdb", "-D", server.data, "-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync", f"--pwfile={secret}"]
        )  # fmt: skip
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = {value}\n" for name, value in (SETTINGS | settings).items())
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def standby(of: TestServer, **settings: str) -> Iterator[TestServer]:
    """A streaming standby, that has caught up."""
    with _folder() as folder:
        server = TestServer(folder, free_port())
        as_postgres(
            [BINARIES / "pg_basebackup", "-D", server.data, "-R", "-X", "stream", "-c", "fast", "--no-sync",
             "-d", of.conninfo()]
        )  # fmt: skip
        with (server.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = {value}\n" for name, value in settings.items())
        server.start()
        try:
            catch_up(of, server)
            yield server
        finally:
            server.stop()


def catch_up(primary_server: TestServer, standby_server: TestServer) -> None:
    """Wait until the standby has replayed what the primary has written."""
    lsn = primary_server.value("SELECT pg_current_wal_flush_lsn()::text")
    wait_until(
        lambda: standby_server.value(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'"), "the standby catches up"
    )
