"""The page of one kind: every field of its spec and status, from the schema that the API server has."""

import json
from typing import Any

from hack.reference.text import anchor, bullet, header, paragraph, sentence
from pydantic import TypeAdapter

from holdfast.api.base import DnsLabel, Duration, ObjectName, SecretKey
from holdfast.api.crd import definition
from holdfast.api.meta import API_VERSION, Resource

_INLINE_FIELDS = 3
"""An object with as many fields at most, those of its objects included, is shown where it is used."""
_MAX_PATTERN = 60


def _pattern(type_: Any) -> str:
    return str(TypeAdapter(type_).json_schema()["pattern"])


_KNOWN = {
    Duration.pattern: "duration",
    _pattern(DnsLabel): "DNS label of at most 40 characters",
    _pattern(ObjectName): "name of a Kubernetes object",
    _pattern(SecretKey): "key of a Secret",
}
Schema = dict[str, Any]


def page(kind: type[Resource]) -> str:
    """The page of `kind`."""
    names = definition(kind)["spec"]["names"]
    version = definition(kind)["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    lines = header(names["kind"], "operator/holdfast/api, operator/holdfast/engines/*/spec.py")
    lines += paragraph(sentence(root["description"]))
    lines += paragraph(
        f"`{API_VERSION}`, namespaced; its short name is `{names['shortNames'][0]}`. A field without "
        '"required" is optional. `kubectl explain` shows the same text.'
    )
    lines += _rules(root)
    lines += ["## Columns of `kubectl get`", ""]
    for column in version["additionalPrinterColumns"]:
        wide = ", with `-o wide`" if column.get("priority") else ""
        lines += bullet(f"`{column['name']}`{wide}: `{column['jsonPath']}`")
    lines.append("")
    writer = _Writer()
    for part in ("spec", "status"):
        lines += writer.section(part, root["properties"][part], "##")
    return "\n".join(lines).rstrip("\n") + "\n"


class _Writer:
    """Writes each kind of object once, and later leads to where it is."""

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    def section(self, path: str, schema: Schema, level: str = "###") -> list[str]:
        """An object's fields, and then the sections of the objects in it."""
        self._written[_shape(schema)] = path
        lines = [f"{level} `{path}`", "", *paragraph(sentence(schema.get("description", "")))]
        below: list[tuple[str, Schema]] = []
        for name, field in schema["properties"].items():
            lines += self._field(path, name, field, name in schema.get("required", ()), below)
        lines += ["", *_rules(schema)]
        for inner, inner_schema in below:
            lines += self.section(inner, inner_schema)
        return lines

    def _field(
        self, path: str, name: str, field: Schema, required: bool, below: list[tuple[str, Schema]]
    ) -> list[str]:
        where, inner = _object(f"{path}.{name}", field)
        text = _said(name, field, required)
        if inner is None:
            return bullet(text)
        if _is_small(inner):
            return bullet(text) + _inline(inner, depth=1)
        known = self._written.setdefault(_shape(inner), where)
        if known == where:
            below.append((where, inner))
        return bullet(f"{text} Fields: [`{known}`]({anchor(known)}).")


def _inline(schema: Schema, depth: int) -> list[str]:
    """The fields of a small object, below the field that it is."""
    lines: list[str] = []
    for name, field in schema["properties"].items():
        lines += bullet(_said(name, field, name in schema.get("required", ())), depth)
        inner = _object("", field)[1]
        lines += [] if inner is None else _inline(inner, depth + 1)
    return lines


def _said(name: str, field: Schema, required: bool) -> str:
    """One field in words."""
    parts = [f"`{name}`: {_type(field)}{', required' if required else ''}."]
    parts.append(sentence(field.get("description", "")))
    return " ".join(filter(None, parts))


def _object(path: str, field: Schema) -> tuple[str, Schema | None]:
    """The object that a field is, or is a list or map of, and its path."""
    if field.get("type") == "array":
        return _object(f"{path}[]", field["items"])
    if isinstance(field.get("additionalProperties"), dict):
        return _object(f"{path}.*", field["additionalProperties"])
    return path, field if "properties" in field else None


def _is_small(schema: Schema) -> bool:
    return _size(schema) <= _INLINE_FIELDS


def _size(schema: Schema) -> int:
    inner = [_object("", field)[1] for field in schema["properties"].values()]
    return len(inner) + sum(_size(one) for one in inner if one is not None)


def _shape(schema: Schema) -> str:
    """The same for objects with the same fields, whatever is said of them and whether they have defaults."""
    return json.dumps(_without_words(schema), sort_keys=True)


def _without_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_words(one) for key, one in value.items() if key not in ("description", "default")
        }
    return value


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "enum" in field:
        words = [f"`{word}`" for word in field["enum"]]
        return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    if field["type"] == "array":
        items = "objects" if field["items"].get("type") == "object" else _type(field["items"])
        return f"list{_range(field, 'minItems', 'maxItems', ' items')}, of {items}"
    if field["type"] == "object" and "additionalProperties" in field:
        return f"map of {_type(field['additionalProperties'])}"
    if field["type"] == "integer":
        return f"integer{_range(field, 'minimum', 'maximum', '')}"
    if field["type"] == "string":
        return _string(field)
    return str(field["type"])


def _string(field: Schema) -> str:
    if field.get("format") == "date-time":
        return "time"
    pattern = field.get("pattern", "")
    limit = _range(field, "minLength", "maxLength", " characters")
    if pattern in _KNOWN:
        return _KNOWN[pattern]
    shown = pattern and len(pattern) <= _MAX_PATTERN and "`" not in pattern
    return f"string{limit}, matches `{pattern}`" if shown else f"string{limit}"


def _range(field: Schema, low: str, high: str, unit: str) -> str:
    if low in field and high in field:
        return f", {field[low]} to {field[high]}{unit}"
    if high in field:
        return f", at most {field[high]}{unit}"
    return f", at least {field[low]}{unit}" if low in field else ""


def _rules(schema: Schema) -> list[str]:
    """What the API server checks beyond the types, as far as the description does not say it."""
    described = schema.get("description", "").lower()
    messages = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    lines = [
        line for message in messages if message.lower() not in described for line in bullet(sentence(message))
    ]
    return ["The API server checks:", "", *lines, ""] if lines else []
