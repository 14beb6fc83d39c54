"""Reads the stored bytes of an artifact, object after object, and checks each by its manifest."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack

from holdfast.engines.transfer import MismatchError
from holdfast.runner.destinations.destination import Destination, Readable
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.manifest import StoredObject


class ObjectReader:
    """The bytes of objects in their order, counted and hashed as they are read. End it by `close`."""

    def __init__(
        self, source: Destination, folder: str, objects: Sequence[StoredObject], meter: Meter
    ) -> None:
        """`folder` is where the keys of the objects start."""
        self._source = source
        self._folder = folder
        self._objects = objects
        self._place = 0
        """Of the object that is read now."""
        self._meter = meter
        self._open = ExitStack()
        self._stream: Readable | None = None
        self._size, self._sha256 = 0, hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none after the last object. Raises MismatchError at a wrong one's end."""
        while self._place < len(self._objects):
            if self._stream is None:
                key = self._folder + self._objects[self._place].key
                self._stream = self._open.enter_context(self._source.open(key))
            if data := self._stream.read(size):
                self._size += len(data)
                self._sha256.update(data)
                self._meter.add(stored=len(data))
                return data
            self._check()
            self.close()
            self._place += 1
        return b""

    @property
    def unread_bytes(self) -> int:
        """How many bytes have not been fetched."""
        left = self._objects[self._place :]
        return sum(stored.size_bytes for stored in left) - self._size

    def close(self) -> None:
        """Read no more of the object."""
        self._open.close()
        self._stream = None

    def mismatch(self, what: str) -> MismatchError:
        """The error that says what is wrong with the object that is read now, or was read last."""
        key = self._objects[min(self._place, len(self._objects) - 1)].key
        return self._source.mismatch(self._folder + key, what)

    def _check(self) -> None:
        stored = self._objects[self._place]
        for what, actual, expected in (
            ("stored bytes", self._size, stored.size_bytes),
            ("SHA-256 of the stored bytes", self._sha256.hexdigest(), stored.sha256),
        ):
            if actual != expected:
                raise self.mismatch(f"{what}: {actual}, not {expected}")
        self._size, self._sha256 = 0, hashlib.sha256()
