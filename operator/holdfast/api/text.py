"""Text for people. That of a status is cut to its limit rather than refused, so that it can be written."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

MAX_URI = 2048
MAX_WARNINGS = 20
_MAX_MESSAGE = 2048
_MAX_LOG_TAIL = 4096
_BINARY_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def shorten(text: str) -> str:
    """The text, or as much of it as a message may have."""
    return text[: _MAX_MESSAGE - 1] + "…" if len(text) > _MAX_MESSAGE else text


def _cut_end(value: object) -> object:
    return shorten(value) if isinstance(value, str) else value


def _cut_start(value: object) -> object:
    return value[-_MAX_LOG_TAIL:] if isinstance(value, str) else value


def _cut_list(value: object) -> object:
    if not isinstance(value, tuple | list) or len(value) <= MAX_WARNINGS:
        return value
    return (*value[: MAX_WARNINGS - 1], f"and {len(value) - MAX_WARNINGS + 1} more")


Message = Annotated[str, Field(max_length=_MAX_MESSAGE), BeforeValidator(_cut_end)]
"""A message for people; cut at its end."""

LogTail = Annotated[str, Field(max_length=_MAX_LOG_TAIL), BeforeValidator(_cut_start)]
"""The last lines of a log; cut at its start."""

Warnings = Annotated[tuple[Message, ...], Field(max_length=MAX_WARNINGS), BeforeValidator(_cut_list)]
"""Messages for people; of more than fit the last says how many are left out."""

Uri = Annotated[str, Field(max_length=MAX_URI)]
"""The URI of a stored object."""


def cut(values: Any, name: str, choose: Callable[[Sequence[Any]], Sequence[Any]]) -> Any:
    """The fields of a status; of list `name` what `choose` takes, and `<name>Omitted` counts the others."""
    if not isinstance(values, dict):
        return values
    every = values.get(name) or ()
    kept = choose(every)
    if len(kept) == len(every):
        return values
    omitted = f"{name}Omitted" if f"{name}Omitted" in values else f"{name}_omitted"
    return {**values, name: tuple(kept), omitted: (values.get(omitted) or 0) + len(every) - len(kept)}


def some_of(names: Sequence[str], most: int) -> str:
    """The first `most` names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a document, and where."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def human_bytes(count: int) -> str:
    """`count` bytes with a binary unit and three digits at most, such as `1.2Gi` or `512`."""
    value, unit = float(count), 0
    while value >= 1023.5 and unit < len(_BINARY_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    text = f"{value:.1f}" if unit and value < 9.95 else f"{value:.0f}"
    return text + _BINARY_UNITS[unit]


def counted(count: int, plural: str) -> str:
    """`count` and what is counted, such as `1 target` or `2 large objects`; `plural` is a key of contents."""
    words = re.sub("(?<=[a-z])([A-Z])", lambda capital: f" {capital[0].lower()}", plural)
    if count == 1:
        words = f"{words[:-3]}y" if words.endswith("ies") else words.removesuffix("s")
    return f"{count} {words}"


def sized(count: int) -> str:
    """`count` bytes in a sentence, such as `1.2GiB` or `512B`."""
    return f"{human_bytes(count)}B"


def human_seconds(seconds: int) -> str:
    """`seconds` as a duration such as `42s`, `3m5s` or `2h10m`."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minute}m"
    return f"{minutes}m{second}s" if minutes else f"{second}s"
