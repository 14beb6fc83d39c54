"""Every limit of the schemas, at every field, is enforced by the server: found by walking the schemas."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.api.objects import ABSENT, EXAMPLES, Case, judge, schema
from tests.apiserver import ApiServer

# Refused by every pattern there is.
NO_PATTERN = " \t§"


def fields(part: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a schema with its path, where a list's items are `*`."""
    yield path, part
    for name, child in part.get("properties", {}).items():
        yield from fields(child, f"{path}/{name}")
    if "items" in part:
        yield from fields(part["items"], f"{path}/*")


def places(example: Any, path: list[str], done: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Where a path of the schema is in an example, and what is there."""
    if not path:
        yield "/".join(done), example
    elif path[0] == "*":
        for index, item in enumerate(example):
            yield from places(item, path[1:], (*done, str(index)))
    elif path[0] in example:
        yield from places(example[path[0]], path[1:], (*done, path[0]))


def place(kind: str, path: str) -> tuple[str, str, Any] | None:
    """The first example with a value at `path` of the schema: its name, the path in it, the value."""
    for name, example in EXAMPLES.items():
        if example["kind"] == kind:
            for found, value in places(example, path.split("/")):
                return name, found, value
    return None


Breaking = Callable[[Any, Any], Any]
# By limit: a value that breaks it, from the limit and a valid value, and what the server then says.
BREAKING: dict[str, tuple[Breaking, str]] = {
    "type": (lambda limit, _: "seven" if limit == "integer" else 7, "must be of type"),
    "x-kubernetes-int-or-string": (lambda _, __: [], "must be of type"),
    "enum": (lambda _, __: "Nonsense", "Unsupported value"),
    "pattern": (lambda _, __: NO_PATTERN, "should match"),
    "maxLength": (lambda limit, _: "1" * (limit + 1), "Too long"),
    "minLength": (lambda limit, _: "a" * (limit - 1), "should be at least"),
    "minimum": (lambda limit, _: limit - 1, "should be greater than or equal to"),
    "maximum": (lambda limit, _: limit + 1, "should be less than or equal to"),
    "maxItems": (lambda limit, value: [value[0]] * (limit + 1), "Too many"),
    "minItems": (lambda _, __: [], "should have at least"),
    "maxProperties": (lambda limit, _: {f"k{i}": "v" for i in range(limit + 1)}, "Too many"),
    "minProperties": (lambda _, __: {}, "should have at least"),
    "properties": (lambda _, value: value | {"bogus": 1}, "unknown field"),
    "format": (lambda _, __: "2026-02-28T01:15:00", "Invalid value"),
}
# What limits nothing, or is tried elsewhere: rules by the tables of each kind, `items` by the walk itself.
NO_LIMITS = {
    "description",
    "default",
    "items",
    "additionalProperties",
    "required",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}


def violations(part: dict[str, Any], value: Any) -> Iterator[tuple[Any, str]]:
    """Values that break one limit of a schema each, and what the server then says."""
    for limit in sorted(part.keys() - NO_LIMITS):
        breaking, refusal = BREAKING[limit]
        yield breaking(part[limit], value), refusal
    if part.get("x-kubernetes-list-type") in ("set", "map"):
        yield [*value, value[0]], "Duplicate value"


def structural_cases() -> Iterator[Case]:
    """Once for each field of a name and a schema: an address, a Secret and their like are in many places."""
    tried = set()
    for kind in ("BackupPolicy", "BackupRun", "RestoreRequest"):
        for path, part in fields(schema(kind)["properties"]["spec"]):
            found = place(kind, path)
            if found is None:
                continue
            example, where, value = found
            alike = path.rpartition("/")[2], json.dumps(part)
            if alike in tried:
                continue
            tried.add(alike)
            for wrong, refusal in violations(part, value):
                yield Case(example, where, wrong, refusal)
            for required in part.get("required", ()):
                yield Case(example, f"{where}/{required}", ABSENT, "Required value")


CASES = list(structural_cases())


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_accepted(apiserver: ApiServer, name: str) -> None:
    judge(apiserver, Case(name, "metadata/name", EXAMPLES[name]["metadata"]["name"]))


@pytest.mark.parametrize("kind", ["BackupPolicy", "BackupRun", "RestoreRequest"])
def test_examples_set_every_field(kind: str) -> None:
    spec = schema(kind)["properties"]["spec"]
    missing = [path for path, _ in fields(spec) if place(kind, path) is None]
    # It is refused at creation; the updates of RestoreRequests have tests of their own.
    assert missing == (["spec/promote"] if kind == "RestoreRequest" else [])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_limits_are_enforced(apiserver: ApiServer, case: Case) -> None:
    judge(apiserver, case)


def test_the_walk_finds_the_limits() -> None:
    assert len(CASES) > 400
