"""Redis servers for each test, in a folder on tmpfs, ended afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server
from tests.machine import memory_folder

NewServer = Callable[..., Server]


@pytest.fixture
def new_server() -> Iterator[NewServer]:
    """Starts servers: `new_server("--maxmemory", "1mb", password="secret")`."""
    started: list[Server] = []
    with memory_folder() as folder:

        def start(*options: str, **more: Any) -> Server:
            server = Server(folder / f"server{len(started)}", options, **more)
            started.append(server)
            return server.start()

        yield start
        for server in started:
            server.stop()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """Contexts without a runner."""
    return Memory(tmp_path)
