"""What Tasks and Results of several kinds say of stored runs."""

from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, Field

from holdfast.api.base import Model
from holdfast.api.destination import Destination
from holdfast.layout import RESERVED

ListedRunName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]
"""A name in a list of runs. A reserved one is refused where it is used: it must not fail the whole Task."""


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise ValueError(f"{name} is not a run: another folder of the policy has this name")
    return name


RunName = Annotated[ListedRunName, AfterValidator(_not_reserved)]
"""The name of the run that a Task or a line is about."""


class CommittedTarget(Model):
    """A target whose manifest the Job must find in every destination named."""

    name: str
    engine: str
    manifest_sha256: str
    destinations: tuple[str, ...]


class StoredRun(Model):
    """A run in one destination; `path` is `<namespace>/<policy>/<run>`, below the destination's prefix."""

    destination: Destination
    path: str


class ListedArtifact(Protocol):
    """An artifact as the entry of a run lists it."""

    @property
    def name(self) -> str:
        """Its path below the target's folder."""

    @property
    def size_bytes(self) -> int:
        """Of the stored bytes."""

    @property
    def sha256(self) -> str:
        """Of the stored bytes."""


class StoredArtifact(Model):
    """One stored object of a target, the same bytes in every destination."""

    name: str
    """Its path below the target's folder: `<attempt>/<artifact>.zst[.age]`."""
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, artifact: ListedArtifact) -> "StoredArtifact":
        """An artifact as an entry lists it."""
        return cls(name=artifact.name, size_bytes=artifact.size_bytes, sha256=artifact.sha256)


class ListedTarget(Model):
    """A target of a stored run."""

    name: str
    engine: str
    spec: dict[str, Any]
    recipients: tuple[str, ...] = ()
    """Those that it is encrypted to; none: it is not."""
