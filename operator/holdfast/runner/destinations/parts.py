"""Cuts the stored bytes of an object into the parts of a multipart upload, and knows their checksums."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

MAX_PARTS = 10_000
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html, as are 5 TiB an object, 5 GiB a part."""
_LEVEL_PARTS = 1_024
_GROWTH = 1.00069
_ROUND = 64 << 10


@dataclass(frozen=True)
class Sizes:
    """How an artifact's stored bytes are cut into objects, and these into parts.

    Every part of an object has the same size, but for the last: Cloudflare R2 completes no other upload
    (https://developers.cloudflare.com/r2/objects/multipart-objects/#limitations).
    """

    part: int = 8 << 20
    parts: int = 8 << 10
    """Of an object, at most: with parts of 8 MiB it has 64 GiB."""

    @property
    def object(self) -> int:
        """The bytes of an object that is full."""
        return self.part * self.parts


SIZES = Sizes()


@dataclass(frozen=True)
class Part:
    """One part; `data` is shared by all destinations, so it is never changed."""

    number: int
    """From 1."""
    data: bytes
    sha256: bytes
    last: bool


@dataclass(frozen=True)
class StoredBytes:
    """The stored bytes of one object."""

    size: int
    sha256: str
    s3_checksum: str
    """What S3 reports as ChecksumSHA256 of the object, in base64: of the whole object when it is one part,
    else of its parts' checksums, then `-` and their number."""


def constant(size: int) -> Callable[[int], int]:
    """Parts of one size."""
    return lambda number: size


def grown(number: int) -> int:
    """Bytes of part `number` as 0.1 cut an object, which held a whole artifact: so it is copied.

    Parts had 8 MiB up to 8 GiB, then they grew so that 5 TiB fit into 10,000.
    """
    if number <= _LEVEL_PARTS:
        return SIZES.part
    return -(-int(SIZES.part * _GROWTH ** (number - _LEVEL_PARTS)) // _ROUND) * _ROUND


class PartCutter:
    """Collects stored bytes and gives them back as parts.

    A full part is held until a byte follows it, so that the last part is known to be the last.
    """

    def __init__(self, size_of: Callable[[int], int]) -> None:
        """`size_of` gives the bytes of a part by its number, which counts from 1."""
        self._size_of = size_of
        self._chunks: list[bytes | memoryview] = []
        self._room = size_of(1)
        self._size = 0
        self._whole = hashlib.sha256()
        self._count = 0
        self._last = b""
        self._composite = hashlib.sha256()
        """Of the digests of all parts: kept themselves, they would grow with the artifact."""

    @property
    def added(self) -> tuple[int, str]:
        """Bytes taken so far, and their SHA-256."""
        return self._size, self._whole.hexdigest()

    def add(self, data: bytes | memoryview) -> list[Part]:
        """Take `data`; the parts that became complete."""
        self._whole.update(data)
        self._size += len(data)
        parts = []
        rest = memoryview(data)
        while rest:
            if not self._room:
                parts.append(self._cut(last=False))
            self._chunks.append(rest[: self._room])
            rest = rest[self._room :]
            self._room -= len(self._chunks[-1])
        return parts

    def finish(self) -> Part:
        """The last part."""
        return self._cut(last=True)

    def stored(self) -> StoredBytes:
        """All that was added, once it is finished."""
        if self._count == 1:
            checksum = base64.b64encode(self._last).decode()
        else:
            checksum = f"{base64.b64encode(self._composite.digest()).decode()}-{self._count}"
        return StoredBytes(self._size, self._whole.hexdigest(), checksum)

    def _cut(self, *, last: bool) -> Part:
        data, self._chunks = b"".join(self._chunks), []
        # A small object is hashed once.
        is_whole = last and not self._count
        self._last = self._whole.digest() if is_whole else hashlib.sha256(data).digest()
        self._composite.update(self._last)
        self._count += 1
        self._room = self._size_of(self._count + 1)
        return Part(self._count, data, self._last, last)
