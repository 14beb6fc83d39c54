"""Starts Python programs within milliseconds: forks them from a process that has loaded their modules.

    python -m tests.nursery MODULE…

Loading takes longer than all else that most of the tests' operators and Jobs do. What is forked is the
program from its first line on; only what it imports is there already. A line of JSON on standard input (an
`Order`) starts one; its PID is answered, and its exit code goes into a file.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.machine import REPOSITORY

from holdfast.runner.destinations.s3.store import new_client

_OPERATOR = REPOSITORY / "operator"
_LOADED = ("runner/tasks/*.py", "engines/*/backup.py", "engines/*/restore.py")
_MODULES = (
    *("holdfast.controller.operator", "holdfast.runner.process.memory", "boto3", "botocore.config", "pytest"),
    *sorted(
        ".".join(path.relative_to(_OPERATOR).with_suffix("").parts)
        for pattern in _LOADED
        for path in (_OPERATOR / "holdfast").glob(pattern)
        if path.stem != "__init__"
    ),
)
_PR_SET_PDEATHSIG = 1
END_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: a process ends with the tests, however they end."""
_ordering = threading.Lock()
"""Several threads of a test may start programs."""


@dataclass(frozen=True)
class Order:
    """A program to start, as `python -m module` with this environment."""

    module: str
    environment: dict[str, str]
    folder: str
    stdout: str
    """Files that are written to from their ends on."""
    stderr: str
    ended: str
    """A file that gets the exit code, as subprocess knows it."""


class Forked:
    """A program that was started, with what tests use of subprocess.Popen."""

    def __init__(self, pid: int, ended: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended
        self._lock = threading.Lock()  # one thread may kill it while another one watches it

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        with self._lock:
            if self.returncode is None and (code := self._ended.read_text()):
                self.returncode = int(code)
                self._ended.unlink()
            return self.returncode

    def wait(self, timeout: float = 600) -> int:
        """Wait for the exit code. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("python", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal to one that runs; one that has just ended may not have its exit code yet."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def fork(module: str, environment: Mapping[str, str], folder: Path, stdout: Path, stderr: Path) -> Forked:
    """Start `python -m module`."""
    handle, ended = tempfile.mkstemp(prefix="holdfast-ended-")
    os.close(handle)
    order = Order(module, dict(environment), str(folder), str(stdout), str(stderr), ended)
    process = start()
    assert process.stdin is not None
    assert process.stdout is not None
    with _ordering:
        process.stdin.write(json.dumps(asdict(order)) + "\n")
        process.stdin.flush()
        return Forked(int(process.stdout.readline()), Path(ended))


@functools.cache
def start() -> "subprocess.Popen[str]":
    """This process's own nursery; it ends with it, and what it has started with that.

    It ends with the thread that has started it (PR_SET_PDEATHSIG(2const)): that must be the main one.
    """
    return subprocess.Popen(
        [*END_WITH_PARENT, sys.executable, "-m", "tests.nursery", *_MODULES],
        env={**os.environ, "PYTHONPATH": f"{_OPERATOR}:{REPOSITORY}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def main() -> None:
    """Serve until standard input ends."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    # Jobs that use a bucket find its description loaded.
    new_client(region_name="us-east-1", aws_access_key_id="-", aws_secret_access_key="-").close()
    gc.freeze()  # a collection in a child would write to all memory that it shares with this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel clears away those that have ended
    for line in sys.stdin:
        if os.fork() == 0:
            _watch(Order(**json.loads(line)))


def _watch(order: Order) -> None:
    """Start the program and stay behind as its parent: only a parent learns of an exit code."""
    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _become(order)
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()
    _, status = os.waitpid(pid, 0)
    Path(order.ended).write_text(str(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(order: Order) -> None:
    _end_with_parent()
    os.setsid()
    for number, path in enumerate((os.devnull, order.stdout, order.stderr)):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv = [order.module]
    runpy.run_module(order.module, run_name="__main__", alter_sys=True)
    sys.exit()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
