"""What every Kubernetes object of the contract has around its spec and status."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr

from holdfast.api import lenient
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

    _problem: str = PrivateAttr(default="")
    _body: dict[str, Any] | None = PrivateAttr(default=None)

    @property
    def problem(self) -> str:
        """What of the object in the cluster is not understood; empty if it is.

        Such an object is shown as far as it is understood. Nothing is decided for it and nothing is done with
        what it names.
        """
        return self._problem

    @property
    def body(self) -> dict[str, Any] | None:
        """The object as the API server gave it, None in an object that was made here."""
        return self._body

    @classmethod
    def from_object(cls, body: dict[str, Any], *, keep_body: bool = False) -> Self:
        """Read an object as the API server gives it: leniently, because anybody may have written it.

        Raises NotUnderstoodError where nothing can be made of it.
        """
        read, problem = lenient.read(cls, body)
        read._problem, read._body = problem, body if keep_body else None  # noqa: SLF001 it is this class's own
        return read
