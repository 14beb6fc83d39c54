"""What every Kubernetes object of the contract has around its spec and status."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field

from holdfast.api.base import Model, Time

GROUP = "holdfast.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`. Priority 1 is shown with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    priority: int = 0


AGE = Column("AGE", ".metadata.creationTimestamp", "date")


def condition_column(name: str, condition: str, field: str = "status", priority: int = 0) -> Column:
    """A column with the status of the condition of type `condition`, or with another field of it."""
    return Column(name, f'.status.conditions[?(@.type=="{condition}")].{field}', priority=priority)


class LenientModel(Model):
    """A part that an older or newer operator, or Kubernetes itself, may have written: unknown fields pass."""

    model_config = ConfigDict(extra="ignore")


class OwnerReference(LenientModel):
    """The object that this one belongs to and is deleted with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(LenientModel):
    """The part of ObjectMeta that Holdfast reads and writes."""

    name: str
    namespace: str = ""
    """Empty in an object that a user has not sent yet; the API server fills it in, like `uid`."""
    uid: str = ""
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class Resource(LenientModel):
    """A whole object of one of the three kinds. `rules` of a subclass are checked at the object's root."""

    plural: ClassVar[str]
    singular: ClassVar[str]
    short_name: ClassVar[str]
    columns: ClassVar[tuple[Column, ...]]

    api_version: Literal["holdfast.dev/v1alpha1"] = "holdfast.dev/v1alpha1"
    metadata: Metadata

    @classmethod
    def kind_name(cls) -> str:
        """The kind as objects name it, such as BackupRun."""
        name = cls.model_fields["kind"].default
        assert isinstance(name, str)
        return name

    @classmethod
    def from_object(cls, body: dict[str, Any]) -> Self:
        """Parse an object as the API server gives it.

        Raises pydantic.ValidationError where the object does not follow the contract.
        """
        return cls.model_validate(body)
