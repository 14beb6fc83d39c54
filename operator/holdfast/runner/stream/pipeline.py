"""What an artifact's bytes go through: zstd, (encryption), SHA-256, every destination at once.

The caller's thread collects the plain bytes; one thread compresses (zstd has threads of its own), cuts parts
and hashes them, while another one encrypts; each destination has threads that send. Between them are short
queues, so the slowest sets the pace and memory does not grow with the data.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Protocol

import zstandard
from pyrage.x25519 import Recipient

from holdfast.engines.transfer import SourceError
from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.destinations.parts import SIZES, Sizes
from holdfast.runner.process.cpu import cpu_limit
from holdfast.runner.process.progress import Meter
from holdfast.runner.stream import crypto
from holdfast.runner.stream.fanout import ABORT_SECONDS, stop_worker
from holdfast.runner.stream.objects import ObjectSeries, WrittenObject

_SUFFIX = ".zst"
_LEVEL = 3
_MAX_THREADS = 8
_JOB_BYTES = 2 << 20
"""What one zstd thread takes at a time. Its default of 8 MiB costs 20 MB a thread and gains nothing here."""
_BLOCK_BYTES = 1 << 20
_QUEUED_BLOCKS = 4


class Stage(Protocol):
    """Turns a stream of bytes into another one."""

    def feed(self, data: bytes, /) -> bytes:
        """What `data` becomes, perhaps nothing yet."""

    def finish(self) -> bytes:
        """The rest."""

    def abort(self) -> None:
        """End what it has running, after neither of the others is called any more."""


class Compression:
    """One zstd frame with a checksum, so that `zstd -d` reads and checks it."""

    def __init__(self) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _LEVEL, threads=min(cpu_limit(), _MAX_THREADS), job_size=_JOB_BYTES, write_checksum=True
        )
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    def feed(self, data: bytes, /) -> bytes:
        return self._stream.compress(data)

    def finish(self) -> bytes:
        return self._stream.flush()

    def abort(self) -> None:
        pass


def stages(recipients: Sequence[Recipient]) -> Sequence[Stage]:
    """The stages between the plain and the stored bytes, in order; `recipients` are those to encrypt to."""
    return (Compression(), crypto.Encryption(recipients)) if recipients else (Compression(),)


def suffix(recipients: Sequence[Recipient]) -> str:
    """What the stages add to a file's name."""
    return _SUFFIX + crypto.SUFFIX if recipients else _SUFFIX


@dataclass(frozen=True)
class Transfer:
    """What went through a pipeline."""

    plain_bytes: int
    objects: tuple[WrittenObject, ...]


class Pipeline:
    """The Sink of one artifact, from `key` on in every live destination. End it by `finish` or `abort`."""

    def __init__(
        self,
        destinations: LiveDestinations,
        key: str,
        meter: Meter,
        recipients: Sequence[Recipient],
        sizes: Sizes = SIZES,
    ) -> None:
        self._key = key
        self._meter = meter
        self._plain_bytes = 0
        self._pending = bytearray()
        self._out = ObjectSeries(destinations, key, sizes)
        self._stages = stages(recipients)
        self._queue: Queue[bytes | None] = Queue(maxsize=_QUEUED_BLOCKS)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="compress", daemon=True)
        self._thread.start()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take plain bytes. Raises DestinationError when a required destination failed."""
        if len(data) >= _BLOCK_BYTES // 2:
            self._hand_over_pending()
            self._hand_over(bytes(data))
        else:
            self._pending += data
            if len(self._pending) >= _BLOCK_BYTES:
                self._hand_over_pending()
        return len(data)

    def finish(self) -> Transfer:
        """Complete the object everywhere.

        Raises SourceError (`EmptyOutput`) when nothing was written, DestinationError as `write` does.
        """
        self._hand_over_pending()
        if not self._plain_bytes:
            raise SourceError("EmptyOutput", f"{self._key}: not one byte came from the source")
        self._hand_over(None)
        self._thread.join()
        self._raise()
        return Transfer(self._plain_bytes, self._out.finish())

    def abort(self) -> None:
        """Leave nothing of it behind."""
        self._error = self._error or RuntimeError("the pipeline was given up")
        self._out.give_up()
        stop_worker(self._thread, self._queue, time.monotonic() + ABORT_SECONDS)
        for stage in self._stages:
            stage.abort()
        self._out.abort()

    def _hand_over_pending(self) -> None:
        if self._pending:
            data, self._pending = bytes(self._pending), bytearray()
            self._hand_over(data)

    def _hand_over(self, data: bytes | None) -> None:
        self._raise()
        if data is not None:
            self._plain_bytes += len(data)
            self._meter.add(plain=len(data))
        self._queue.put(data)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:
                self._guarded(data)
            del data
        if self._error is None:
            self._guarded(None)

    def _guarded(self, data: bytes | None) -> None:
        try:
            out = self._last() if data is None else self._through(self._stages, data)
            self._meter.add(stored=len(out))
            self._out.write(out)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that writes
            self._error = error

    def _through(self, stages: Sequence[Stage], data: bytes) -> bytes:
        for stage in stages:
            data = stage.feed(data)
        return data

    def _last(self) -> bytes:
        """What the stages still hold, each one's rest sent through those after it."""
        rests = (
            self._through(self._stages[place + 1 :], stage.finish())
            for place, stage in enumerate(self._stages)
        )
        return b"".join(rests)
