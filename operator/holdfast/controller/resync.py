"""One loop that hands everything to the queue, so that a dead watch delays and loses nothing."""

import asyncio
import logging

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.errors import ApiError
from holdfast.controller.health import Health
from holdfast.controller.queue import Key, Queue
from holdfast.controller.work.runlist import RunList

NAME = "resync"
_log = logging.getLogger(__name__)


class Resync:
    """Lists the three kinds every `interval` seconds; the first time at once."""

    def __init__(
        self, cluster: Cluster, runs: RunList, queue: Queue, health: Health, interval: float
    ) -> None:
        self._cluster = cluster
        self._runs = runs
        self._queue = queue
        self._health = health
        self._interval = interval

    async def run(self) -> None:
        """Turn until cancelled. A request that fails is an answer; only one that hangs stops the heart."""
        self._health.expect(NAME, self._interval * 3 + 5)
        while True:
            try:
                await self._list()
            except ApiError as error:
                _log.warning("resync: %s", error)
            self._health.beat(NAME)
            await asyncio.sleep(self._interval)

    async def _list(self) -> None:
        for policy in await self._cluster.get_all(BackupPolicy):
            self._queue.add(Key.of(policy))
        for row in await self._runs.everywhere():
            self._queue.add(Key(BackupRun.plural, row.namespace, row.name))
        for request in await self._cluster.get_all(RestoreRequest):
            self._queue.add(Key.of(request))
