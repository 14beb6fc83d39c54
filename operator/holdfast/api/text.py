"""Text for people. That of a status is cut to its limit rather than refused, so that it can be written.

A limit is in bytes as the API server stores them, so that the largest status has a size that is known.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

MAX_URI = 2048
MAX_WARNINGS = 20
_MAX_MESSAGE = 2048
_MAX_LOG_TAIL = 4096
_MAX_SHORT = 253
_MAX_WARNINGS_BYTES = 6144
"""Of all warnings of a list."""
_MAX_ESCAPE = 6
"""The most bytes that a character has in JSON, such as a control character."""
_BINARY_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def json_bytes(json_text: str) -> int:
    """How many bytes the API server stores for JSON: Go escapes <, > and &."""
    return len(json_text.encode(errors="surrogatepass")) + 5 * sum(json_text.count(sign) for sign in "<>&")


def stored_bytes(text: str) -> int:
    """How many bytes a text has in the API server's JSON, without the quotes."""
    return json_bytes(json.dumps(text, ensure_ascii=False)[1:-1])


def _most(size: int, text_of: Callable[[int], str], limit: int) -> str:
    """The longest text of `text_of`, which is given a number of characters, that fits into the limit."""
    return text_of(bisect_right(range(1, size + 1), limit, key=lambda keep: stored_bytes(text_of(keep))))


def _cut_to(limit: int) -> Callable[[object], object]:
    def cut_end(value: object) -> object:
        if not isinstance(value, str) or len(value) * _MAX_ESCAPE <= limit or stored_bytes(value) <= limit:
            return value
        return _most(len(value), lambda keep: value[:keep] + "…", limit)

    return cut_end


def shorten(text: str) -> str:
    """The text, or as much of it as a message may have."""
    return str(_cut_to(_MAX_MESSAGE)(text))


def _cut_start(value: object) -> object:
    if not isinstance(value, str) or len(value) * _MAX_ESCAPE <= _MAX_LOG_TAIL:
        return value
    return _most(len(value), lambda keep: value[len(value) - keep :], _MAX_LOG_TAIL)


def _cut_list(value: object) -> object:
    if not isinstance(value, tuple | list):
        return value
    texts = tuple(map(_cut_to(_MAX_MESSAGE), value))
    sizes = list(accumulate(stored_bytes(str(text)) for text in texts))
    if len(texts) <= MAX_WARNINGS and (not sizes or sizes[-1] <= _MAX_WARNINGS_BYTES):
        return texts
    kept = min(MAX_WARNINGS - 1, bisect_right(sizes, _MAX_WARNINGS_BYTES - len("and 1000000 more")))
    return (*texts[:kept], f"and {len(texts) - kept} more")


ShortText = Annotated[str, Field(max_length=_MAX_SHORT), BeforeValidator(_cut_to(_MAX_SHORT))]
"""A name or a version; cut at its end."""

Message = Annotated[str, Field(max_length=_MAX_MESSAGE), BeforeValidator(_cut_to(_MAX_MESSAGE))]
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
