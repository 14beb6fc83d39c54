"""Redis servers for each test, in a folder on tmpfs, ended afterwards."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.redis.memory import Memory
from tests.engines.redis.servers import Server

NewServer = Callable[..., Server]


@pytest.fixture
def new_server() -> Iterator[NewServer]:
    """Starts servers: `new_server("--maxmemory", "1mb", password="secret")`."""
    started: list[Server] = []
    shared = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        Path(folder).chmod(0o755)

        def start(*options: str, **more: Any) -> Server:
            server = Server(Path(folder) / f"server{len(started)}", options, **more)
            started.append(server)
            return server.start()

        yield start
        for server in started:
            server.stop()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    """Contexts without a runner."""
    return Memory(tmp_path)
