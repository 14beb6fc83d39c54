"""Keeps the C library's allocator from holding on to memory that was freed."""

import ctypes

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_PART_SCALE = 256 << 10


def bound_allocator() -> None:
    """Give parts back to the system as soon as they are sent, and share one heap between threads.

    By default glibc raises the size from which it does so to 32 MiB once it has seen one freed, and gives
    each thread a heap (mallopt(3)); measured on a backup to S3, that costs 30 to 40 MB. Other C libraries
    have no mallopt and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _PART_SCALE)
        mallopt(_M_ARENA_MAX, 1)
