"""The real operator as a process of its own."""

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.controller.client import wait_for
from tests.machine import REPOSITORY, free_port
from tests.nursery import END_WITH_PARENT, Forked, fork


class Operator:
    """Started by `with`, stopped at its end; `kill` and `start` in between as often as a test likes.

    A `fresh` one shares no memory with others, so that its own can be measured; it takes seconds to start.
    """

    def __init__(self, kubeconfig: Path, *, fresh: bool = False, **settings: str) -> None:
        handle, name = tempfile.mkstemp(prefix="holdfast-operator-", suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._fresh = fresh
        self.port = free_port()
        self._environment = {
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "HOLDFAST_LIVENESS_PORT": str(self.port),
            **{f"HOLDFAST_{name}": value for name, value in settings.items()},
        }
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            sys.stderr.write(f"--- the operator's log ---\n{self.log[-20_000:]}\n")
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self._log.unlink()

    def start(self) -> None:
        """Start it; it is of use a moment later."""
        environment = os.environ | self._environment
        if not self._fresh:
            self._process = fork("holdfast.controller", environment, REPOSITORY, self._log, self._log)
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*END_WITH_PARENT, sys.executable, "-m", "holdfast.controller"],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

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
        """Its resident memory, of one that was started fresh."""
        assert self._fresh
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
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
        wait_for("the operator to be live", lambda: self.liveness() == 200)
