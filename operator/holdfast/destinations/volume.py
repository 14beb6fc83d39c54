"""What a policy and a restore request say of a volume."""

from typing import ClassVar

from holdfast.api.base import ObjectName
from holdfast.destinations.destination import DestinationSpec, Path, no_dots
from holdfast.mounts import ClaimMount

VOLUME = "volume"
"""The folder that the volume is mounted at."""


class Volume(DestinationSpec):
    """A PersistentVolumeClaim in the same namespace."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (no_dots("path"),)
    later_fields: ClassVar[tuple[str, ...]] = ("allow_mounted",)
    place_fields: ClassVar[tuple[str, ...]] = ("claimName", "path")

    claim_name: ObjectName
    """The claim's name."""
    path: Path | None = None
    """The folder on the volume, without a slash at either end and without `..`."""
    allow_mounted: bool = False
    """Whether Holdfast may write on the volume while a pod that is not its own mounts the claim. False
    protects the volume of an application, such as a database, from a wrong claimName."""

    def uri(self, key: str) -> str:
        return "/".join(part for part in (f"pvc://{self.claim_name}", self.path) if part) + f"/{key}"

    def identity(self) -> tuple[str | None, ...]:
        return self.claim_name, self.path

    def mounts(self) -> tuple[ClaimMount, ...]:
        return (ClaimMount(VOLUME, self.claim_name, self.allow_mounted),)
