"""One loop that hands to the queue what watches may have lost: a dead one delays, and nothing is lost."""

import asyncio
import logging
from typing import Any
from zlib import crc32

from holdfast.api.meta import Resource
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestorePhase, RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.errors import ApiError, log_level
from holdfast.controller.feed import PAGE
from holdfast.controller.health import Health
from holdfast.controller.queue import Key, Queue
from holdfast.controller.work.joblist import JobList
from holdfast.controller.work.runlist import RunList

NAME = "resync"
TURNS = 10
"""In so many turns all policies are handled, and the feeds list everything."""
_ENDED = frozenset(phase.value for phase in RestorePhase if phase.has_ended)
_log = logging.getLogger(__name__)


class Resync:
    """Each turn: what has changed, a tenth of all policies, and requests and runs that are not settled."""

    def __init__(
        self, cluster: Cluster, lists: tuple[RunList, JobList], queue: Queue, health: Health, interval: float
    ) -> None:
        self._cluster = cluster
        self._runs, self._jobs = lists
        self._queue = queue
        self._health = health
        self._interval = interval
        self._turn = 0
        self._versions: dict[Key, str] = {}

    async def run(self) -> None:
        """Turn until cancelled. A request that fails is an answer; only one that hangs stops the heart."""
        self._health.expect(NAME, self._interval * 3 + 5)
        while True:
            self._turn += 1
            for kind in (BackupPolicy, RestoreRequest):
                await self._add_changed(kind)
            self._add_unsettled()
            self._health.beat(NAME)
            await asyncio.sleep(self._interval)

    async def _add_changed(self, kind: type[Resource]) -> None:
        for namespace, collection in self._cluster.collections(kind).items():
            shown: set[Key] = set()
            try:
                async for page in self._cluster.pages(collection, PAGE):
                    shown.update(self._look_at(kind, body) for body in page.items)
            except ApiError as error:
                _log.log(log_level(error), "resync of %s %s: %s", kind.plural, namespace, error)
            else:
                self._forget_gone(kind, namespace, shown)

    def _forget_gone(self, kind: type[Resource], namespace: str, shown: set[Key]) -> None:
        """What is deleted is handled once more: a watch may have lost that."""
        known = (key for key in self._versions if key.kind == kind.plural)
        for key in [key for key in known if namespace in ("", key.namespace) and key not in shown]:
            del self._versions[key]
            self._queue.add_to_background(key)

    def _look_at(self, kind: type[Resource], body: dict[str, Any]) -> Key:
        metadata = body["metadata"]
        key, version = Key(kind.plural, metadata["namespace"], metadata["name"]), metadata["resourceVersion"]
        has_changed = self._versions.get(key) != version
        self._versions[key] = version
        if has_changed or self._is_its_turn(key, body):
            self._queue.add_to_background(key)
        return key

    def _is_its_turn(self, key: Key, body: dict[str, Any]) -> bool:
        if key.kind == BackupPolicy.plural:
            return (crc32(str(key).encode()) + self._turn) % TURNS == 0
        return (body.get("status") or {}).get("phase") not in _ENDED

    def _add_unsettled(self) -> None:
        for row in self._runs.unsettled():
            self._queue.add_to_background(Key(BackupRun.plural, row.namespace, row.name))
        for owner in self._jobs.owners():
            self._queue.add_to_background(owner)
