"""What a policy and a restore request say of a Redis server."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Addressed, AddressOverride, SecretRef, Tls


class RedisTarget(Addressed):
    """A Redis server, version 6.2 or later."""

    credentials_secret: SecretRef | None = Field(
        default=None, description="Key password, and username where an ACL user is used."
    )
    tls: Tls | None = Field(default=None, description="Without it plain TCP is spoken.")
    prefer_replica: bool = Field(
        default=True, description="Read from a connected replica that the server names, when one answers."
    )


class RedisRestore(AddressOverride):
    """Where a Redis target is restored to, and what of it."""

    credentials_secret: SecretRef | None = Field(
        default=None,
        description="Instead of the policy's: key password, and username where an ACL user is used.",
    )
    tls: Tls | None = Field(default=None, description="Instead of the policy's.")
    databases: Annotated[tuple[Annotated[int, Field(ge=0, le=65535)], ...], Field(max_length=100)] | None = (
        Field(default=None, description="Only these databases, by number.")
    )
    key_prefix: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None, description="Only keys that begin so."
    )
