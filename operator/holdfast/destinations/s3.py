"""What a policy and a restore request say of a bucket."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import ONE_CA, ConfigMapRef, Duration, Model, SecretRef
from holdfast.destinations.destination import DestinationSpec, Endpoint, Path, no_dots, same_host
from holdfast.mounts import CREDENTIALS, ConfigMapMount, SecretMount, authority_mounts

ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
"""Storage classes whose objects must be thawed, for hours, before they can be read."""
_THAW_SECONDS = 48 * 3600
"""As long as the slowest of the archives thaws."""


class ObjectLock(Model):
    """Object lock: the store refuses to change or delete stored objects for a time."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (
        ("self.retain.matches('[1-9]')", "retain must be longer than zero"),
    )

    mode: Literal["Governance", "Compliance"]
    """Governance: users with a special right can delete the objects earlier. Compliance: nobody can."""
    retain: Duration
    """How long an object is locked, such as `30d`. The time counts from the start of the attempt that
    stores it."""


class S3(DestinationSpec):
    """A bucket in an S3-compatible object store."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (no_dots("prefix"), *ONE_CA)
    later_fields: ClassVar[tuple[str, ...]] = ("ca_config_map", "addressing_style")
    place_fields: ClassVar[tuple[str, ...]] = ("bucket", "prefix", "endpoint")
    access_fields: ClassVar[tuple[str, ...]] = ("credentials_secret", "ca_secret", "ca_config_map")

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", min_length=3, max_length=63)]
    """The bucket's name. The bucket must exist."""
    prefix: Path | None = None
    """The folder in the bucket, without a slash at either end and without `..`."""
    endpoint: Endpoint | None = None
    """The URL of the object store, such as `https://s3.example.com`. Default: Amazon S3 in the region."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] = "us-east-1"
    """The bucket's region."""
    credentials_secret: SecretRef | None = None
    """A Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Default: workload identity."""
    ca_secret: SecretRef | None = None
    """A Secret with the key ca.crt: the CA that signed the endpoint's certificate."""
    ca_config_map: ConfigMapRef | None = None
    """A ConfigMap with the key ca.crt, in place of caSecret."""
    addressing_style: Literal["Auto", "Path", "Virtual"] = "Auto"
    """Where the bucket's name is in a URL. Path: in the path. Virtual: in the host. Auto: in the host without
    an endpoint. With an endpoint Holdfast starts with the path, and uses the host if the store refuses the
    path."""
    storage_class: Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", max_length=64)] | None = None
    """The storage class of artifacts, such as STANDARD_IA. A restore first thaws the objects of the classes
    GLACIER and DEEP_ARCHIVE, which takes hours."""
    object_lock: ObjectLock | None = None
    """Locks stored objects. The bucket must have object lock enabled. In source.location of a RestoreRequest
    this field has no effect."""

    def uri(self, key: str) -> str:
        return "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part) + f"/{key}"

    def identity(self) -> tuple[str | None, ...]:
        return same_host(self.endpoint), self.bucket, self.prefix

    def place_text(self) -> str:
        return f"{super().place_text()} at {self.endpoint or 'Amazon S3'}"

    def mounts(self) -> tuple[SecretMount | ConfigMapMount, ...]:
        mounts: list[SecretMount | ConfigMapMount] = []
        if self.credentials_secret is not None:
            mounts.append(SecretMount(CREDENTIALS, self.credentials_secret.name))
        mounts += authority_mounts(
            self.ca_secret.name if self.ca_secret else None,
            self.ca_config_map.name if self.ca_config_map else None,
        )
        return tuple(mounts)

    @property
    def thaw_seconds(self) -> int:
        return _THAW_SECONDS if self.storage_class in ARCHIVES else 0
