"""Write the CustomResourceDefinitions of the three kinds: `python -m holdfast.api.crd [--check] FOLDER`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from holdfast.api.base import Model
from holdfast.api.meta import GROUP, VERSION, Column, Resource
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun

KINDS: tuple[type[Resource], ...] = (BackupPolicy, BackupRun, RestoreRequest)

_HEADER = "# Generated from operator/holdfast/api by `python -m holdfast.api.crd`. Edit the models instead.\n"
# What pydantic writes and a structural schema does not have:
# https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
_NOT_STRUCTURAL = ("title", "$defs", "const", "readOnly", "propertyNames")


def definition(kind: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of `kind`."""
    name = kind.kind_name()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": ["holdfast"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    written: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return written | ({"priority": column.priority} if column.priority else {})


def _root(kind: type[Resource]) -> dict[str, Any]:
    spec, status = (kind.model_fields[name].annotation for name in ("spec", "status"))
    assert isinstance(spec, type)
    assert issubclass(spec, Model)
    assert isinstance(status, type)
    assert issubclass(status, Model)
    return {
        "type": "object",
        "description": _in_one_line(kind.__doc__ or ""),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _with_defaults_said(structural(spec.model_json_schema())),
            # The operator writes the computed fields too; a default would be written into an empty status.
            "status": _without_defaults(structural(status.model_json_schema(mode="serialization"))),
        },
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in kind.rules],
    }


def structural(schema: dict[str, Any]) -> dict[str, Any]:
    """A pydantic schema as a structural one: nothing is referred to, nothing is null."""
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _resolve(schema, definitions)
    written = {key: value for key, value in schema.items() if key not in _NOT_STRUCTURAL}
    if isinstance(written.get("description"), str):
        written["description"] = _in_one_line(written["description"])
    if "const" in schema:
        written["enum"] = [schema["const"]]
    if isinstance(written.get("additionalProperties"), bool):
        del written["additionalProperties"]
    if isinstance(written.get("additionalProperties"), dict):
        written["additionalProperties"] = _structural(written["additionalProperties"], definitions)
    if written.get("default") == []:
        # An empty list says no more than an absent one.
        del written["default"]
    if "propertyNames" in schema:
        written["x-kubernetes-validations"] = [_key_rule(_resolve(schema["propertyNames"], definitions))]
    if "items" in schema:
        written["items"] = _structural(schema["items"], definitions)
        written = _list_type(written["items"]) | written
    if "properties" in schema:
        properties = schema["properties"]
        written["properties"] = {name: _structural(part, definitions) for name, part in properties.items()}
        computed = {name for name, part in properties.items() if part.get("readOnly")}
        written["required"] = [name for name in schema.get("required", ()) if name not in computed]
        if not written["required"]:
            del written["required"]
    return written


def _in_one_line(text: str) -> str:
    """A docstring breaks its lines for the source's sake; `kubectl explain` breaks them itself."""
    return " ".join(text.split())


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`schema` without `$ref` and null; what a field says of itself goes before what its type says."""
    schema = dict(schema)
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    if "anyOf" in schema:
        branches = [branch for branch in schema.pop("anyOf") if branch.get("type") != "null"]
        if len(branches) != 1:
            raise ValueError(f"a structural schema has no unions, but here is {json.dumps(branches)}")
        return _resolve(branches[0] | schema, definitions)
    if "$ref" in schema:
        reference = schema.pop("$ref").removeprefix("#/$defs/")
        return _resolve(definitions[reference] | schema, definitions)
    return schema


def _list_type(items: dict[str, Any]) -> dict[str, Any]:
    """Lists of named things are maps by that name, lists of enumerated words are sets: both are unique."""
    for key in ("name", "type"):
        if key in items.get("required", ()):
            return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return {"x-kubernetes-list-type": "set" if "enum" in items else "atomic"}


def _key_rule(names: dict[str, Any]) -> dict[str, str]:
    """A structural schema cannot limit the keys of a map, CEL can."""
    low, high = names.get("minLength", 0), names["maxLength"]
    return {
        "rule": f"self.all(k, k.size() >= {low} && k.size() <= {high})",
        "message": f"keys must have {low} to {high} characters",
    }


def _with_defaults_said(schema: dict[str, Any]) -> dict[str, Any]:
    """The descriptions name the defaults: `kubectl explain` shows nothing of a schema but these."""
    written = _with_parts(schema, _with_defaults_said)
    default = written.get("default", {})
    if not isinstance(default, dict):  # one of an object is that of its fields
        text = default if isinstance(default, str) else json.dumps(default)
        written["description"] = f"{written.get('description', '')} Default: `{text}`.".lstrip()
    return written


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    written = _with_parts(schema, _without_defaults)
    return {key: value for key, value in written.items() if key != "default"}


def _with_parts(
    schema: dict[str, Any], changed: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """A copy of `schema` in which the schemas of fields and items are changed."""
    written = dict(schema)
    for key in ("items", "additionalProperties"):
        if key in written:
            written[key] = changed(written[key])
    if "properties" in written:
        written["properties"] = {name: changed(part) for name, part in written["properties"].items()}
    return written


class _Dumper(yaml.SafeDumper):
    """Writes everything out: the API server knows no anchors worth reading."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(kind: type[Resource]) -> str:
    """The file of `kind`, as YAML."""
    return _HEADER + yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, width=110)


def file_name(kind: type[Resource]) -> str:
    """The name of the file of `kind`."""
    return f"{GROUP}_{kind.plural}.yaml"


def stale(folder: Path) -> list[str]:
    """The names of the files in `folder` that are not what the models say, or should not be there."""
    wanted = {file_name(kind): render(kind) for kind in KINDS}
    written = {path.name: path.read_text() for path in folder.glob("*.yaml")}
    return sorted(name for name in wanted | written if wanted.get(name) != written.get(name))


def main() -> int:
    """Write or check the files; 1 when a file is stale."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.api.crd", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what is stale")
    arguments = parser.parse_args()
    if arguments.check:
        names = stale(arguments.folder)
        for name in names:
            sys.stderr.write(
                f"{arguments.folder / name} is stale: run `python -m holdfast.api.crd {arguments.folder}`\n"
            )
        return 1 if names else 0
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in stale(arguments.folder):
        (arguments.folder / name).unlink(missing_ok=True)
    for kind in KINDS:
        (arguments.folder / file_name(kind)).write_text(render(kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())
