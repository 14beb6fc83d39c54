"""The base of every model of the contract: camelCase names, frozen, bounded, unknown fields refused."""

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Model(BaseModel):
    """A part of the contract. Its CEL rules are written to the schema beside its fields.

    `exactly_one` names fields of which exactly one must be set; it is checked here and by the API server.
    `rules` are (CEL expression, message) pairs that only the API server evaluates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    exactly_one: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[tuple[str, str], ...]] = ()

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Self:
        if self.exactly_one and sum(getattr(self, name) is not None for name in self.exactly_one) != 1:
            raise ValueError(_exactly_one_message(self.exactly_one))
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        json_schema = handler.resolve_ref_schema(handler(schema))
        rules = list(cls.rules)
        if cls.exactly_one:
            fields = ", ".join(f"has(self.{to_camel(name)})" for name in cls.exactly_one)
            rules.append((f"[{fields}].filter(x, x).size() == 1", _exactly_one_message(cls.exactly_one)))
        if rules:
            json_schema["x-kubernetes-validations"] = [{"rule": r, "message": m} for r, m in rules]
        return json_schema

    def to_json(self) -> dict[str, Any]:
        """The object as the API server and a Task carry it: camelCase, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _exactly_one_message(names: tuple[str, ...]) -> str:
    return f"exactly one of {', '.join(to_camel(name) for name in names)} must be set"


class Duration(str):
    """A length of time such as `90s`, `1h30m` or `30d`; no sign, no fraction."""

    __slots__ = ()
    pattern: ClassVar[str] = r"^([0-9]+(d|h|m|s))+$"

    @property
    def seconds(self) -> int:
        """The duration in seconds."""
        return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", self))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(pattern=cls.pattern, max_length=32)
        return core_schema.no_info_after_validator_function(cls, text)


def _string(pattern: str, max_length: int, min_length: int = 1) -> Any:
    return Field(pattern=pattern, max_length=max_length, min_length=min_length)


DnsLabel = Annotated[str, _string(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 40)]
"""The name of a target, destination, hook or notification."""

ObjectName = Annotated[str, _string(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", 253)]
"""The name of a Kubernetes object in the same namespace."""

SecretKey = Annotated[str, _string(r"^[-._a-zA-Z0-9]+$", 253)]
"""A key of a Secret."""

Port = Annotated[int, Field(ge=1, le=65535)]

Quantity = Annotated[str, _string(r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$", 32)]
"""An amount of bytes in Kubernetes' notation, such as `500Gi`."""


class SecretRef(Model):
    """A Secret in the same namespace."""

    name: ObjectName


class Service(Model):
    """A Service in the same namespace."""

    name: ObjectName
    port: Port


class Host(Model):
    """A host outside of the namespace, by DNS name or IP address."""

    name: Annotated[str, _string(r"^[a-zA-Z0-9]([-a-zA-Z0-9.:]*[a-zA-Z0-9])?$", 253)]
    port: Port


class Addressed(Model):
    """Something reached over the network: either a Service of the namespace or a host."""

    exactly_one: ClassVar[tuple[str, ...]] = ("service", "host")

    service: Service | None = Field(default=None, description="A Service in the same namespace.")
    host: Host | None = Field(default=None, description="A host outside of the namespace.")

    def address(self, namespace: str) -> tuple[str, int]:
        """The host name and port to connect to from a pod in `namespace`."""
        if self.service is not None:
            return f"{self.service.name}.{namespace}.svc", self.service.port
        assert self.host is not None
        return self.host.name, self.host.port
