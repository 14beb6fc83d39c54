"""A queue of keys: each is handled by one worker at a time, once for however often it was added."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from enum import IntEnum
from typing import NamedTuple

from pydantic import ValidationError

from holdfast.api.meta import Resource
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.errors import (
    MAX_RETRY_PAUSE,
    ApiError,
    ConflictError,
    ForbiddenError,
    NamespaceTerminatingError,
    NotFoundError,
    TransientError,
)
from holdfast.controller.health import Health
from holdfast.domain import labels

NAME = "queue"
MAX_SECONDS = 900.0
"""A key that is handled for longer than this hangs: each of its requests has a limit of its own."""
_FIRST_BACKOFF = 0.25
LOOK_SECONDS = 5.0
_log = logging.getLogger(__name__)


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


def owner_key(namespace: str, job_labels: Mapping[str, str]) -> Key | None:
    """What a Job belongs to, by its labels: those of a run have its policy's too."""
    if labels.RUN in job_labels:
        return Key(BackupRun.plural, namespace, job_labels[labels.RUN])
    if labels.RESTORE in job_labels:
        return Key(RestoreRequest.plural, namespace, job_labels[labels.RESTORE])
    if labels.POLICY in job_labels:
        return Key(BackupPolicy.plural, namespace, job_labels[labels.POLICY])
    return None


Handler = Callable[[Key], Awaitable[float | None]]
"""Handles a key; returns after how many seconds it wants to see it again at the latest."""
_handled: ContextVar[Key | None] = ContextVar("handled", default=None)


class Lane(IntEnum):
    """How urgent a waiting key is."""

    START = 0
    """A slot has come, or a run is new: it starts late if it waits behind the work of those that go on."""
    DUE = 1
    """Something has changed."""
    BACKGROUND = 2
    """It is only looked at again."""


_TURNS = (Lane.START, Lane.DUE, Lane.START, Lane.BACKGROUND)
"""Whose turn it is; a lane without keys leaves its turn to the most urgent one that has some."""


class Queue:
    """A lane of waiting keys for each urgency. None starves another.

    Add from the event loop's own thread only.
    """

    def __init__(self, handler: Handler, health: Health, workers: int = 8) -> None:
        self._handler = handler
        self._health = health
        self._workers = workers
        self._ready = asyncio.Semaphore(0)
        self._lanes: dict[Lane, OrderedDict[Key, None]] = {lane: OrderedDict() for lane in Lane}
        self._taken = 0
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, Counter[str]] = {}
        """How often each request has failed since the key last ended well: one that gets on is not slowed."""

    def add(self, key: Key, lane: Lane = Lane.DUE) -> None:
        """Have the key handled, once more if that is going on at the moment; it never becomes less urgent."""
        if key in self._running:
            self._again.add(key)
            return
        waits_in = next((name for name, keys in self._lanes.items() if key in keys), None)
        if waits_in is None:
            self._lanes[lane][key] = None
            self._ready.release()
        elif lane < waits_in:
            del self._lanes[waits_in][key]
            self._lanes[lane][key] = None

    def add_to_background(self, key: Key) -> None:
        """Have the key handled later than what is due."""
        self.add(key, Lane.BACKGROUND)

    def add_after(self, key: Key, seconds: float) -> None:
        """Have the key handled after a time; an earlier appointment stands."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._come, key)

    def is_handling(self, key: Key) -> bool:
        """Whether whoever asks is called by the handler of this key."""
        return _handled.get() == key

    def _come(self, key: Key) -> None:
        del self._timers[key]
        self.add(key)

    async def run(self) -> None:
        """Handle keys until cancelled."""
        self._health.expect(NAME, MAX_SECONDS)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())
            group.create_task(self._watch_workers())

    async def _watch_workers(self) -> None:
        while True:
            now = self._health.monotonic()
            if all(now - since < MAX_SECONDS for since in self._running.values()):
                self._health.beat(NAME)
            await asyncio.sleep(LOOK_SECONDS)

    async def _work(self) -> None:
        while True:
            await self._ready.acquire()
            key = self._take()
            self._running[key] = self._health.monotonic()
            _handled.set(key)
            try:
                delay = await self._handle(key)
            finally:
                del self._running[key]
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            if delay is not None:
                self.add_after(key, delay)

    def _take(self) -> Key:
        self._taken += 1
        turn = _TURNS[self._taken % len(_TURNS)]
        waiting = self._lanes[turn] or next(filter(None, self._lanes.values()))
        key, _ = waiting.popitem(last=False)
        return key

    async def _handle(self, key: Key) -> float | None:
        try:
            delay = await self._handler(key)
        except (ConflictError, NotFoundError, NamespaceTerminatingError) as error:
            # People delete objects and namespaces at any moment: what is there now decides.
            _log.info("%s, or what it needs, has changed or gone and is read again: %s", key, error)
            return self._backoff(key, error)
        except (TransientError, ForbiddenError) as error:
            # The cluster logs it, once for all keys that meet it.
            delay = self._backoff(key, error)
            _log.debug("%s is retried in %.1f s: %s", key, delay, error)
            return delay
        except (ApiError, ValidationError) as error:
            delay = self._backoff(key, error)
            _log.exception("%s cannot be handled and is retried in %.1f s", key, delay)
            return delay
        except Exception as error:  # noqa: BLE001 a defect met with one object must not stop the others
            delay = self._backoff(key, error)
            _log.exception("%s met a defect and is retried in %.1f s", key, delay)
            return delay
        except asyncio.CancelledError as error:
            worker = asyncio.current_task()
            if worker is None or worker.cancelling():
                raise
            # What the handler waited for was cancelled, and not this worker: it would end without a word.
            delay = self._backoff(key, error)
            _log.exception("%s waited for what was cancelled and is retried in %.1f s", key, delay)
            return delay
        self._failures.pop(key, None)
        return delay

    def _backoff(self, key: Key, error: BaseException) -> float:
        what = error.request if isinstance(error, ApiError) else type(error).__name__
        failures = self._failures.setdefault(key, Counter())
        count = failures[what]
        failures[what] += 1
        return float(min(MAX_RETRY_PAUSE, _FIRST_BACKOFF * 2 ** min(count, 10)))
