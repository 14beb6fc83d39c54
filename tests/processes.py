"""The processes and servers that a test starts: how they end, and what they have started in turn."""

import contextlib
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.nursery import Forked

Process = subprocess.Popen[Any] | Forked


def stop(process: Process | None) -> None:
    """End a process that was started here."""
    if process is not None and process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[int]:
    """Have a server of the standard library serve in a thread of this process; its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started, as far as they run while they are looked for."""
    yield pid
    for child in children(pid):
        yield from family(child)


def children(pid: int) -> list[int]:
    """The processes that a process has started, as far as they run while they are looked for."""
    started: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            started += map(int, path.read_text().split())
    return started
