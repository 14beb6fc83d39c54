"""A queue of keys: each is handled by one worker at a time, once for however often it was added."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
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
_TURN = 4
"""While both lanes have keys, every so manieth comes from the background."""
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


class Queue:
    """Two lanes of waiting keys: what is due, and what is only looked at again. Neither starves the other.

    Add from the event loop's own thread only.
    """

    def __init__(self, handler: Handler, health: Health, workers: int = 8) -> None:
        self._handler = handler
        self._health = health
        self._workers = workers
        self._ready = asyncio.Semaphore(0)
        self._due: OrderedDict[Key, None] = OrderedDict()
        self._background: OrderedDict[Key, None] = OrderedDict()
        self._taken = 0
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, tuple[str, int]] = {}
        """What failed last, and how often in a row: a key that gets on is not slowed down."""

    def add(self, key: Key) -> None:
        """Have the key handled, once more if that is going on at the moment."""
        if key in self._running:
            self._again.add(key)
        elif key in self._background:
            del self._background[key]
            self._due[key] = None
        elif key not in self._due:
            self._due[key] = None
            self._ready.release()

    def add_to_background(self, key: Key) -> None:
        """Have the key handled later than what is due."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._due and key not in self._background:
            self._background[key] = None
            self._ready.release()

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
        is_their_turn = self._taken % _TURN == 0
        lane = self._background if self._background and (is_their_turn or not self._due) else self._due
        key, _ = lane.popitem(last=False)
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
        before, count = self._failures.get(key, (what, 0))
        count = count if before == what else 0
        self._failures[key] = what, count + 1
        return float(min(MAX_RETRY_PAUSE, _FIRST_BACKOFF * 2 ** min(count, 10)))
