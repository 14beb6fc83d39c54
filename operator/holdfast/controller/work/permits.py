"""Permits: let a few of many go on at a time. `controller/jobs/kinds.py` says how many."""

from collections.abc import Callable

from holdfast.controller.queue import Key


class Permits:
    """They are in memory alone. After a restart, what goes on has its permit again at its next reconcile."""

    def __init__(self, limit: int, wake: Callable[[Key], None]) -> None:
        self._limit = limit
        self._wake = wake
        self._holders: set[Key] = set()
        self._line: dict[Key, None] = {}

    def take(self, key: Key) -> bool:
        """Give the key a permit if one is free. Else it stands in line, and `wake` is called at its turn."""
        if key not in self._holders and len(self._holders) >= self._limit:
            self._line[key] = None
            return False
        self.keep(key)
        return True

    def keep(self, key: Key) -> None:
        """The key goes on already, whatever the limit says."""
        self._line.pop(key, None)
        self._holders.add(key)

    def release(self, key: Key) -> None:
        """The key neither goes on nor waits."""
        self._line.pop(key, None)
        if key in self._holders:
            self._holders.discard(key)
            for following in list(self._line)[: max(0, self._limit - len(self._holders))]:
                self._wake(following)
