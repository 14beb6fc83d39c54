"""The base of every model of the contract: camelCase names, frozen, bounded, unknown fields refused."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_HUNDRED_YEARS = 100 * 365 * 86400


class Model(BaseModel):
    """A part of the contract. Its CEL rules are written to the schema beside its fields.

    `exactly_one` names fields of which exactly one must be set; it is checked here and by the API server.
    `rules` are (CEL expression, message) pairs that only the API server evaluates.
    `immutable_except` names the only fields that the API server lets change after creation.
    `unbuilt` names the fields whose behaviour is not built yet, each with its values that are not; without
    values it is every value but the default. Whoever sets one of them is refused (NotSupportedYet).
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    exactly_one: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[tuple[str, str], ...]] = ()
    immutable_except: ClassVar[tuple[str, ...] | None] = None
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Self:
        if self.exactly_one and sum(getattr(self, name) is not None for name in self.exactly_one) != 1:
            raise ValueError(self._exactly_one_message())
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        json_schema = handler.resolve_ref_schema(handler(schema))
        rules = list(cls.rules)
        if cls.exactly_one:
            fields = ", ".join(f"has(self.{to_camel(name)})" for name in cls.exactly_one)
            message = cls._exactly_one_message()
            rules.append((f"[{fields}].filter(x, x).size() == 1", message))
            json_schema["description"] += f" {message[0].upper() + message[1:]}."
        if cls.immutable_except is not None:
            rules += [_immutable(to_camel(n)) for n in cls.model_fields if n not in cls.immutable_except]
        if rules:
            json_schema["x-kubernetes-validations"] = [{"rule": r, "message": m} for r, m in rules]
        return json_schema

    @classmethod
    def _exactly_one_message(cls) -> str:
        """It names those that can be used."""
        built = [to_camel(name) for name in cls.exactly_one if name not in cls.unbuilt]
        return f"exactly one of {', '.join(built)} must be set"

    def set_but_unbuilt(self) -> dict[str, str]:
        """The fields that are set although what they ask for is not built yet, each in the user's words."""
        fields = type(self).model_fields
        return {
            name: _in_words(fields[name], name, getattr(self, name))
            for name, values in self.unbuilt.items()
            if (getattr(self, name) in values if values else getattr(self, name) != fields[name].default)
        }

    def to_json(self) -> dict[str, Any]:
        """The object as the API server and a Task carry it: camelCase, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _in_words(field: FieldInfo, name: str, value: object) -> str:
    """A field by its name, and by its value too where another value is built."""
    written = field.alias or name
    if field.default in (None, ()) or isinstance(value, Model):
        return written
    return f"{written}: {value if isinstance(value, str) else json.dumps(value)}"


def with_sections(base: type[Model], sections: Mapping[str, type[Model]]) -> type[Model]:
    """`base` with a section for each registered kind of thing, of which it says that exactly one is set."""
    fields: dict[str, Any] = {name: (section | None, None) for name, section in sections.items()}
    return create_model(
        base.__name__, __base__=base, __module__=base.__module__, __doc__=base.__doc__, **fields
    )


class Matches:
    """Marks a text that must match patterns, each with the message of one that does not.

    They become rules of the API server, which answers to a `pattern` with the pattern instead.
    """

    def __init__(self, *patterns: tuple[str, str]) -> None:
        self._patterns = patterns

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        json_schema = handler(schema)
        json_schema["x-kubernetes-validations"] = [
            {"rule": f"self.matches(r'{pattern}')", "message": message} for pattern, message in self._patterns
        ]
        return json_schema

    def _check(self, text: str) -> str:
        for pattern, message in self._patterns:
            if not re.search(pattern, text):
                raise ValueError(message)
        return text


def _immutable(name: str) -> tuple[str, str]:
    """A rule of the model, not of the field: on a field it is not evaluated when the field comes or goes."""
    same = f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"
    return same, f"{name} is immutable: create another object with the value that you want"


class Duration(str):
    """A length of time such as `90s`, `1h30m` or `30d`, without a sign or a fraction."""

    __slots__ = ()
    pattern: ClassVar[str] = r"^([0-9]+(d|h|m|s))+$"

    @property
    def seconds(self) -> int:
        """The duration in seconds, but a hundred years at most, so that dates can hold it."""
        total = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", self))
        return min(total, _HUNDRED_YEARS)

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

Int64 = Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})]
"""A count or an amount; never negative."""

NumericId = Annotated[int, Field(ge=1, le=2147483647)]
"""The number of a user or group of a process; not root's."""

Port = Annotated[int, Field(ge=1, le=65535)]


def _digits(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _int_or_string(pattern: str) -> WithJsonSchema:
    """What Kubernetes takes for a quantity: text, or a bare number, which YAML does not quote."""
    return WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "pattern": pattern, "maxLength": 32, "minimum": 0}
    )


_BYTES = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"
_CPUS = r"^[0-9]+(\.[0-9]+)?m?$"

Quantity = Annotated[str, _string(_BYTES, 32), BeforeValidator(_digits), _int_or_string(_BYTES)]
"""An amount of bytes in Kubernetes' notation, such as `500Gi`."""

CpuQuantity = Annotated[str, _string(_CPUS, 32), BeforeValidator(_digits), _int_or_string(_CPUS)]
"""A number of CPUs in Kubernetes' notation, such as `500m` or `2`."""


_FIRST_MOMENT = datetime(1000, 1, 1, tzinfo=UTC)
_LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)


