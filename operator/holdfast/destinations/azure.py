"""What a policy and a restore request say of a container of Azure Blob Storage."""

from typing import Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import SecretRef
from holdfast.destinations.destination import DestinationSpec, Endpoint, Path, no_dots, same_host


class Azure(DestinationSpec):
    """Not built yet: a policy or request with this section is refused. A container of Azure Blob Storage."""

    is_built = False
    rules: ClassVar[tuple[tuple[str, str], ...]] = (no_dots("prefix"),)
    place_fields: ClassVar[tuple[str, ...]] = ("account", "container", "prefix", "endpoint")
    access_fields: ClassVar[tuple[str, ...]] = ("credentials_secret",)

    account: Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}$", max_length=24)]
    """The name of the storage account."""
    container: Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9])*$", min_length=3, max_length=63)]
    """The container's name. The container must exist."""
    prefix: Path | None = None
    """The folder in the container, without a slash at either end and without `..`."""
    endpoint: Endpoint | None = None
    """The URL of the blob service. Default: that of the account."""
    credentials_secret: SecretRef | None = None
    """A Secret with the key accountKey or sasToken. Default: workload identity."""

    def uri(self, key: str) -> str:
        return (
            "/".join(part for part in (f"az://{self.account}/{self.container}", self.prefix) if part)
            + f"/{key}"
        )

    def identity(self) -> tuple[str | None, ...]:
        return same_host(self.endpoint), self.account, self.container, self.prefix
