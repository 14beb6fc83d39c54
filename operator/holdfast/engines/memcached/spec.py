"""What a policy and a restore request say of a Memcached server."""

from pydantic import Field

from holdfast.api.base import AddressOverride, CredentialsSecret, MutualTls, ServerAddress, listening_on

PORT = 11211


@listening_on(PORT)
class MemcachedTarget(ServerAddress):
    """Not built yet: a policy with such a target is not ready. A Memcached server."""

    credentials_secret: CredentialsSecret | None = None
    tls: MutualTls | None = Field(
        default=None, description="Encrypts the connection. Default: an unencrypted connection."
    )


@listening_on(PORT)
class MemcachedRestore(AddressOverride):
    """Not built yet: a request with such a target is refused. Where a Memcached target is restored to."""

    credentials_secret: CredentialsSecret | None = None
    """A Secret with the name and the password of a user. Default: the policy's."""
    tls: MutualTls | None = Field(default=None, description="Encrypts the connection. Default: the policy's.")
