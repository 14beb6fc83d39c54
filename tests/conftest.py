"""What every folder of tests shares: the harness, which tests run, and which may run beside each other."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

pytest_plugins = ["tests.harness"]

_LONGEST_FIRST = ("e2e", "controller", "cluster", "runner", "engines")
_TOGETHER = ("e2e", "cluster", "api", "chart")
"""Folders whose tests share a server, a cluster or an application: one process runs them, in their order."""
_APART = ("e2e/test_faults.py",)
"""Files of such a folder that have an application of their own."""


class FilesAndFolders(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each process (`--numprocesses`) whole files to run, or whole folders.

    A process gets its next file when it begins the last test of one, not two tests before the end as
    usual: with tests of a minute it would sit on a file that another process could run.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder, _, name = str(super()._split_scope(nodeid)).removeprefix("tests/").partition("/")
        return folder if folder in _TOGETHER and f"{folder}/{name}" not in _APART else f"{folder}/{name}"

    def _reschedule(self, node: WorkerController) -> None:
        # A process needs to know the next test before it begins one.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolders:
    """Take the scheduler above."""
    return FilesAndFolders(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it at the end.

    Long tests run only where they are asked for: `-m long`.
    """
    items.sort(key=lambda item: _rank(item.nodeid.split("/")[1]))
    if "long" not in config.getoption("markexpr"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def _rank(folder: str) -> int:
    return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)
