"""Redis servers on loopback for the tests, and what is asked of them independently of the code under test."""

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from tests.machine import free_port, has_listener
from tests.nursery import END_WITH_PARENT
from tests.processes import stop
from tests.waiting import wait_until


@dataclass
class Server:
    """A redis-server with its own folder; DEBUG is allowed, which production servers refuse."""

    folder: Path
    options: Sequence[str] = ()
    password: str | None = None
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> "Server":
        """Start it and wait until it has loaded its data."""
        self.launch()
        self.wait()
        return self

    def wait(self) -> None:
        """Wait until it has loaded its data."""
        wait_until(self._answers, f"redis on {self.port} answers")

    def launch(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            owner = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*END_WITH_PARENT, "redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                 "--dir", str(self.folder), "--save", "", "--enable-debug-command", "yes",
                 "--repl-diskless-sync-delay", "0",
                 *(("--requirepass", self.password, "--masterauth", self.password) if self.password else ()),
                 *self.options],
                stdout=log, stderr=log, cwd="/", **owner,
            )  # fmt: skip

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            with self.client() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def log(self) -> str:
        """What it has written."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text(errors="replace")

    def client(self, database: int = 0, **options: Any) -> "redis.Redis":
        """A client of the tests' own, which is not the one under test."""
        return redis.Redis(
            port=self.port, db=database, password=options.pop("password", self.password),
            socket_timeout=60, socket_connect_timeout=5, protocol=2, **options,
        )  # fmt: skip

    def stop(self) -> None:
        """End it."""
        stop(self.process)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def spec(self) -> dict[str, Any]:
        """The engine's section of a policy's target."""
        return {"host": {"name": "127.0.0.1", "port": self.port}}


@contextmanager
def starting(server: Server) -> Iterator[Server]:
    """A server that listens but may not have loaded its data yet; killed at the end."""
    server.launch()
    try:
        wait_until(lambda: has_listener(server.port), "it listens")
        yield server
    finally:
        server.kill()


def digest(server: Server) -> str:
    """Redis's own digest of every key and value; the order within hashes and sets does not matter."""
    with server.client() as client:
        return str(client.execute_command("DEBUG", "DIGEST"))


def expiries(server: Server, databases: Sequence[int] = (0,)) -> dict[tuple[int, bytes], int]:
    """The absolute time to live of every key, in milliseconds; -1 for none."""
    found = {}
    for database in databases:
        with server.client(database) as client:
            keys = list(client.scan_iter(count=1000))
            for start in range(0, len(keys), 1000):
                with client.pipeline(transaction=False) as pipe:
                    for key in keys[start : start + 1000]:
                        pipe.execute_command("PEXPIRETIME", key)
                    for key, time in zip(keys[start : start + 1000], pipe.execute(), strict=True):
                        found[database, key] = time
    return found


def streams(server: Server, keys: Sequence[str], database: int = 0) -> dict[str, Any]:
    """All that XINFO tells of streams, but for how long consumers have been idle."""
    with server.client(database) as client:
        found = {key: client.execute_command("XINFO", "STREAM", key, "FULL", "COUNT", 0) for key in keys}
    return {key: _without_idle(reply) for key, reply in found.items()}


def _without_idle(reply: Any) -> Any:
    if isinstance(reply, dict):
        return {
            name: _without_idle(value)
            for name, value in reply.items()
            if name not in (b"idle", b"inactive", "idle", "inactive")
        }
    if isinstance(reply, list):
        if len(reply) % 2 == 0 and reply and all(isinstance(name, bytes) for name in reply[::2]):
            return _without_idle(dict(zip(reply[::2], reply[1::2], strict=True)))
        return [_without_idle(item) for item in reply]
    return reply


def functions(server: Server) -> list[Any]:
    """Every function library with its code."""
    with server.client() as client:
        return sorted(map(repr, client.execute_command("FUNCTION", "LIST", "WITHCODE")))
