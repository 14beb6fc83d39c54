"""What a policy and a restore request say of a PostgreSQL server."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import (
    Addressed,
    AddressOverride,
    Duration,
    Model,
    ObjectName,
    SecretKey,
    SecretRef,
    at_most_one,
)

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
    """How the connection is encrypted and the server verified, in libpq's terms."""

    mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "verify-full"
    """libpq's sslmode: verify-full checks certificate and host name, require encrypts and checks nothing."""
    ca_secret: SecretRef | None = Field(default=None, description="Key ca.crt.")


class Standby(Addressed):
    """A streaming standby to read from, so that the primary is left alone."""

    max_lag: Duration = Duration("5m")
    """How far behind the primary the standby may be, such as `5m`."""
    fallback_to_primary: bool = Field(
        default=True, description="Read from the primary when the standby is away or lags more than maxLag."
    )


class WalArchiving(Model):
    """Continuous archiving of the write-ahead log."""

    enabled: bool = True
    """Whether the log is archived."""
    max_lag: Duration = Duration("10s")
    """How old the newest change that is not archived yet may get, such as `10s`."""


class PostgresTarget(Addressed):
    """A PostgreSQL server, reached by a Service of the namespace or a host outside."""

    standby: Standby | None = None
    credentials_secret: CredentialsSecret
    tls: PostgresTls | None = Field(
        default=None, description="How the connection is encrypted; without it as libpq's `prefer` does."
    )
    major_version: Annotated[int, Field(ge=13, le=18)] = Field(
        default=17,
        description="The major version of PostgreSQL's programs in the Job; the server must not be newer.",
    )
    databases: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="Names of databases; none: every one that accepts connections and is no template.",
    )
    method: Literal["Logical", "Physical", "SchemaOnly"] = "Logical"
    """Logical dumps each database, Physical copies the whole cluster, SchemaOnly leaves the rows out."""
    wal_archiving: WalArchiving | None = None

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.walArchiving) || !self.walArchiving.enabled || self.method == 'Physical'",
         "walArchiving needs method: Physical"),
    )  # fmt: skip


class VolumeClaim(Model):
    """A PersistentVolumeClaim that a physical backup is laid down on."""

    claim_name: ObjectName
    """The claim's name."""


class PostgresRestore(AddressOverride):
    """Where a PostgreSQL target is restored to, and what of it."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = at_most_one("service", "host", "volumeClaim")

    volume_claim: VolumeClaim | None = None
    credentials_secret: CredentialsSecret | None = None
    tls: PostgresTls | None = None
    rename: Annotated[dict[Identifier, Identifier], Field(max_length=100)] | None = Field(
        default=None, description="From a database's name in the backup to its name here."
    )
    include: (
        Annotated[tuple[Annotated[str, Field(min_length=1, max_length=127)], ...], Field(max_length=100)]
        | None
    ) = Field(default=None, description="Only these tables, as schema.table.")
