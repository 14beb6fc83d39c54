"""The real operator as a process of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.controller.client import wait_for

ROOT = Path(__file__).parents[2]
_PYTHON = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m"]


class Nursery:
    """Starts operators within milliseconds; see `tests.controller.nursery`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def fork(self, environment: dict[str, str], log: Path) -> int:
        """Start an operator; its PID."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"environment": environment, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        return int(self._answer())


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """A nursery; the operators that it started end with it."""
    path = f"{ROOT / 'operator'}:{ROOT}"
    with subprocess.Popen(
        [*_PYTHON, "tests.controller.nursery"],
        env=os.environ | {"PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield Nursery(process)
        process.kill()


class Operator:
    """Started by `with`, stopped at its end; `kill` and `start` in between as often as a test likes."""

    def __init__(self, kubeconfig: Path, nursery: Nursery | None = None, **settings: str) -> None:
        handle, name = tempfile.mkstemp(prefix="holdfast-operator-", suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._nursery = nursery
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._environment = {
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(ROOT / "operator"),
            "HOLDFAST_LIVENESS_PORT": str(self.port),
            **{f"HOLDFAST_{name}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            sys.stderr.write(f"--- the operator's log ---\n{self.log[-20_000:]}\n")
        if self.running:
            self._send(signal.SIGTERM)
            try:
                wait_for("the operator to end", lambda: not self.running, 20)
            except AssertionError:
                self.kill()
                raise
        self._log.unlink()

    def start(self) -> None:
        """Start it; it is of use a moment later."""
        if self._nursery is not None:
            self._pid = self._nursery.fork(self._environment, self._log)
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_PYTHON, "holdfast.controller"],
                env=os.environ | self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._pid = self._process.pid

    def kill(self) -> None:
        """End it as a power cut would."""
        self._send(signal.SIGKILL)
        wait_for("the operator to be dead", lambda: not self.running, 10)

    def _send(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        if self._process is not None:
            return self._process.poll() is None
        return Path(f"/proc/{self._pid}").exists()

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    @property
    def memory_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def liveness(self) -> int:
        """The HTTP status of the liveness probe; 0 when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def wait_live(self) -> None:
        """Wait until its probe answers well."""
        wait_for("the operator to be live", lambda: self.liveness() == 200, 60)
