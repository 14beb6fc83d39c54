"""What a policy and a restore request say of a PostgreSQL server."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import (
    ONE_CA,
    AddressOverride,
    ConfigMapRef,
    CredentialsSecret,
    Duration,
    Model,
    NumericId,
    ObjectName,
    Quantity,
    SecretRef,
    ServerAddress,
    at_most_one,
    listening_on,
)

PORT = 5432

Identifier = Annotated[str, Field(min_length=1, max_length=63)]
"""A PostgreSQL identifier, unquoted: https://www.postgresql.org/docs/current/sql-syntax-lexical.html"""


_PART = r'([*]|[^.*"]{1,63}|"([^"]|""){1,126}")'
TablePattern = Annotated[str, Field(pattern=rf"^{_PART}[.]{_PART}[.]{_PART}$", max_length=400)]
"""Tables, as database.schema.table: * stands for a whole part, a part with a dot or a star is quoted."""


class PostgresTls(Model):
    """How the connection is encrypted and how the server's certificate is checked. The values are libpq's."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = ONE_CA

    mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "verify-full"
    """The sslmode of libpq. verify-full checks certificate and host name. require encrypts the connection,
    and checks a certificate only if caSecret or caConfigMap is set."""
    ca_secret: SecretRef | None = Field(
        default=None,
        description=("A Secret with the key ca.crt: the CA that signed the server's certificate."),
    )
    ca_config_map: ConfigMapRef | None = Field(
        default=None,
        description="A ConfigMap with the key ca.crt, in place of caSecret.",
    )
    client_cert_secret: SecretRef | None = Field(
        default=None,
        description="A Secret with the keys tls.crt and tls.key: the client's certificate.",
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

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.onRetainedWALExceeded != 'DropSlot' || has(self.maxRetainedWAL)",
         "onRetainedWALExceeded: DropSlot needs maxRetainedWAL"),
    )  # fmt: skip

    enabled: bool = True
    """Whether the log is archived."""
    max_lag: Duration = Duration("2s")
    """How long a change may wait before it is archived, such as `2s`."""
    max_retained_wal: Quantity | None = Field(
        default=None,
        alias="maxRetainedWAL",
        description="How much of the log the server may keep for the archive, such as `10Gi`. Default: "
        "without a limit.",
    )
    on_retained_wal_exceeded: Literal["Warn", "DropSlot"] = Field(
        default="Warn",
        alias="onRetainedWALExceeded",
        description="What happens if the server keeps more than maxRetainedWAL. Warn: a condition says so. "
        "DropSlot: the replication slot is dropped, so that the server's disk does not fill, and the archive "
        "has a gap.",
    )


class Incremental(Model):
    """Not built yet: a policy with this section is not ready. Physical backups that hold only what changed
    since the one before."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.fullEvery.matches('[1-9]')", "fullEvery must be longer than zero"),
    )

    full_every: Duration = Duration("7d")
    """The longest time from one full backup to the next, such as `7d`."""


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
    major_version: Annotated[int, Field(ge=13, le=19)] = Field(
        default=17,
        description="The major version of PostgreSQL's programs in the Job. The server must not be newer. "
        "Not built yet: 19.",
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
    incremental: Incremental | None = None
    passwords: Literal["Auto", "Include", "Exclude"] = "Auto"
    """Whether the verifiers of the roles' passwords are backed up. Auto: if the backup is encrypted and
    credentialsSecret's role may read them. Include: always; the policy must have the section encryption, and
    a role that may not read them fails the backup. Exclude: never."""
    parallelism: Annotated[int, Field(ge=1, le=64)] = 1
    """Not built yet: more than 1. How many tables are read at once, in one snapshot."""
    include: Annotated[tuple[TablePattern, ...], Field(min_length=1, max_length=100)] | None = None
    """Not built yet. Only these tables, as database.schema.table; `*` stands for a whole part. A part with a
    dot or a star is in double quotes. Default: all tables."""
    exclude: Annotated[tuple[TablePattern, ...], Field(max_length=100)] = ()
    """Not built yet. Tables that are left out, in the form of include."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.walArchiving) || !self.walArchiving.enabled || self.method == 'Physical'",
         "walArchiving needs method: Physical"),
        ("!has(self.incremental) || (self.method == 'Physical' && self.majorVersion >= 17)",
         "incremental needs method: Physical and majorVersion 17 or later"),
        ("self.method != 'Physical' || !(has(self.include) || has(self.exclude))",
         "include and exclude are not possible with method: Physical, which copies the whole server"),
    )  # fmt: skip
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "major_version": (19,),
        "method": ("Physical", "SchemaOnly"),
        "wal_archiving": (),
        "incremental": (),
        "parallelism": (),
        "include": (),
        "exclude": (),
    }


class VolumeClaim(Model):
    """Not built yet: a request with this section is refused. A PersistentVolumeClaim that a physical backup
    is restored to."""

    claim_name: ObjectName
    """The claim's name."""


class RecoveryTarget(Model):
    """Not built yet: a request with this section is refused. Where the replay of the log stops."""

    exactly_one: ClassVar[tuple[str, ...]] = ("name", "lsn")

    name: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """A restore point that pg_create_restore_point made."""
    lsn: Annotated[str, Field(pattern=r"^[0-9A-F]{1,8}/[0-9A-F]{1,8}$", max_length=17)] | None = None
    """A position in the log, such as `0/3000060`."""


@listening_on(PORT)
class PostgresRestore(AddressOverride):
    """Where a PostgreSQL target is restored to, and which part of it."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        *at_most_one("service", "host", "volumeClaim"),
        ("!has(self.runAsUser) || has(self.volumeClaim)", "runAsUser needs volumeClaim"),
    )
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "volume_claim": (),
        "include": (),
        "recovery_target": (),
        "placement": (),
        "run_as_user": (),
    }

    volume_claim: VolumeClaim | None = None
    credentials_secret: CredentialsSecret | None = Field(
        default=None,
        description=(
            "A Secret with a role's name and password. The role must be allowed to create databases and, "
            "unless ownership is Skip, roles. Default: the policy's."
        ),
    )
    tls: PostgresTls | None = Field(
        default=None, description="How the connection is encrypted. Default: the policy's."
    )
    rename: Annotated[dict[Identifier, Identifier], Field(max_length=100)] | None = Field(
        default=None,
        description="New names of databases: from the name in the backup to the name in the restore.",
    )
    include: Annotated[tuple[TablePattern, ...], Field(min_length=1, max_length=100)] | None = None
    """Not built yet: a request with this field is refused. Only these tables, as database.schema.table; `*`
    stands for a whole part. A part with a dot or a star is in double quotes."""
    recovery_target: RecoveryTarget | None = None
    ownership: Literal["Keep", "Skip"] = "Keep"
    """Keep: objects get the owners and rights that they had, and roles that are missing are made. Skip: the
    role that restores owns everything, and no roles, rights and settings of databases are restored."""
    placement: Literal["Replace", "Beside"] | None = None
    """Not built yet: a request with this field is refused. With mode InPlace. Replace, the default: the
    restored databases take the place of the existing ones. Beside: they stay beside them under their staged
    names, until `promote` says what happens."""
    run_as_user: NumericId | None = None
    """Not built yet: a request with this field is refused. With volumeClaim: the number of the user that owns
    the restored files."""
