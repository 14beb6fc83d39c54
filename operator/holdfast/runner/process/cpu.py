"""How many CPUs this container may use."""

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""`<quota> <period>` in microseconds, or `max <period>` (kernel documentation, cgroup-v2)."""


def cpu_limit(cpu_max: Path = _CPU_MAX) -> int:
    """Whole CPUs, at least 1: the cgroup's limit rounded up, but no more than the node has."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text().split()
    except FileNotFoundError:
        return available
    return available if quota == "max" else max(1, min(available, -(-int(quota) // int(period))))
