"""What a policy and a restore request say of a bucket of Google Cloud Storage."""

from typing import Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import SecretRef
from holdfast.destinations.destination import DestinationSpec, Endpoint, Path, no_dots, same_host
from holdfast.mounts import CREDENTIALS, SecretMount

KEY_FILE = "key.json"
"""The key of the Secret, and its file."""


class Gcs(DestinationSpec):
    """A bucket of Google Cloud Storage."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = (no_dots("prefix"),)
    place_fields: ClassVar[tuple[str, ...]] = ("bucket", "prefix", "endpoint")
    access_fields: ClassVar[tuple[str, ...]] = ("credentials_secret",)

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$", min_length=3, max_length=222)]
    """The bucket's name. The bucket must exist."""
    prefix: Path | None = None
    """The folder in the bucket, without a slash at either end and without `..`."""
    endpoint: Endpoint | None = None
    """The URL of the object store, such as that of a private endpoint. Default: Google's."""
    credentials_secret: SecretRef | None = None
    """A Secret with the key key.json: the key of a service account. Default: workload identity."""

    def uri(self, key: str) -> str:
        return "/".join(part for part in (f"gs://{self.bucket}", self.prefix) if part) + f"/{key}"

    def identity(self) -> tuple[str | None, ...]:
        return same_host(self.endpoint), self.bucket, self.prefix

    def place_text(self) -> str:
        return super().place_text() + (f" at {self.endpoint}" if self.endpoint else "")

    def mounts(self) -> tuple[SecretMount, ...]:
        if self.credentials_secret is None:
            return ()
        return (SecretMount(CREDENTIALS, self.credentials_secret.name),)
