"""Progress lines on standard output: at most one every other second, one for each wait, and a last one."""

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from holdfast.protocol import ProgressLine

_SECONDS = 2.0


class Meter:
    """Counts what a Job does, from any thread. It is the `Progress` that engines see."""

    def __init__(self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out or sys.stdout
        self._clock = clock
        self._lock = threading.Lock()
        self._step = "starting"
        self._waits: dict[object, str] = {}
        self._plain = self._stored = self._rows = 0
        self._printed = clock()

    def step(self, text: str) -> None:
        """Name what is being done now."""
        with self._lock:
            self._step = text
            self._tell()

    def wait(self, waiter: object, text: str) -> None:
        """Say at once that something is waited for, until `waiter` resumes."""
        with self._lock:
            self._waits[waiter] = text
            self._tell(at_once=True)

    def resume(self, waiter: object) -> None:
        """Say at once that `waiter` waits no more."""
        with self._lock:
            if self._waits.pop(waiter, None) is not None:
                self._tell(at_once=True)

    def rows(self, count: int) -> None:
        """Add rows, embeddings or keys."""
        with self._lock:
            self._rows += count
            self._tell()

    def add(self, *, plain: int = 0, stored: int = 0) -> None:
        """Add bytes."""
        with self._lock:
            self._plain += plain
            self._stored += stored
            self._tell()

    def finish(self) -> None:
        """Print the last line."""
        with self._lock:
            self._tell(at_once=True)

    def _tell(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if at_once or now - self._printed >= _SECONDS:
            self._printed = now
            line = ProgressLine(
                step="; ".join((*list(self._waits.values())[:1], self._step)),
                bytes=self._plain,
                stored_bytes=self._stored,
                rows=self._rows,
            )
            print(line.model_dump_json(by_alias=True), file=self._out, flush=True)
