"""A queue that handles nothing, and remembers what it was given."""

import time

from holdfast.controller.health import Health
from holdfast.controller.queue import Key, Lane, Queue


class RememberingQueue(Queue):
    """`keys` are what was added to any lane, in that order; `lanes` says which."""

    def __init__(self) -> None:
        async def handle(_: Key) -> None:
            return None

        super().__init__(handle, Health(time.monotonic))
        self.keys: list[Key] = []
        self.lanes: list[Lane] = []

    def add(self, key: Key, lane: Lane = Lane.DUE) -> None:
        self.keys.append(key)
        self.lanes.append(lane)
