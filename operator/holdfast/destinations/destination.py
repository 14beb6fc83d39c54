"""What both planes ask of a kind of destination; light, it loads nothing that talks to a store."""

from abc import abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import Matches, Model
from holdfast.mounts import ClaimMount, ConfigMapMount, SecretMount

Path = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$", min_length=1, max_length=512),
]

Endpoint = Annotated[
    str,
    Field(max_length=512),
    Matches(
        (
            r"^https?://[^/?#\s]+/?$",
            "must begin with http:// or https:// and have no path, such as https://s3.example.com",
        )
    ),
]
"""The URL of a store, without a path."""


def same_host(endpoint: str | None) -> str | None:
    """One form of all that is typed for a store: a host has no case, and the last slash is no path."""
    return None if endpoint is None else endpoint.rstrip("/").lower()


def no_dots(field: str) -> tuple[str, str]:
    """The rule that an optional Path does not lead out of its folder."""
    return (
        f"!has(self.{field}) || !self.{field}.matches('(^|/)[.][.]?(/|$)')",
        f"{field} must not contain . or .. as a part of the path",
    )


class DestinationSpec(Model):
    """One kind's section of a destination. Its data plane is found by name, inside a Job only."""

    is_built: ClassVar[bool] = True
    """False: the contract describes the kind, and nothing of it is built yet."""
    later_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that version 0.1.0 did not have: a digest of places has them if they are not the default."""
    place_fields: ClassVar[tuple[str, ...]]
    """The fields that `identity` consists of, as the user writes them."""
    access_fields: ClassVar[tuple[str, ...]] = ()
    """The fields that name Secrets and ConfigMaps."""

    @abstractmethod
    def uri(self, key: str) -> str:
        """How people name the object of a key, which is relative to the prefix."""

    @abstractmethod
    def identity(self) -> tuple[str | None, ...]:
        """What tells one place of this kind from another: no names of Secrets, nothing of how it is used."""

    def place_text(self) -> str:
        """How people name the place."""
        return self.uri("").rstrip("/")

    def mounts(self) -> tuple[SecretMount | ConfigMapMount | ClaimMount, ...]:
        """What the pod of a Job mounts to reach it, below the destination's own folder."""
        return ()

    @property
    def thaw_seconds(self) -> int:
        """How much longer a restore may take because objects have to be thawed before they can be read."""
        return 0
