"""The bytes of an object in a bucket, in ranges of one generation."""

from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import NotFound

from holdfast.runner.destinations.gcs.bucket import ONCE

if TYPE_CHECKING:
    from holdfast.runner.destinations.gcs.bucket import Bucket

_RANGE = 8 << 20


class Reader:
    """Asks for a range at a time; one that broke off is asked for again."""

    def __init__(self, destination: "Bucket", key: str, blob: Any) -> None:
        self._destination = destination
        self._key = key
        self._blob = blob
        """It knows its generation, and every request names that."""
        self._end = int(blob.size)
        self._asked = 0
        self._range = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        if not self._range and self._asked < self._end:
            self._range = memoryview(self._next())
            self._asked += len(self._range)
        data, self._range = bytes(self._range[:size]), self._range[size:]
        return data

    def _next(self) -> bytes:
        start, end = self._asked, min(self._asked + _RANGE, self._end)
        with self._destination.errors(self._key):
            try:
                data = self._destination.ask(
                    lambda: bytes(
                        self._blob.download_as_bytes(
                            start=start, end=end - 1, raw_download=True, checksum=None, **ONCE
                        )
                    )
                )
            except NotFound as error:
                raise self._destination.mismatch(self._key, "it changed while it was read") from error
        if len(data) != end - start:
            raise self._destination.error(
                "DestinationFailed", self._key, f"the store gave {len(data)} bytes of {end - start}"
            )
        return data
