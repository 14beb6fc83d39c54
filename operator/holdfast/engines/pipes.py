"""Reads what a program prints into its pipe, in large blocks."""

import os
import time
from collections.abc import Iterator

PIPE_BYTES = 1 << 20
"""Of the pipe, as far as the kernel gives it, and of a block."""
_SHORT = PIPE_BYTES // 16
_PAUSE = 0.0005
"""Seconds in which a program at 300 MB/s fills a small part of the pipe."""


def blocks(pipe: int) -> Iterator[memoryview]:
    """What is read from `pipe` to its end. A block is overwritten by the next one.

    A program such as pg_dump writes few kilobytes at a time. To handle each piece by itself costs a second
    of CPU for each GB, so pieces are collected, and after a short one the program gets time to write more.
    """
    buffer = memoryview(bytearray(PIPE_BYTES))
    filled = 0
    while count := os.readv(pipe, [buffer[filled:]]):
        filled += count
        if filled == PIPE_BYTES:
            yield buffer
            filled = 0
        elif count < _SHORT:
            time.sleep(_PAUSE)
    if filled:
        yield buffer[:filled]
