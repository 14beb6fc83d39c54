"""Makes a Result fit into a termination message."""

from bisect import bisect_right
from collections.abc import Callable

from holdfast.protocol import MAX_RESULT_BYTES, Result

_OPTIONAL = (
    "more", "notes", "preflight", "preflight_omitted", "omissions", "omissions_omitted", "staged",
)  # fmt: skip


def fit(result: Result, limit: int = MAX_RESULT_BYTES) -> bytes:
    """The Result as JSON of at most `limit` bytes.

    What people can find elsewhere goes first, as the Result itself says (`Result.cuts`). Raises ValueError
    when what is left, which programs need, is still too long.
    """
    for cut in result.cuts:
        if len(encode(result)) <= limit:
            break
        whole = result
        result = _most(cut.size(whole), lambda keep: cut.keep(whole, keep), limit)  # noqa: B023 - called at once
    data = encode(result)
    if len(data) > limit:
        raise ValueError(f"a {result.kind} result of {len(data)} bytes does not fit into {limit}")
    return data


def encode(result: Result) -> bytes:
    """The Result as JSON. Without what says nothing: the operator may be older and not know the field."""
    silent = {name for name in _OPTIONAL if not getattr(result, name, None)}
    if getattr(result, "in_place", False):
        silent.add("in_place")  # the default
    return result.model_dump_json(by_alias=True, exclude_none=True, exclude=silent).encode()


def _most(size: int, build: Callable[[int], Result], limit: int) -> Result:
    """What `build` makes of the largest number up to `size` that fits, of 0 when none does."""
    best = bisect_right(range(1, size + 1), limit, key=lambda keep: len(encode(build(keep))))
    return build(best)
