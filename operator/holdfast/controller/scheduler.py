"""One loop that hands a policy to the queue when its next slot comes, of a backup or a verification."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from holdfast.controller.health import Health
from holdfast.controller.queue import Key, Lane, Queue

NAME = "scheduler"
MAX_SLEEP = 10.0
"""Seconds. The clock may be set, or the machine sleep: slots are compared with it at least so often."""


class Scheduler:
    """Knows when each policy is next due; what is due then is decided by its reconcile, from its status."""

    def __init__(self, queue: Queue, health: Health, now: Callable[[], datetime]) -> None:
        self._queue = queue
        self._health = health
        self._now = now
        self._slots: dict[Key, datetime] = {}
        self._changed = asyncio.Event()

    def set(self, key: Key, slot: datetime | None) -> None:
        """The policy's next slot; None when none comes."""
        if slot is None:
            self._slots.pop(key, None)
        elif self._slots.get(key) != slot:
            self._slots[key] = slot
            self._changed.set()

    async def run(self) -> None:
        """Turn until cancelled."""
        self._health.expect(NAME, MAX_SLEEP * 3)
        while True:
            self._health.beat(NAME)
            for key in self._take_due():
                self._queue.add(key, Lane.START)
            self._changed.clear()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _take_due(self) -> list[Key]:
        now = self._now()
        due = [key for key, slot in self._slots.items() if slot <= now]
        for key in due:
            # Its reconcile sets the next one; should it fail, the queue retries it.
            del self._slots[key]
        return due

    def _pause(self) -> float:
        now = self._now()
        waits = [(slot - now).total_seconds() for slot in self._slots.values()]
        return max(0.0, min([*waits, MAX_SLEEP]))
