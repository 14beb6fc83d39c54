"""What a policy and a restore request say of a Redis server."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Addressed, Model, SecretRef


class Tls(Model):
    """Encrypt the connection and verify the server; without it plain TCP is spoken."""

    ca_secret: SecretRef | None = Field(default=None, description="Key ca.crt.")


class RedisTarget(Addressed):
    """A Redis server, version 6.2 or later."""

    credentials_secret: SecretRef | None = Field(
        default=None, description="Key password, and username where an ACL user is used."
    )
    tls: Tls | None = Field(default=None, description="Without it plain TCP is spoken.")
    prefer_replica: bool = Field(
        default=True, description="Read from a connected replica that the server names, when one answers."
    )


class RedisRestore(Addressed):
    """Where a Redis target is restored to, and what of it."""

    exactly_one = ()
    rules = (
        (
            "[has(self.service), has(self.host)].filter(x, x).size() <= 1",
            "at most one of service, host may be set",
        ),
    )

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
