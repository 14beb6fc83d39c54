"""What Tasks and Results of several kinds say of stored runs."""

from typing import Annotated, Any

from pydantic import Field

from holdfast.api.base import Model
from holdfast.api.destination import Destination

RunName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]


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


class StoredArtifact(Model):
    """One stored object of a target, the same bytes in every destination."""

    name: str
    """Its path below the target's folder: `<attempt>/<artifact>.zst[.age]`."""
    size_bytes: int
    sha256: str


class FoundTarget(Model):
    """A target of a stored run."""

    name: str
    engine: str
    spec: dict[str, Any]
    recipients: tuple[str, ...] = ()
    """Those that it is encrypted to; none: it is not."""
