"""What every folder of tests shares: the harness, and which tests may run beside each other."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = ["tests.harness"]

_LONGEST_FIRST = ("e2e", "cluster", "controller", "engines", "runner")
_TOGETHER = ("cluster", "api", "chart")
"""Folders whose tests share a server or a cluster: one process runs them all, in their order."""


class FilesAndFolders(LoadFileScheduling):
    """Gives each process (`--numprocesses`) whole files to run, or whole folders."""

    def _split_scope(self, nodeid: str) -> str:
        folder = _folder(nodeid)
        return folder if folder in _TOGETHER else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndFolders:
    """Take the scheduler above."""
    return FilesAndFolders(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it at the end."""
    items.sort(key=lambda item: _rank(_folder(item.nodeid)))


def _folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


def _rank(folder: str) -> int:
    return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)
