"""Cuts the stored bytes of an artifact into objects: a new one starts where the last one is full."""

from dataclasses import dataclass

from holdfast.runner.destinations.live import LiveDestinations
from holdfast.runner.destinations.parts import PartCutter, Sizes, StoredBytes, constant
from holdfast.runner.stream.fanout import FanOut


@dataclass(frozen=True)
class WrittenObject:
    """An object that is whole in every live destination."""

    key: str
    stored: StoredBytes
    part_bytes: int


def object_key(key: str, number: int) -> str:
    """The key of an artifact's object: `key` itself, then `<key>.0001`; so a shell sorts them, too."""
    return f"{key}.{number:04d}" if number else key


class ObjectSeries:
    """The objects of one artifact, uploaded one after the other to every live destination in one pass."""

    def __init__(self, destinations: LiveDestinations, key: str, sizes: Sizes) -> None:
        self._destinations = destinations
        self._key = key
        self._sizes = sizes
        self._written: list[WrittenObject] = []
        self._complete: list[FanOut] = []
        """Those of the objects that are whole, because an abort deletes them too."""
        self._out = self._next()
        self._room = sizes.object

    def write(self, data: bytes) -> None:
        """Take stored bytes. Raises DestinationError when a required destination failed."""
        rest = memoryview(data)
        while rest:
            if not self._room:  # only now: an object holds a byte at least
                self._complete_object()
                self._out, self._room = self._next(), self._sizes.object
            piece, rest = rest[: self._room], rest[self._room :]
            self._room -= len(piece)
            self._out.write(piece)

    def finish(self) -> tuple[WrittenObject, ...]:
        """Complete the last object. Raises DestinationError when a required destination failed."""
        self._complete_object()
        return tuple(self._written)

    def give_up(self) -> None:
        """Send no more parts, so that a waiting `write` returns."""
        self._out.give_up()

    def abort(self) -> None:
        """Leave nothing behind where that can be done now; the run's commit clears away the rest."""
        for out in {self._out, *self._complete}:
            out.abort()

    def _next(self) -> FanOut:
        key = object_key(self._key, len(self._written))
        return FanOut(self._destinations, key, PartCutter(constant(self._sizes.part)))

    def _complete_object(self) -> None:
        stored = self._out.finish()
        self._complete.append(self._out)
        self._written.append(WrittenObject(self._out.key, stored, self._sizes.part))
