"""The real operator as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.controller.client import wait_for

ROOT = Path(__file__).parents[2]


class Operator:
    """Started by `with`, stopped at its end; `kill` and `start` in between as often as a test likes."""

    def __init__(self, kubeconfig: Path, **settings: str) -> None:
        self._log = Path(tempfile.mkstemp(prefix="holdfast-operator-", suffix=".log")[1])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(ROOT / "operator"),
            "HOLDFAST_LIVENESS_PORT": str(self.port),
            **{f"HOLDFAST_{name}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        if error is not None:
            sys.stderr.write(f"--- the operator's log ---\n{self.log[-20_000:]}\n")
        self._log.unlink()

    def start(self) -> None:
        """Start it; it is of use a moment later."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "holdfast.controller"],
                env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text(errors="replace")

    @property
    def memory_bytes(self) -> int:
        """Its resident memory."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def liveness(self) -> int:
        """The HTTP status of the liveness probe; 0 when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait_live(self) -> None:
        """Wait until its probe answers well."""
        wait_for("the operator to be live", lambda: self.liveness() == 200, 60)
