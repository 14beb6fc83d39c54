"""What tests need of the machine: the checkout, the pinned programs, free ports, folders in memory."""

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def programs(*names: str) -> list[str]:
    """The paths of the pinned programs of that name."""
    # It builds what is missing, and says on stderr what it is doing.
    output = subprocess.run([REPOSITORY / "hack/tool", *names], check=True, stdout=subprocess.PIPE, text=True)
    return output.stdout.splitlines()


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """One of `free_ports`."""
    return free_ports(1)[0]


def has_listener(port: int) -> bool:
    """Whether a connection to the port of loopback is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def memory() -> str | None:
    """The folder in memory, for `dir` of tempfile; none where the machine has no such folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 tempfile makes the names


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A new folder, in memory if possible, that servers of any user may enter; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="holdfast-", dir=memory(), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def bytes_below(folder: Path) -> int:
    """The size of all files below a folder that others write to, as far as they stay while it is read."""
    size = 0
    for parent, _, names in os.walk(folder):  # Path.rglob fails when a folder goes, os.walk does not
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += Path(parent, name).stat().st_size
    return size
