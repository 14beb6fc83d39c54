"""What a policy and a restore request say of a bucket."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import Duration, Model, SecretRef
from holdfast.destinations.destination import DestinationSpec, Path, no_dots
from holdfast.mounts import SecretMount

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes whose objects have to be thawed, for hours, before they can be read."""
CREDENTIALS = "credentials"
"""The folder with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
CA = "ca"
CA_FILE = "ca.crt"
_THAW_SECONDS = 48 * 3600
"""As long as the slowest of the archives thaws."""


class ObjectLock(Model):
    """WORM protection: stored objects cannot be changed or deleted for a time."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.retain.matches('[1-9]')", "retain must be longer than zero"),
    )

    mode: Literal["Governance", "Compliance"]
    """Governance can be lifted by whoever has the right to, Compliance by nobody."""
    retain: Duration
    """For how long after the attempt that stores it began an object cannot be deleted, such as `30d`."""


class S3(DestinationSpec):
    """A bucket of an S3-compatible object store."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (no_dots("prefix"),)

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

    def uri(self, key: str) -> str:
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part) + f"/{key}"

    def identity(self) -> tuple[str | None, ...]:
        return self.endpoint, self.bucket, self.prefix

    def mounts(self) -> tuple[SecretMount, ...]:
        mounts = []
        if self.credentials_secret is not None:
            mounts.append(SecretMount(CREDENTIALS, self.credentials_secret.name))
        if self.ca_secret is not None:
            mounts.append(SecretMount(CA, self.ca_secret.name, {CA_FILE: CA_FILE}))
        return tuple(mounts)

    @property
    def thaw_seconds(self) -> int:
        return _THAW_SECONDS if self.storage_class in ARCHIVES else 0
