"""Report what has happened as Kubernetes events, once however often a step is repeated."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast.api.base import format_time
from holdfast.api.meta import API_VERSION, Resource
from holdfast.controller.cluster import Cluster
from holdfast.controller.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    NamespaceTerminatingError,
    TransientError,
)
from holdfast.controller.health import Health
from holdfast.domain.naming import event_name
from holdfast.domain.step import Notice

NAME = "events"
MAX_BACKLOG = 5000
_log = logging.getLogger(__name__)
_MAX_MESSAGE = 1024
_MAX_REMEMBERED = 4096
_PATIENCE = 2.0
"""Seconds that a status waits for its event."""
_FIRST_PAUSE = 0.25
_MAX_PAUSE = 30.0
_MAX_AGE = 3600.0
"""Seconds; the cluster keeps an event for as long."""


@dataclass(frozen=True)
class Subject:
    """The object that an event is about."""

    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, resource: Resource) -> "Subject":
        """An object of the three kinds."""
        metadata = resource.metadata
        return cls(resource.kind_name(), metadata.namespace, metadata.name, metadata.uid)


class _Backlog:
    """The events of one namespace that could not be written yet, in their order."""

    def __init__(self) -> None:
        self.events: deque[tuple[float, dict[str, Any]]] = deque()
        """Each with the moment from which on it waits."""
        self.pause = _FIRST_PAUSE
        self.next_time = 0.0

    def postpone(self, now: float) -> None:
        """It failed again."""
        self.next_time = now + self.pause
        self.pause = min(_MAX_PAUSE, self.pause * 2)


class Reporter:
    """An event's name is made of what it says, so the API server refuses to create it twice.

    It is created before the status that follows from it is written: should the operator die between the two,
    the step is repeated and the event is there already. But no status waits long for its event. As soon as
    one cannot be written, this and all later ones of its namespace stand in a backlog, which `run` writes
    when it can. A backlog has limits and is lost with the process; how many events the limits cost is logged.
    """

    def __init__(self, cluster: Cluster, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now
        self._names: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._backlogs: dict[str, _Backlog] = {}
        self._has_more = asyncio.Event()
        self._dropped = 0

    async def report(self, resource: Resource, notices: Iterable[Notice]) -> None:
        """Create the events that are not known to be there, or see to it that they are created later."""
        await self.report_on(Subject.of(resource), notices)

    async def report_on(self, subject: Subject, notices: Iterable[Notice]) -> None:
        """The same, for an object that is not understood."""
        for notice in notices:
            name = event_name(subject.name, subject.uid, notice.reason, notice.subject)
            if (subject.uid, name) in self._names:
                continue
            event = self._event(subject, notice, name)
            if subject.namespace in self._backlogs or not await self._write(event):
                self._put_off(subject.namespace, event)
            self._names[subject.uid, name] = None
            if len(self._names) > _MAX_REMEMBERED:
                self._names.popitem(last=False)

    async def run(self, health: Health) -> None:
        """Write the backlogs whenever there are some. Turns until cancelled."""
        health.expect(NAME, _MAX_PAUSE * 3)
        while True:
            health.beat(NAME)
            await self._wait()
            for namespace, backlog in list(self._backlogs.items()):
                if backlog.next_time <= time.monotonic():
                    health.beat(NAME)
                    await self._work_off(namespace, backlog)

    async def _wait(self) -> None:
        """Until a backlog is due, or one has started."""
        times = [backlog.next_time - time.monotonic() for backlog in self._backlogs.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min([*times, _MAX_PAUSE]))):
                await self._has_more.wait()
        self._has_more.clear()

    async def _work_off(self, namespace: str, backlog: _Backlog) -> None:
        while backlog.events:
            put_off, event = first = backlog.events[0]
            if time.monotonic() - put_off > _MAX_AGE:
                self._dropped += 1
            elif not await self._write(event):
                backlog.postpone(time.monotonic())
                return
            backlog.pause = _FIRST_PAUSE
            if backlog.events and backlog.events[0] is first:  # else it was dropped in between
                backlog.events.popleft()
        del self._backlogs[namespace]
        self._say_dropped()

    async def _write(self, event: dict[str, Any]) -> bool:
        """Whether nothing more has to be done for the event: it is there, or will never be."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._cluster.create_event(event)
        except NamespaceTerminatingError as error:
            _log.info("event %s: %s", event["reason"], error)
        except (TransientError, ConflictError, ForbiddenError, TimeoutError) as error:
            if not self._backlogs:
                _log.warning("events cannot be written at the moment and are written later: %s", error)
            return False
        except ApiError as error:
            # An event only reports: a namespace that takes none must not keep a backup from going on.
            _log.warning("event %s: %s", event["reason"], error)
        return True

    def _put_off(self, namespace: str, event: dict[str, Any]) -> None:
        if sum(len(backlog.events) for backlog in self._backlogs.values()) >= MAX_BACKLOG:
            longest = max(self._backlogs.values(), key=lambda backlog: len(backlog.events))
            longest.events.popleft()
            self._dropped += 1
        self._backlogs.setdefault(namespace, _Backlog()).events.append((time.monotonic(), event))
        self._has_more.set()

    def _say_dropped(self) -> None:
        if self._dropped:
            _log.warning(
                "events can be written again; %d of those put off were dropped: no more than %d are kept, "
                "and none for more than an hour", self._dropped, MAX_BACKLOG,
            )  # fmt: skip
            self._dropped = 0

    def _event(self, subject: Subject, notice: Notice, name: str) -> dict[str, Any]:
        now, message = format_time(self._now()), notice.message
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": subject.kind,
                "name": subject.name,
                "namespace": subject.namespace,
                "uid": subject.uid,
            },
            "type": "Warning" if notice.warning else "Normal",
            "reason": notice.reason,
            "message": message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…",
            "source": {"component": "holdfast"},
            "reportingComponent": "holdfast",
            "reportingInstance": "holdfast",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
