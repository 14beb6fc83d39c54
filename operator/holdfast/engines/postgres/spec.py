"""What a policy and a restore request say of a PostgreSQL server."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import (
    AddressOverride,
    Duration,
    Model,
    ObjectName,
    SecretKey,
    SecretRef,
    ServerAddress,
    at_most_one,
    listening_on,
)

PORT = 5432

Identifier = Annotated[str, Field(min_length=1, max_length=63)]
"""A PostgreSQL identifier, unquoted: https://www.postgresql.org/docs/current/sql-syntax-lexical.html"""


class CredentialsSecret(SecretRef):
    """A Secret with a role's name and password."""

    username_key: SecretKey = "username"
    """The key that holds the role's name."""
    password_key: SecretKey = "password"  # noqa: S105 the key's name
    """The key that holds the password."""

    @property
    def files(self) -> dict[str, str]:
        """The two keys under the names that the engine reads."""
        return {self.username_key: "username", self.password_key: "password"}


class PostgresTls(Model):
    """How the connection is encrypted and how the server's certificate is checked. The values are libpq's."""

    mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "verify-full"
    """The sslmode of libpq. verify-full checks certificate and host name. require encrypts the connection,
    and checks a certificate only if caSecret is set."""
    ca_secret: SecretRef | None = Field(
        default=None,
        description=("A Secret with the key ca.crt: the CA that signed the server's certificate."),
    )


@listening_on(PORT)
class Standby(ServerAddress):
    """A streaming standby that is read instead of the primary."""

    max_lag: Duration = Duration("5m")
    """How far the standby may be behind the primary, such as `5m`."""
    fallback_to_primary: bool = Field(
        default=True,
        description=("Read from the primary when the standby does not answer or is more than maxLag behind."),
    )


class WalArchiving(Model):
    """Not built yet: a policy with this section is not ready. Continuous archiving of the write-ahead log."""

    enabled: bool = True
    """Whether the log is archived."""
    max_lag: Duration = Duration("10s")
    """How long a change may wait before it is archived, such as `10s`."""


@listening_on(PORT)
class PostgresTarget(ServerAddress):
    """A PostgreSQL server: a Service of the namespace or a host outside of it."""

    standby: Standby | None = None
    credentials_secret: CredentialsSecret
    tls: PostgresTls | None = Field(
        default=None,
        description="How the connection is encrypted. Without this section the sslmode is prefer; with it, "
        "verify-full unless `mode` says another.",
    )
    major_version: Annotated[int, Field(ge=13, le=18)] = Field(
        default=17,
        description="The major version of PostgreSQL's programs in the Job. The server must not be newer.",
    )
    databases: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description=(
            "The names of the databases. Default: every database that accepts connections and is not a "
            "template."
        ),
    )
    method: Literal["Logical", "Physical", "SchemaOnly"] = "Logical"
    """Logical: the Job dumps each database. Physical: the Job copies the files of the whole PostgreSQL
    server. SchemaOnly: the Job dumps each database without its rows. Physical and SchemaOnly are not built
    yet: a policy with them is not ready."""
    wal_archiving: WalArchiving | None = None

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.walArchiving) || !self.walArchiving.enabled || self.method == 'Physical'",
         "walArchiving needs method: Physical"),
    )  # fmt: skip


class VolumeClaim(Model):
    """Not built yet: a request with this section is refused. A PersistentVolumeClaim that a physical backup
    is restored to."""

    claim_name: ObjectName
    """The claim's name."""


@listening_on(PORT)
class PostgresRestore(AddressOverride):
    """Where a PostgreSQL target is restored to, and which part of it."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = at_most_one("service", "host", "volumeClaim")

    volume_claim: VolumeClaim | None = None
    credentials_secret: CredentialsSecret | None = Field(
        default=None,
        description=(
            "A Secret with a role's name and password. The role must be allowed to create databases and "
            "roles. Default: the policy's."
        ),
    )
    tls: PostgresTls | None = Field(
        default=None, description="How the connection is encrypted. Default: the policy's."
    )
    rename: Annotated[dict[Identifier, Identifier], Field(max_length=100)] | None = Field(
        default=None,
        description="New names of databases: from the name in the backup to the name in the restore.",
    )
    include: (
        Annotated[tuple[Annotated[str, Field(min_length=1, max_length=127)], ...], Field(max_length=100)]
        | None
    ) = Field(
        default=None,
        description=(
            "Not built yet: a request with this field is refused. Only these tables, as schema.table."
        ),
    )
