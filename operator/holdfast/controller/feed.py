"""Keeps a list in memory in step with the cluster: all pages, then a watch, and now and then the pages again.

Only one object at a time is whole in memory, beside the rest of its page: the list takes what it needs of it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from holdfast.controller.cluster import Cluster, Collection
from holdfast.controller.errors import ApiError, ExpiredError, ForbiddenError, log_level
from holdfast.controller.health import Health

PAGE = 100
"""Objects: one may have 1.5 MB, and the whole page is in memory at once."""
SERVER_SECONDS = 240
"""After so long the API server ends a watch, and it begins again."""
SILENT_SECONDS = 75.0
"""The API server sends a bookmark about each minute; a connection on which none comes is dead."""
_MAX_SILENCE = 300.0
_BREATH = 20
_FIRST_PAUSE, _MAX_PAUSE, _REFUSED_PAUSE = 0.25, 10.0, 30.0
_MAX_EXPIRED = 3
_log = logging.getLogger(__name__)


class Sink(Protocol):
    """The list in memory. It may hear of an object that is older than what it knows by then."""

    def see(self, body: dict[str, Any]) -> None:
        """An object as it is, or was a moment ago."""

    def lose(self, body: dict[str, Any]) -> None:
        """It is deleted."""

    def begin(self, namespace: str) -> None:
        """A list of all objects in a namespace begins; in all where that is empty."""

    def end(self, namespace: str, version: str) -> None:
        """All that were there at that version have been seen."""

    def refuse(self, namespace: str, error: ForbiddenError) -> None:
        """The API server does not show what is in a namespace."""


class Feed:
    """One collection. What fails is retried; the list says what a watch has lost."""

    def __init__(
        self,
        cluster: Cluster,
        health: Health,
        interval: float,
        collection: tuple[str, Collection],
        sink: Sink,
    ) -> None:
        self._cluster = cluster
        self._health = health
        self._interval = interval
        self._namespace, self._collection = collection
        self._sink = sink
        self._version = ""
        self._one_list_at_a_time = asyncio.Lock()
        self.tried = asyncio.Event()
        """The first list has come, or the API server has refused it."""

    @property
    def name(self) -> str:
        """For people."""
        return f"feed of {self._collection.path.removeprefix('/apis/')}"

    async def run(self) -> None:
        """Turn until cancelled."""
        self._health.expect(self.name, _MAX_SILENCE)
        await self._list_until_it_comes()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._repair())

    async def list(self) -> str:
        """Show the sink all there is; returns the version of that."""
        async with self._one_list_at_a_time:
            for _ in range(_MAX_EXPIRED - 1):
                try:
                    return await self._list_once()
                except ExpiredError as error:
                    _log.info("%s: the list begins again: %s", self.name, error)
            return await self._list_once()

    async def _list_once(self) -> str:
        version, known = "", int(self._version or 0)
        self._sink.begin(self._namespace)
        async for page in self._cluster.pages(self._collection, PAGE):
            self._health.beat(self.name)
            version = page.version
            if int(version) < known:
                raise RuntimeError(
                    f"{self.name}: version {version} came after {known}: the cluster has gone to an "
                    "earlier state, and what is in memory has not; the operator starts afresh"
                )
            for number, body in enumerate(page.items):
                self._sink.see(body)
                if number % _BREATH == 0:
                    await asyncio.sleep(0)  # what is due now is handled in between
        self._sink.end(self._namespace, version)
        return version

    async def _list_until_it_comes(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._health.beat(self.name)
            try:
                self._version = await self.list()
            except ApiError as error:
                _log.log(log_level(error), "%s: %s", self.name, error)
                if isinstance(error, ForbiddenError):
                    self._sink.refuse(self._namespace, error)
                    self.tried.set()
                await asyncio.sleep(_REFUSED_PAUSE if isinstance(error, ForbiddenError) else pause)
                pause = min(_MAX_PAUSE, pause * 2)
            else:
                self.tried.set()
                return

    async def _follow(self) -> None:
        """Watch; begin again where the last one ended, and list all again where that is no longer kept."""
        pause = 0.0
        while True:
            self._health.beat(self.name)
            try:
                async with aclosing(self._watch()) as events:
                    async for event in events:
                        self._tell(event)
                        pause = 0.0
            except ExpiredError as error:
                _log.info("%s: all is listed again: %s", self.name, error)
                await asyncio.sleep(pause)
                await self._list_until_it_comes()
            except ForbiddenError:
                # The namespace may be gone, and with it the operator's role there.
                await self._list_until_it_comes()
                await asyncio.sleep(_REFUSED_PAUSE)
            except ApiError as error:
                _log.log(log_level(error), "%s: the watch begins again: %s", self.name, error)
                await asyncio.sleep(pause)
            pause = min(_MAX_PAUSE, max(_FIRST_PAUSE, pause * 2))

    def _watch(self) -> AsyncGenerator[dict[str, Any], None]:
        return self._cluster.watch(self._collection, self._version, SERVER_SECONDS, SILENT_SECONDS)

    def _tell(self, event: dict[str, Any]) -> None:
        self._health.beat(self.name)
        body = event["object"]
        if event["type"] == "DELETED":
            self._sink.lose(body)
        elif event["type"] != "BOOKMARK":
            self._sink.see(body)
        self._version = body["metadata"]["resourceVersion"]

    async def _repair(self) -> None:
        name = f"{self.name}, list"
        self._health.expect(name, self._interval * 2 + _MAX_SILENCE)
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.list()
            except ApiError as error:
                _log.log(log_level(error), "%s: %s", name, error)
            self._health.beat(name)
