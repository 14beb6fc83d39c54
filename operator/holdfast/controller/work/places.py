"""Lets a few of many go on at once; the others wait in line."""

from collections.abc import Callable

from holdfast.controller.queue import Key


class Places:
    """In memory alone: after a restart, what goes on takes its place again as soon as it is looked at."""

    def __init__(self, limit: int, wake: Callable[[Key], None]) -> None:
        self._limit = limit
        self._wake = wake
        self._taken: set[Key] = set()
        self._waiting: dict[Key, None] = {}

    def take(self, key: Key) -> bool:
        """Give it a place if there is one, else one in line; `wake` is called when its turn has come."""
        if key not in self._taken and len(self._taken) >= self._limit:
            self._waiting[key] = None
            return False
        self.hold(key)
        return True

    def hold(self, key: Key) -> None:
        """It goes on already, whether there is a place or not."""
        self._waiting.pop(key, None)
        self._taken.add(key)

    def leave(self, key: Key) -> None:
        """It neither goes on nor waits."""
        self._waiting.pop(key, None)
        if key in self._taken:
            self._taken.discard(key)
            for following in list(self._waiting)[: max(0, self._limit - len(self._taken))]:
                self._wake(following)
