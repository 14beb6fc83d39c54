"""Tests wait for conditions instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], what: str, seconds: float = 120, pause: float = 0.02) -> T:
    """Poll `condition` until it is true and return its value; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s; last seen: {value!r}"
        time.sleep(pause)
    return value
