"""A destination: where copies of a policy's backups are stored."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import DnsLabel, Duration, Model, ObjectName, Quantity, SecretRef

Path = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$", min_length=1, max_length=512),
]


class ObjectLock(Model):
    """WORM protection: stored objects cannot be changed or deleted for a time."""

    mode: Literal["Governance", "Compliance"]
    retain: Duration


class S3(Model):
    """A bucket of an S3-compatible object store."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=63)]
    prefix: Path | None = Field(default=None, description="No leading or trailing slash, no `..`.")
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+/?$", max_length=512)] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] = "us-east-1"
    credentials_secret: SecretRef | None = Field(
        default=None,
        description="Keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
        "without it the service account's workload identity is used.",
    )
    ca_secret: SecretRef | None = Field(default=None, description="Key ca.crt: the CA of the endpoint.")
    storage_class: Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", max_length=64)] | None = None
    object_lock: ObjectLock | None = None

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.prefix) || !self.prefix.split('/').exists(p, p == '.' || p == '..')",
         "prefix must not contain . or .. as a part of the path"),
    )  # fmt: skip


class Volume(Model):
    """A PersistentVolumeClaim in the same namespace."""

    claim_name: ObjectName
    path: Path | None = None

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("!has(self.path) || !self.path.split('/').exists(p, p == '.' || p == '..')",
         "path must not contain . or .. as a part of the path"),
    )  # fmt: skip


class Location(Model):
    """A place that holds backups: a bucket or a volume."""

    exactly_one: ClassVar[tuple[str, ...]] = ("s3", "volume")

    s3: S3 | None = None
    volume: Volume | None = None


class Quota(Model):
    """How much a destination may hold before a warning and before runs are refused."""

    size: Quantity
    warn_at_percent: Annotated[int, Field(ge=1, le=100)] = 80


class Retention(Model):
    """Which runs are kept; the union of all rules. Without any rule everything is kept."""

    keep_last: Annotated[int, Field(ge=0, le=10000)] | None = None
    keep_hourly: Annotated[int, Field(ge=0, le=10000)] | None = None
    keep_daily: Annotated[int, Field(ge=0, le=10000)] | None = None
    keep_weekly: Annotated[int, Field(ge=0, le=10000)] | None = None
    keep_monthly: Annotated[int, Field(ge=0, le=10000)] | None = None
    keep_yearly: Annotated[int, Field(ge=0, le=10000)] | None = None
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    dry_run: bool = False


class Destination(Location):
    """A named location that every run of the policy is copied to."""

    name: DnsLabel
    required: bool = Field(
        default=True, description="A failure here fails the run; otherwise it is PartiallySucceeded."
    )
    quota: Quota | None = None
    retention: Retention | None = Field(default=None, description="Replaces the policy's retention here.")
