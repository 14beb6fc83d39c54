"""A queue of keys: each is handled by one worker at a time, once for however often it was added."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic import ValidationError

from holdfast.api.meta import Resource
from holdfast.controller.errors import (
    ApiError,
    ConflictError,
    NamespaceTerminatingError,
    NotFoundError,
    TransientError,
)

_log = logging.getLogger(__name__)
_FIRST_BACKOFF = 0.25
_MAX_BACKOFF = 60.0


class Key(NamedTuple):
    """An object: `kind` is the plural of one of the three."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, resource: Resource) -> "Key":
        """The object's own."""
        return cls(resource.plural, resource.metadata.namespace, resource.metadata.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


Handler = Callable[[Key], Awaitable[float | None]]
"""Handles a key; returns after how many seconds it wants to see it again at the latest."""


class Queue:
    """Keys wait here. Add from the event loop's own thread only."""

    def __init__(self, handler: Handler, workers: int = 8) -> None:
        self._handler = handler
        self._workers = workers
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Have the key handled, once more if that is going on at the moment."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have the key handled after a time; an earlier appointment stands."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    async def run(self) -> None:
        """Handle keys until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._running.add(key)
            try:
                delay = await self._handle(key)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            if delay is not None:
                self.add_after(key, delay)

    async def _handle(self, key: Key) -> float | None:
        try:
            delay = await self._handler(key)
        except (ConflictError, NotFoundError, NamespaceTerminatingError) as error:
            # People delete objects and namespaces at any moment: what is there now decides.
            _log.info("%s, or what it needs, has changed or gone and is read again: %s", key, error)
            return self._backoff(key)
        except TransientError as error:
            delay = self._backoff(key)
            _log.warning("%s is retried in %.1f s: %s", key, delay, error)
            return delay
        except (ApiError, ValidationError):
            delay = self._backoff(key)
            _log.exception("%s cannot be handled and is retried in %.1f s", key, delay)
            return delay
        except Exception:  # noqa: BLE001 a defect met with one object must not stop the others
            delay = self._backoff(key)
            _log.exception("%s met a defect and is retried in %.1f s", key, delay)
            return delay
        self._failures.pop(key, None)
        return delay

    def _backoff(self, key: Key) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        return float(min(_MAX_BACKOFF, _FIRST_BACKOFF * 2 ** min(count, 10)))
