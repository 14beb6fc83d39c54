"""What a policy and a restore request say of a Redis server."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import AddressOverride, MutualTls, SecretRef, ServerAddress, listening_on

PORT = 6379


@listening_on(PORT)
class RedisTarget(ServerAddress):
    """A Redis server, version 6.2 or later."""

    credentials_secret: SecretRef | None = Field(
        default=None,
        description="A Secret with the key `password`. For an ACL user it also has the key `username`.",
    )
    tls: MutualTls | None = Field(
        default=None, description=("Encrypts the connection. Default: an unencrypted connection.")
    )
    prefer_replica: bool = Field(
        default=True,
        description="Read from a replica that the server lists as connected, if one has caught up. Otherwise "
        "read from the primary.",
    )


@listening_on(PORT)
class RedisRestore(AddressOverride):
    """Where a Redis target is restored to, and which part of it."""

    credentials_secret: SecretRef | None = Field(
        default=None,
        description=(
            "A Secret with the key `password`. For an ACL user it also has the key `username`. Default: the "
            "policy's."
        ),
    )
    tls: MutualTls | None = Field(default=None, description="Encrypts the connection. Default: the policy's.")
    databases: Annotated[tuple[Annotated[int, Field(ge=0, le=65535)], ...], Field(max_length=100)] | None = (
        Field(default=None, description="Restore only the databases with these numbers.")
    )
    key_prefix: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        default=None, description="Only keys with this prefix."
    )
