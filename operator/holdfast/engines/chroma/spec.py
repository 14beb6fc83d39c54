"""What a policy and a restore request say of a Chroma server."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Addressed, AddressOverride, Model, SecretRef, Tls

Name = Annotated[str, Field(min_length=1, max_length=512)]


class Tenant(Model):
    """A tenant and those of its databases that are backed up; no endpoint of Chroma lists tenants."""

    name: Name
    """The tenant's name."""
    databases: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = ("default_database",)
    """The names of its databases."""


class Collections(Model):
    """Which collections: shell patterns on their names."""

    include: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = ("*",)
    """Collections that are backed up."""
    exclude: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    """Collections that are left out, though included."""


class ChromaTls(Tls):
    """Encrypt the connection; without it plain HTTP is spoken, as Chroma does by itself."""

    ca_secret: SecretRef | None = Field(
        default=None,
        description="Key ca.crt: the authority of the server's certificate. Default: the public ones.",
    )


class ChromaTarget(Addressed):
    """A Chroma server, version 1.0 or later."""

    credentials_secret: SecretRef | None = Field(
        default=None, description="Key token, or username and password."
    )
    tls: ChromaTls | None = None
    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=100)] = (
        Tenant(name="default_tenant"),
    )
    """The tenants that are backed up."""
    collections: Collections = Collections()


class ChromaRestore(AddressOverride):
    """Where a Chroma target is restored to, and what of it."""

    credentials_secret: SecretRef | None = Field(
        default=None, description="Key token, or username and password. Default: the policy's."
    )
    tls: ChromaTls | None = Field(
        default=None, description="Encrypt the connection. Default: as the policy says."
    )
    tenant: Name | None = Field(
        default=None,
        description="Restore into this tenant, created when missing. Default: the tenants of the backup.",
    )
    database: Name | None = Field(
        default=None,
        description="Restore into this database, created when missing. Default: the databases of the backup.",
    )
    rename: Annotated[dict[Name, Name], Field(max_length=100)] | None = Field(
        default=None, description="From a collection's name in the backup to its name here."
    )
    include: Annotated[tuple[Name, ...], Field(max_length=100)] | None = Field(
        default=None, description="Only these collections of the backup; shell patterns on their names there."
    )
