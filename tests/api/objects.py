"""Examples of the three kinds, how one is changed at a path, and what the server says of it."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.apiserver import ApiServer

from holdfast.api.crd import KINDS, definition
from holdfast.api.meta import Resource

DATA = Path(__file__).parent / "data"
EXAMPLES: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted(DATA.glob("*.yaml"))
}
PLURALS = {kind.kind_name(): kind.plural for kind in KINDS}
ABSENT = object()


@dataclass(frozen=True)
class Case:
    """An example with `value` at `path`, and a part of the refusal, or None where it is accepted.

    A path is made of field names, list indices and, for lists of named things, their names.
    """

    example: str
    path: str
    value: Any
    refusal: str | None = None

    def __str__(self) -> str:
        shown = "absent" if self.value is ABSENT else repr(self.value)
        return f"{self.example}:{self.path}={shown[:40]}"

    def object(self) -> dict[str, Any]:
        """The example as changed."""
        return changed(EXAMPLES[self.example], self.path, self.value)


def changed(example: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `example` with `value` at `path`; ABSENT takes the field away."""
    result = copy.deepcopy(example)
    *parents, last = path.split("/")
    part: Any = result
    for name in parents:
        part = part[_index(part, name)] if isinstance(part, list) else part.setdefault(name, {})
    key = _index(part, last) if isinstance(part, list) else last
    if value is ABSENT:
        del part[key]
    else:
        part[key] = value
    return result


def _index(items: list[Any], name: str) -> int:
    if name.isdigit():
        return int(name)
    return next(index for index, item in enumerate(items) if item["name"] == name)


def collection(kind: str, namespace: str = "default") -> str:
    """The path of the objects of a kind."""
    return f"/apis/holdfast.dev/v1alpha1/namespaces/{namespace}/{PLURALS[kind]}"


def try_create(server: ApiServer, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What the server says to creating `body`, as kubectl asks; nothing is stored."""
    return server.request("POST", f"{collection(body['kind'])}?dryRun=All&fieldValidation=Strict", body)


def model(kind: str) -> type[Resource]:
    """The model of a kind."""
    return next(each for each in KINDS if each.plural == PLURALS[kind])


def schema(kind: str) -> dict[str, Any]:
    """The schema of a kind's definition."""
    root = definition(model(kind))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert isinstance(root, dict)
    return root


def judge(server: ApiServer, case: Case) -> None:
    """Assert that the server says of `case` what it should."""
    status, answer = try_create(server, case.object())
    if case.refusal is None:
        assert status == 201, answer["message"]
        # What the server accepts the operator must be able to read.
        model(answer["kind"]).from_object(answer)
    else:
        assert status in (400, 422), f"accepted: {answer}"
        assert case.refusal in answer["message"]