def to_utc(moment: datetime) -> datetime:
    """`moment` in UTC, but not before the year 1000 nor after the year 9000.

    An object may hold any moment from year 1 to 9999. Within these bounds, every Duration can be added to it.
    """
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        return _FIRST_MOMENT if moment.year < _LAST_MOMENT.year else _LAST_MOMENT
    return min(max(utc, _FIRST_MOMENT), _LAST_MOMENT)


def to_utc_second(moment: datetime) -> datetime:
    """`to_utc` without fractions of a second: what a Kubernetes time can say."""
    return to_utc(moment).replace(microsecond=0)


_ANY_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def moment_of(text: str) -> datetime:
    """The second that `text` names, in every form that the API server takes for a time.

    It takes more than RFC 3339: the year 0, offsets up to 99:99, and any sign before the fraction. Raises
    ValueError for everything else.
    """
    match = _ANY_TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no time; such as 2026-01-31T02:00:00Z")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    sign, hours, minutes = match.groups()[6:]
    if year < _FIRST_MOMENT.year:
        return _FIRST_MOMENT
    east = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    local = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    try:
        return to_utc(local - east)
    except OverflowError:
        return _LAST_MOMENT


def format_time(moment: datetime) -> str:
    """`moment` as Kubernetes writes it: RFC 3339 in UTC, without fractions of a second."""
    return to_utc_second(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[
    AwareDatetime,
    AfterValidator(to_utc_second),
    PlainSerializer(format_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment, to the second, in UTC."""


class SecretRef(Model):
    """A Secret in the same namespace."""

    name: ObjectName
    """The Secret's name."""

    @property
    def files(self) -> dict[str, str]:
        """From a key to the file that a Job finds it in; empty: every key under its own name."""
        return {}


class CredentialsSecret(SecretRef):
    """A Secret with the name and the password of a user of the server."""

    username_key: SecretKey = "username"
    """The key that holds the name."""
    password_key: SecretKey = "password"  # noqa: S105 the key's name
    """The key that holds the password."""

    @property
    def files(self) -> dict[str, str]:
        """The two keys under the names that the engine reads."""
        return {self.username_key: "username", self.password_key: "password"}


class ConfigMapRef(Model):
    """A ConfigMap in the same namespace."""

    name: ObjectName
    """The ConfigMap's name."""


def at_most_one(*names: str) -> tuple[tuple[str, str], ...]:
    """The rule of a model that at most one of these fields may be set."""
    fields = ", ".join(f"has(self.{name})" for name in names)
    return ((f"[{fields}].filter(x, x).size() <= 1", f"at most one of {', '.join(names)} may be set"),)


ONE_CA = at_most_one("caSecret", "caConfigMap")


class Tls(Model):
    """Encrypt the connection and verify the server."""

    rules: ClassVar[tuple[tuple[str, str], ...]] = ONE_CA

    ca_secret: SecretRef | None = Field(
        default=None,
        description=(
            "A Secret with the key ca.crt: the CA that signed the server's certificate. Default: the "
            "public CAs."
        ),
    )
    ca_config_map: ConfigMapRef | None = Field(
        default=None,
        description="A ConfigMap with the key ca.crt, in place of caSecret.",
    )


class MutualTls(Tls):
    """Encrypt the connection, verify the server, and log in with a certificate if one is named."""

    client_cert_secret: SecretRef | None = Field(
        default=None,
        description="A Secret with the keys tls.crt and tls.key: the client's certificate.",
    )


class Service(Model):
    """A Service in the same namespace."""

    name: ObjectName
    """The Service's name."""
    port: Port
    """The Service's TCP port."""


class Host(Model):
    """A host outside of the namespace, by its DNS name or IP address."""

    name: Annotated[str, _string(r"^[a-zA-Z0-9]([-a-zA-Z0-9.:]*[a-zA-Z0-9])?$", 253)]
    """DNS name or IP address."""
    port: Port
    """TCP port."""


class ServerAddress(Model):
    """A server: either a Service of the namespace or a host."""

    exactly_one: ClassVar[tuple[str, ...]] = ("service", "host")

    service: Service | None = None
    """A Service in the same namespace."""
    host: Host | None = None
    """A host outside of the namespace, by its DNS name or IP address."""

    def address(self, namespace: str) -> tuple[str, int]:
        """The host name and port to connect to from a pod in `namespace`."""
        if self.service is not None:
            return f"{self.service.name}.{namespace}.svc", self.service.port
        assert self.host is not None
        return self.host.name, self.host.port


Addressed = TypeVar("Addressed", bound=ServerAddress)


def listening_on(port: int) -> Callable[[type[Addressed]], type[Addressed]]:
    """Makes `port` the default in both kinds of address of a section: the engine's own port."""

    def with_port(section: type[Addressed]) -> type[Addressed]:
        fields: dict[str, Any] = {}
        for name, kind in (("service", Service), ("host", Host)):
            said = kind.model_fields["port"].description
            own = create_model(
                f"{section.__name__}{kind.__name__}",
                __base__=kind,
                __module__=section.__module__,
                __doc__=kind.__doc__,
                port=(Port, Field(default=port, description=said)),
            )
            fields[name] = (
                own | None,
                Field(default=None, description=section.model_fields[name].description),
            )
        return create_model(
            section.__name__,
            __base__=section,
            __module__=section.__module__,
            __doc__=section.__doc__,
            **fields,
        )

    return with_port


class AddressOverride(ServerAddress):
    """Where something is reached instead of where it was backed up, or nothing of it."""

    exactly_one: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[tuple[str, str], ...]] = at_most_one("service", "host")

    @property
    def has_address(self) -> bool:
        """Whether it names a server."""
        return self.service is not None or self.host is not None
