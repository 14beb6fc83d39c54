"""What a policy and a restore request say of a MySQL or MariaDB server."""

from typing import Annotated, Literal

from pydantic import Field

from holdfast.api.base import (
    AddressOverride,
    CredentialsSecret,
    Duration,
    MutualTls,
    ServerAddress,
    listening_on,
)

PORT = 3306

Identifier = Annotated[str, Field(min_length=1, max_length=64)]
"""The name of a database: https://dev.mysql.com/doc/refman/8.4/en/identifier-length.html"""


@listening_on(PORT)
class Replica(ServerAddress):
    """A replica that is read instead of the primary."""

    max_lag: Duration = Duration("5m")
    """How far the replica may be behind the primary, such as `5m`."""
    fallback_to_primary: bool = True
    """Whether the primary is read if the replica does not answer or is more than maxLag behind."""


@listening_on(PORT)
class MysqlTarget(ServerAddress):
    """Not built yet: a policy with such a target is not ready. A MySQL or MariaDB server."""

    variant: Literal["MariaDB", "MySQL"] | None = None
    """Whose server it is. Default: what the server says."""
    version: Annotated[str, Field(pattern=r"^[0-9]+([.][0-9]+){0,2}$", max_length=16)] | None = None
    """The version of the programs in the Job, such as `10.11`. Default: what the server says."""
    replica: Replica | None = None
    credentials_secret: CredentialsSecret | None = None
    tls: MutualTls | None = Field(
        default=None, description="Encrypts the connection. Default: an unencrypted connection."
    )
    databases: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=100)] | None = None
    """The names of the databases. Default: every database."""


@listening_on(PORT)
class MysqlRestore(AddressOverride):
    """Not built yet: a request with such a target is refused. Where a MySQL target is restored to."""

    credentials_secret: CredentialsSecret | None = None
    """A Secret with the name and the password of a user. Default: the policy's."""
    tls: MutualTls | None = Field(default=None, description="Encrypts the connection. Default: the policy's.")
    rename: Annotated[dict[Identifier, Identifier], Field(max_length=100)] | None = None
    """New names of databases: from the name in the backup to the name in the restore."""
