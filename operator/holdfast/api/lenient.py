"""Read what the cluster holds leniently: other releases and other people have written it as well. Pure.

What a user creates is checked by the API server. What is there already must stay in sight, whatever it holds.
"""

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from holdfast.api.base import Model, format_time, moment_of
from holdfast.api.text import some_of

M = TypeVar("M", bound=Model)
Location = tuple[int | str, ...]

_MAX_ROUNDS = 50
_MAX_AT_ONCE = 200
_MAX_NAMED = 5
_NEEDED = {(), ("apiVersion",), ("kind",), ("metadata",), ("spec",)}
"""Without these parts nothing is left of an object."""


class NotUnderstoodError(ValueError):
    """Nothing can be made of a document. The message says what is wrong with it."""


def read(model: type[M], body: dict[str, Any]) -> tuple[M, str]:
    """The document as far as it is understood, and what of it is not.

    Unknown fields are passed over: a newer release has written them. Only a policy's retention keeps them,
    because they may be rules that keep more. A list that is longer than this release
    allows is read up to its limit. Any other value that is not understood is left out, and named. Raises
    NotUnderstoodError where a part is missing without which there is no such document.
    """
    try:
        return model.model_validate(body), ""
    except ValidationError:
        return _repaired(model, copy.deepcopy(body))
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise NotUnderstoodError(f"{type(error).__name__}: {error}") from error


def _repaired(model: type[M], body: dict[str, Any]) -> tuple[M, str]:
    problems: list[str] = []
    left_out: list[Location] = []
    for _ in range(_MAX_ROUNDS):
        try:
            return model.model_validate(body), _named(problems)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)[:_MAX_AT_ONCE]
        except (TypeError, AttributeError, ArithmeticError) as error:
            raise NotUnderstoodError(f"{type(error).__name__}: {error}") from error
        passed_over = [_pass_over(body, detail) for detail in details]
        if any(passed_over):
            continue
        causes = _causes(details)
        problems += [_problem(detail) for detail in causes if not _follows(detail["loc"], left_out)]
        # From the end, because a list's later elements move when an earlier one goes.
        for detail in reversed(causes):
            location = detail["loc"][:-1] if detail["type"] == "missing" else detail["loc"]
            if location in _NEEDED:
                raise NotUnderstoodError(_named(problems))
            _leave_out(body, location, detail)
            left_out.append(location)
    raise NotUnderstoodError(_named(problems))


def _problem(detail: ErrorDetails) -> str:
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg'].removeprefix('Value error, ')}"


def _follows(location: Location, left_out: Sequence[Location]) -> bool:
    """Whether an error is there only because something in it was left out before."""
    return any(before[: len(location)] == location for before in left_out)


def _causes(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """One error for each value: not those of what it is in, which may follow from it."""
    causes: dict[Location, ErrorDetails] = {}
    for detail in details:
        location = detail["loc"]
        if not any(other["loc"][: len(location)] == location != other["loc"] for other in details):
            causes.setdefault(location[:-1] if detail["type"] == "missing" else location, detail)
    return [
        detail
        for place, detail in causes.items()
        if not any(place[: len(other)] == other != place for other in causes)
    ]


def _named(problems: Sequence[str]) -> str:
    return some_of(list(dict.fromkeys(problems)), _MAX_NAMED)


def _pass_over(body: dict[str, Any], detail: ErrorDetails) -> bool:
    """Take out what changes no meaning; returns False where that is not so."""
    kind, location = detail["type"], detail["loc"]
    parent, key = _at(body, location)
    if kind == "extra_forbidden":
        parent.pop(key)
        return True
    if kind.startswith("datetime_") and isinstance(parent[key], str):
        try:
            parent[key] = format_time(moment_of(parent[key]))
        except ValueError:
            return False
        return True
    return False


def _leave_out(body: dict[str, Any], location: Location, detail: ErrorDetails) -> None:
    """Take out the value that is not understood."""
    parent, key = _at(body, location)
    if detail["type"] == "too_long" and isinstance(parent[key], list):
        del parent[key][detail["ctx"]["max_length"] :]
    else:
        del parent[key]


def _at(body: dict[str, Any], location: Location) -> tuple[Any, Any]:
    """The container and the key of what is at a location, or of what is nearest above it."""
    parent: Any = None
    value: Any = body
    key: int | str = ""
    for step in location:
        if isinstance(value, list):
            if step not in range(len(value)):
                break
        elif not isinstance(value, dict) or step not in value:
            break
        parent, key, value = value, step, value[step]
    return parent, key


_NAMING = ("name", "type", "when", "destination", "uri", "run")
"""The fields by which an element of a list differs from the others."""


def rewritten(stored: Any, before: Any, after: Any) -> Any:
    """`stored` with the changes from `before`, which was read from it, to `after`.

    What this release does not know stays as it is, also in the elements of lists.
    """
    if isinstance(stored, dict) and isinstance(before, dict) and isinstance(after, dict):
        unknown = {key: value for key, value in stored.items() if key not in before and key not in after}
        return unknown | {
            key: rewritten(stored[key], before[key], value) if key in stored and key in before else value
            for key, value in after.items()
        }
    if before == after:
        return stored
    if isinstance(stored, list) and isinstance(before, list) and isinstance(after, list):
        elements, read = _by_name(stored), _by_name(before)
        return [
            rewritten(elements[name], read[name], element)
            if (name := _name(element)) in elements and name in read
            else element
            for element in after
        ]
    return after


def _by_name(elements: list[Any]) -> dict[Any, Any]:
    return {_name(element): element for element in elements if isinstance(element, dict)}


def _name(element: Any) -> Any:
    return tuple(element.get(field) for field in _NAMING) if isinstance(element, dict) else None
