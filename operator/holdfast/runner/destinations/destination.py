"""What the data plane asks of a kind of destination."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Protocol

from holdfast.api.destination import Destination as Specification
from holdfast.api.profile import DestinationProfile
from holdfast.engines.transfer import DestinationError, MismatchError
from holdfast.runner.destinations.outage import Patience
from holdfast.runner.destinations.parts import Part, StoredBytes

READ_BYTES = 1 << 20
_UNKNOWN = datetime.min.replace(tzinfo=UTC)


class LockedError(DestinationError):
    """The store refuses to delete an object until its lock has ended."""


@dataclass(frozen=True)
class Version:
    """One stored version of an object; where nothing is versioned, the object."""

    key: str
    id: str | None = None
    marker: bool = False
    """Whether it holds nothing, and only hides the versions before it."""
    written: datetime = _UNKNOWN


@dataclass(frozen=True)
class ArchiveState:
    """An object of a storage class that has to be thawed before it can be read, and is not."""

    storage_class: str
    thawing: bool
    """Whether that was asked for already."""


class Readable(Protocol):
    """The stored bytes of an object."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end. Raises DestinationError."""


class Upload(ABC):
    """One object on its way into one destination; nothing of it shows before `complete`."""

    @abstractmethod
    def put(self, part: Part) -> None:
        """Take one part. Called by as many threads at once as the destination has `workers`.

        One worker puts the parts in their order; of several any may be the first.
        """

    @abstractmethod
    def complete(self) -> None:
        """Make the object visible, once every part is there."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing of it, also after `complete`. Raises what a destination may raise."""


class Destination(ABC):
    """One destination. Every key is relative to its prefix. Every method may raise DestinationError."""

    workers: ClassVar[int] = 1
    """How many parts of one object it takes at once."""
    retain_until: datetime | None = None
    """Until when everything is locked that is written by this process; None: nothing is."""

    def __init__(self, specification: Specification, prefix: str | None) -> None:
        self.name = specification.name
        self.required = specification.required
        self.patience = Patience(self.name, required=self.required)
        self._spec = specification.spec
        self._prefix = f"{prefix}/" if prefix else ""

    def check(self) -> None:
        """See that what the policy asks of it can be had here. Raises DestinationWrongError."""
        return

    def uri(self, key: str) -> str:
        """How people name the object."""
        return self._spec.uri(key)

    @abstractmethod
    def upload(self, key: str) -> Upload:
        """Begin an object."""

    @abstractmethod
    def create(self, key: str, data: bytes, *, transient: bool = False) -> bool:
        """Write a small object unless one is there; False when one is.

        `transient`: it is deleted soon, so it is neither locked nor put into the destination's storage class.
        """

    def profile(self, key: str) -> DestinationProfile | None:
        """What the store can do, found by writing over the object of a probe. None: it has no profile."""
        return None

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """A small object, None when it is not there."""

    @abstractmethod
    def open(self, key: str) -> AbstractContextManager[Readable]:
        """The bytes of an object. Raises MismatchError when it is not there."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of an object, None when it is not there."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[str]:
        """Every key that begins with `prefix`, in no order, temporary ones of killed writers too."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Delete an object; it is no error when it is not there."""

    @abstractmethod
    def abort_uploads(self, prefix: str) -> int:
        """Abort every unfinished upload whose key begins with `prefix`; returns their number."""

    def versions(self, prefix: str) -> Iterator[Version]:
        """Everything stored under keys that begin with `prefix`, hidden or not, in no order."""
        return (Version(key) for key in self.list(prefix))

    def versions_of(self, key: str) -> tuple[Version, ...]:
        """Everything stored under this very key."""
        return tuple(version for version in self.versions(key) if version.key == key)

    def erase(self, version: Version) -> None:
        """Delete one version for good; no error when it is not there. Raises LockedError."""
        self.delete(version.key)

    def lock(self, version: Version) -> str | None:
        """Why the store would refuse to erase it, as far as it says so beforehand."""
        return None

    def verify_lock(self, key: str, until: datetime | None) -> None:
        """Read back that the object is locked as the policy asks, and until `until` at least.

        None: until some time to come. Raises DestinationWrongError, and MismatchError when it is not there.
        """
        return

    def archived(self, key: str) -> ArchiveState | None:
        """How the object stands in an archive; None when it can be read at once, or is not there."""
        return None

    def thaw(self, key: str) -> None:
        """Have an archived object made readable; no error when that is under way."""
        raise NotImplementedError

    def verify(self, key: str, stored: StoredBytes) -> None:
        """Find out that the object is what was stored. Raises MismatchError, which names it."""
        self.read_back(key, stored)

    def read_back(
        self, key: str, stored: StoredBytes, count: Callable[[int], None] = lambda size: None
    ) -> None:
        """The same by reading every byte; `count` gets how many as they come."""
        self.verify_size(key, stored.size)
        digest = hashlib.sha256()
        with self.open(key) as stream:
            while block := stream.read(READ_BYTES):
                digest.update(block)
                count(len(block))
        if digest.hexdigest() != stored.sha256:
            raise self.mismatch(key, f"its SHA-256 is {digest.hexdigest()}, not {stored.sha256}")

    def verify_size(self, key: str, size: int) -> None:
        """Check that the object is there and has `size` bytes. Raises MismatchError."""
        size_there = self.size(key)
        if size_there is None:
            raise self.mismatch(key, "it is not there")
        if size_there != size:
            raise self.mismatch(key, f"it has {size_there} bytes, not {size}")

    def mismatch(self, key: str, what: str) -> MismatchError:
        """The error that says what is wrong with an object."""
        return MismatchError(
            "ChecksumMismatch", f"destination {self.name}: {self.uri(key)} is not what was stored: {what}"
        )
