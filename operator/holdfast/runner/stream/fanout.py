"""Hands the parts of one object to every destination at once; the slowest sets the pace."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Full, Queue
from typing import Any

from holdfast.engines.transfer import DestinationError, TransferError
from holdfast.runner.destinations.destination import Destination, Upload
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.destinations.parts import Part, PartCutter, StoredBytes

_log = logging.getLogger(__name__)
ABORT_SECONDS = 15
"""How long a stalled connection may hold up an abort."""


def stop_worker(thread: threading.Thread, queue: "Queue[Any]", deadline: float) -> None:
    """Wait until `deadline` for a thread to end that drops what it takes from `queue` and ends at None."""
    while thread.is_alive() and time.monotonic() < deadline:
        with suppress(Full):
            queue.put_nowait(None)
        thread.join(0.05)


class FanOut:
    """One object, uploaded to every live destination in one pass.

    A part waits for the queue of each destination, which holds one. All share the part's bytes, so memory
    holds those that the slowest destination's workers send, one queued and one waiting, and at most those
    that a faster one sends in the same time.
    """

    def __init__(
        self,
        destinations: LiveDestinations,
        key: str,
        cutter: PartCutter,
        chosen: Sequence[Destination] | None = None,
    ) -> None:
        """`chosen` are the live destinations that it goes to, all unless given."""
        self.key = key
        self._destinations = destinations
        self._cutter = cutter
        self._branches: list[_Branch] = []
        try:
            destinations.for_all(lambda destination: self._branches.append(_Branch(destination, key)), chosen)
        except BaseException:
            self.abort()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Take stored bytes. Raises DestinationError when a required destination failed."""
        for part in self._cutter.add(data):
            self._put(part)

    @property
    def written(self) -> tuple[int, str]:
        """Bytes taken so far, and their SHA-256."""
        return self._cutter.added

    def finish(self) -> StoredBytes:
        """Complete the object everywhere. Raises DestinationError when a required destination failed."""
        self._put(self._cutter.finish())
        for branch in list(self._branches):
            self._attempt(branch, branch.complete)
        return self._cutter.stored()

    def give_up(self) -> None:
        """Send no more parts, so that a waiting `write` returns."""
        for branch in list(self._branches):
            branch.give_up()

    def abort(self) -> None:
        """Leave nothing behind where that can be done now; the run's commit clears away the rest."""
        for branch in self._branches:
            branch.abort()
        self._branches = []

    def _put(self, part: Part) -> None:
        for branch in list(self._branches):
            self._attempt(branch, lambda branch=branch: branch.put(part))  # type: ignore[misc]

    def _attempt(self, branch: "_Branch", action: Callable[[], None]) -> None:
        try:
            action()
        except TransferError as error:
            self._branches.remove(branch)
            branch.abort()
            self._destinations.drop(branch.name, error, required=branch.required)


class _Branch:
    """One destination's upload, and the threads that feed it."""

    def __init__(self, destination: Destination, key: str) -> None:
        self.name = destination.name
        self.required = destination.required
        self._upload: Upload = destination.upload(key)
        self._queue: Queue[Part | None] = Queue(maxsize=1)
        self._error: Exception | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"upload-{self.name}-{number}", daemon=True)
            for number in range(destination.workers)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, part: Part | None) -> None:
        """Give it a part, None for the end. Raises what an earlier part met with."""
        if self._error is not None:
            raise self._error
        self._queue.put(part)

    def complete(self) -> None:
        """Make the object visible once all is sent."""
        for _ in self._threads:
            self.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error
        self._upload.complete()

    def give_up(self) -> None:
        """Send no more parts."""
        self._error = self._error or DestinationError("Aborted", "the upload was given up")

    def abort(self) -> None:
        """Leave nothing behind, as far as that can be done now."""
        self.give_up()
        deadline = time.monotonic() + ABORT_SECONDS
        for thread in self._threads:
            stop_worker(thread, self._queue, deadline)
        try:
            self._upload.abort()
        except TransferError as error:
            _log.warning("left for the commit to clear away: %s", error.message)

    def _work(self) -> None:
        while (part := self._queue.get()) is not None:
            if self._error is None:
                try:
                    self._upload.put(part)
                except Exception as error:  # noqa: BLE001 - raised again in the thread that writes
                    self._error = error
            del part  # else it stays in memory until the next one comes
