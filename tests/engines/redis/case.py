"""Redis's case of the suite that every engine must pass."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engines.conformance import Case, Login
from tests.engines.redis.data import DATABASES, fill_every_type
from tests.engines.redis.servers import Server, digest, expiries, functions
from tests.machine import memory_folder

_LARGE = 40


class RedisCase(Case):
    """Two servers with the same password."""

    secret = "never-to-be-seen"

    def __init__(self, source: Server, target: Server) -> None:
        self._source, self._target = source, target
        self.secrets = {"credentials": {"password": self.secret}}
        self.port = source.port
        self.override = target.spec
        fill_every_type(source, large=300)
        with source.client() as client:
            for number in range(_LARGE):
                client.set(f"large:{number}", random.Random(number).randbytes(100_000))

    def spec(self, port: int) -> dict[str, Any]:
        return {"host": {"name": "127.0.0.1", "port": port}, "credentialsSecret": {"name": "redis"}}

    def contents(self) -> dict[str, int]:
        keys = 0
        for database in DATABASES:
            with self._source.client(database) as client:
                keys += int(client.execute_command("DBSIZE"))
        return {"databases": len(DATABASES), "keys": keys}

    def write_more(self) -> None:
        with self._source.client() as client:
            client.mset({f"more:{number}": number for number in range(5)})

    def source(self) -> Any:
        return _state(self._source)

    def target(self) -> Any:
        return _state(self._target)

    def names(self) -> list[str]:
        keys = []
        for database in DATABASES:
            with self._target.client(database) as client:
                keys += [f"{database}: {key!r}" for key in client.execute_command("KEYS", "*")]
        return sorted(keys) + functions(self._target)

    def occupy(self) -> None:
        with self._target.client(DATABASES[1]) as client:
            client.set("somebody's", "value")

    def clear(self) -> None:
        with self._target.client() as client:
            client.flushall()
            client.execute_command("FUNCTION", "FLUSH")

    @contextmanager
    def refusing(self) -> Iterator[Login]:
        yield self.spec(self.port), {"credentials": {"password": "wrong-password"}}


def _state(server: Server) -> Any:
    return digest(server), expiries(server, DATABASES), functions(server)


@contextmanager
def open_case(folder: Path) -> Iterator[RedisCase]:
    """Start the servers; they run as another user, who may not enter pytest's folder."""
    with memory_folder() as memory:
        started: list[Server] = []
        try:
            for role in ("source", "target"):
                started.append(Server(memory / role, password=RedisCase.secret))
                started[-1].start()
            yield RedisCase(*started)
        finally:
            for server in started:
                server.stop()
