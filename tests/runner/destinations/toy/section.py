"""The toy's section of a destination. A test copies it into the light package of destinations."""

from typing import ClassVar

from holdfast.api.base import ObjectName, SecretRef
from holdfast.destinations.destination import DestinationSpec, Path
from holdfast.mounts import ClaimMount, SecretMount

BOX = "box"
KEY = "key"


class Toy(DestinationSpec):
    """A box on a claim, which a key opens."""

    place_fields: ClassVar[tuple[str, ...]] = ("claim", "shelf")

    claim: ObjectName
    """The claim's name."""
    shelf: Path | None = None
    """The folder of the box."""
    key_secret: SecretRef | None = None
    """The Secret that opens it."""

    def uri(self, key: str) -> str:
        return "/".join(part for part in (f"toy://{self.claim}", self.shelf) if part) + f"/{key}"

    def identity(self) -> tuple[str | None, ...]:
        return self.claim, self.shelf

    def mounts(self) -> tuple[SecretMount | ClaimMount, ...]:
        claim = ClaimMount(BOX, self.claim)
        if self.key_secret is None:
            return (claim,)
        return claim, SecretMount(KEY, self.key_secret.name, {"key": "key"})
