"""What a policy and a restore request say of a Chroma server."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import AddressOverride, Model, SecretRef, ServerAddress, Tls, listening_on

PORT = 8000

EVERY = "*"
"""In place of a database's name: every database of the tenant."""

Name = Annotated[str, Field(min_length=1, max_length=512)]


class Tenant(Model):
    """A tenant and its databases that are backed up. No endpoint of Chroma lists tenants."""

    name: Name
    """The tenant's name."""
    databases: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = (EVERY,)
    """The names of the tenant's databases. The name * stands for every database of the tenant."""


class Collections(Model):
    """Which collections are backed up: shell patterns on their names."""

    include: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = ("*",)
    """The collections that are backed up."""
    exclude: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    """The collections that are left out."""


class ChromaTls(Tls):
    """Encrypts the connection. Default: plain HTTP."""


@listening_on(PORT)
class ChromaTarget(ServerAddress):
    """A Chroma server, version 1.0 or later."""

    credentials_secret: SecretRef | None = Field(
        default=None, description="A Secret with the key token, or with username and password."
    )
    tls: ChromaTls | None = None
    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=100)] = (
        Tenant(name="default_tenant"),
    )
    """The tenants that are backed up."""
    collections: Collections = Collections()


@listening_on(PORT)
class ChromaRestore(AddressOverride):
    """Where a Chroma target is restored to, and which part of it."""

    credentials_secret: SecretRef | None = Field(
        default=None,
        description=("A Secret with the key token, or with username and password. Default: the policy's."),
    )
    tls: ChromaTls | None = Field(default=None, description="Encrypts the connection. Default: the policy's.")
    tenant: Name | None = Field(
        default=None,
        description=(
            "All collections are restored into this tenant. It is created if it is missing. Default: each "
            "collection keeps its tenant."
        ),
    )
    database: Name | None = Field(
        default=None,
        description=(
            "All collections are restored into this database. It is created if it is missing. Default: each"
            " collection keeps its database."
        ),
    )
    rename: Annotated[dict[Name, Name], Field(max_length=100)] | None = Field(
        default=None,
        description="New names of collections: from the name in the backup to the name in the restore.",
    )
    include: Annotated[tuple[Name, ...], Field(max_length=100)] | None = Field(
        default=None, description="Only these collections: shell patterns on their names in the backup."
    )
