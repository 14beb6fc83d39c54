"""Which tests run, in which order, and which may run beside each other."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

ALL = 1 << 30
"""An amount for `make test-long`: however many there are."""
_LONGEST_FIRST = ("e2e", "cluster", "controller", "runner", "engines")
"""Folders, as long as nobody has measured: a first run."""
_TOGETHER = ("e2e", "cluster", "api", "chart")
"""Folders whose tests share a server, a cluster or an application: one process runs them, in their order."""
_APART = ("e2e/test_faults.py",)
"""Files of such a folder that have an application of their own."""
_SECONDS = "holdfast/seconds"
"""In pytest's cache: how long each unit took when all tests were run last."""


class FilesAndFolders(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each process (`--numprocesses`) whole files to run, or whole folders.

    A process gets its next file when it begins the last test of one, not two tests before the end as
    usual: with tests of a minute it would sit on a file that another process could run.
    """

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        # A process needs to know the next test before it begins one.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


class Stopwatch:
    """Measures units while their tests run in other processes, and keeps that for the next run's order."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up."""
        unit = unit_of(report.nodeid)
        self._seconds[unit] = self._seconds.get(unit, 0) + report.duration

    def pytest_sessionfinish(self) -> None:
        """Keep it."""
        if (cache := _cache(self._config)) is not None:
            cache.set(_SECONDS, cache.get(_SECONDS, {}) | self._seconds)


def _cache(config: pytest.Config) -> pytest.Cache | None:
    """None where pytest runs without one (`-p no:cacheprovider`)."""
    return getattr(config, "cache", None)


def amounts(few: int, many: int) -> list[Any]:
    """For `parametrize`: how much of something `make test` takes, and how much `make test-long`."""
    return [few, pytest.param(many, marks=pytest.mark.long, id="all" if many == ALL else None)]


def sample(chance: random.Random, every: Sequence[int], most: int) -> list[int]:
    """As many of them, in their order, or all: the moments of kills."""
    return sorted(chance.sample(every, min(most, len(every))))


def unit_of(nodeid: str) -> str:
    """What a test is run with by one process: its file, or its folder."""
    folder, _, name = nodeid.partition("::")[0].removeprefix("tests/").partition("/")
    path = f"{folder}/{name}" if name else folder
    return folder if folder in _TOGETHER and path not in _APART else path


def rank(nodeid: str, seconds: Mapping[str, float]) -> tuple[float, int]:
    """Sorts what takes longest to the front, so that no process is left with it at the end."""
    folder = nodeid.removeprefix("tests/").partition("/")[0]
    guess = _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)
    return -seconds.get(unit_of(nodeid), math.inf), guess


def pytest_configure(config: pytest.Config) -> None:
    """Measure only runs that are spread over processes: these are of all tests."""
    if config.getoption("numprocesses", None):
        config.pluginmanager.register(Stopwatch(config))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolders:
    """Take the scheduler above."""
    return FilesAndFolders(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests; long ones run only where they are asked for: `-m long`."""
    cache = _cache(config)
    seconds = {} if cache is None else cache.get(_SECONDS, {})
    items.sort(key=lambda item: rank(item.nodeid, seconds))
    if "long" not in config.getoption("markexpr"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
