"""A destination: where copies of a policy's backups are stored."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import DnsLabel, Duration, Model, ObjectName, Quantity, SecretRef

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes whose objects have to be thawed, for hours, before they can be read."""

Path = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$", min_length=1, max_length=512),
]


class ObjectLock(Model):
    """WORM protection: stored objects cannot be changed or deleted for a time."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.retain.matches('[1-9]')", "retain must be longer than zero"),
    )

    mode: Literal["Governance", "Compliance"]
    """Governance can be lifted by whoever has the right to, Compliance by nobody."""
    retain: Duration
    """For how long after the attempt that stores it began an object cannot be deleted, such as `30d`."""


def _no_dots(field: str) -> tuple[str, str]:
    return (
        f"!has(self.{field}) || !self.{field}.matches('(^|/)[.][.]?(/|$)')",
        f"{field} must not contain . or .. as a part of the path",
    )


class S3(Model):
    """A bucket of an S3-compatible object store."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (_no_dots("prefix"),)

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=63)]
    """The bucket's name; it must exist."""
    prefix: Path | None = None
    """The folder in the bucket: no leading or trailing slash, no `..`."""
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/?#\s]+/?$", max_length=512)] | None = None
    """The address of the object store, such as `https://s3.example.com`; none is Amazon's for the region."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] = "us-east-1"
    """The bucket's region."""
    credentials_secret: SecretRef | None = None
    """A Secret with keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; none uses workload identity."""
    ca_secret: SecretRef | None = None
    """The Secret whose key ca.crt is the CA of the endpoint's certificate."""
    storage_class: Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", max_length=64)] | None = None
    """The storage class of the artifacts, such as STANDARD_IA; GLACIER and DEEP_ARCHIVE have to be thawed."""
    object_lock: ObjectLock | None = None
    """Protection from deletion; the bucket must have object lock enabled. Without effect on a restore."""


class Volume(Model):
    """A PersistentVolumeClaim in the same namespace."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (_no_dots("path"),)

    claim_name: ObjectName
    """The claim's name."""
    path: Path | None = None
    """The folder on the volume: no leading or trailing slash, no `..`."""


class Location(Model):
    """A place that holds backups: a bucket or a volume."""

    exactly_one: ClassVar[tuple[str, ...]] = ("s3", "volume")

    s3: S3 | None = None
    """A bucket of an S3-compatible object store."""
    volume: Volume | None = None
    """A PersistentVolumeClaim in the same namespace."""


class Quota(Model):
    """How much a policy may store in a destination before a warning, and before nothing is added."""

    size: Quantity
    """Bytes from which on no run is written there, such as `500Gi`."""
    warn_at_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Percent of the size from which on there is a warning."""


_Keep = Annotated[int, Field(ge=0, le=10000)]


class Retention(Model):
    """Which runs are kept; the union of all rules. Without a number above 0 everything is kept."""

    keep_last: _Keep | None = None
    """How many of the newest runs are kept."""
    keep_hourly: _Keep | None = None
    """For how many hours the newest run of each is kept."""
    keep_daily: _Keep | None = None
    """For how many days the newest run of each is kept."""
    keep_weekly: _Keep | None = None
    """For how many weeks the newest run of each is kept."""
    keep_monthly: _Keep | None = None
    """For how many months the newest run of each is kept."""
    keep_yearly: _Keep | None = None
    """For how many years the newest run of each is kept."""
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest verified runs are kept whatever the other rules say; one always is."""
    dry_run: bool = False
    """While true the plan is shown in the status, and nothing is deleted."""


class Destination(Location):
    """A named location that every run of the policy is copied to."""

    name: DnsLabel
    """Unique among the destinations."""
    required: bool = True
    """Whether a failure here fails the run; otherwise it is PartiallySucceeded, and healed by a later run."""
    quota: Quota | None = None
    """How much may be stored here."""
    retention: Retention | None = None
    """Which runs are kept here; replaces the policy's retention."""
