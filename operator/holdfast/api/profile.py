"""What the store of a destination can do, as a survey finds it and as a policy's status says it."""

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.meta import LenientModel


class DestinationProfile(LenientModel):
    """What the store of a destination can do, as the last survey found. A volume has no profile."""

    conditional_writes: bool | None = None
    """Whether the store refuses to write over an object if it is asked to. If it does not, two clusters that
    write the same policy at the same moment may replace each other's manifests."""
    checksums: bool | None = None
    """Whether the store keeps the SHA-256 that it is sent. If not, each commit reads everything back."""
    part_sizes: Annotated[str, Field(max_length=63)] | None = None
    """Which sizes the parts of an upload have. Holdfast uses one size, which every store takes."""
    addressing_style: Literal["Path", "Virtual"] | None = None
    """Where the bucket's name is in a URL."""
    versions: Annotated[str, Field(max_length=63)] | None = None
    """Whether the bucket keeps former versions of objects: Enabled, Suspended or Off. Absent: the store does
    not say it."""
    lock: bool | None = None
    """Whether the bucket has object lock enabled. Absent: the store does not say it."""
