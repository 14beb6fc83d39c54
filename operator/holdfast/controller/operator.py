"""Put the operator together and run it in one process."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.feed import Feed
from holdfast.controller.health import Health
from holdfast.controller.queue import Handler, Queue
from holdfast.controller.reconcilers.policies import Policies
from holdfast.controller.reconcilers.restores import Restores
from holdfast.controller.reconcilers.runs import Runs
from holdfast.controller.reporter import Reporter
from holdfast.controller.resync import TURNS, Resync
from holdfast.controller.scheduler import Scheduler
from holdfast.controller.wakes import Wakes
from holdfast.controller.watches import Watches
from holdfast.controller.work.context import Context
from holdfast.controller.work.joblist import JobList
from holdfast.controller.work.permits import Permits
from holdfast.controller.work.runlist import RunList
from holdfast.controller.work.unclear import answered

_log = logging.getLogger(__name__)
_STOP_SECONDS = 5.0


def run(config: Config) -> None:
    """Run until SIGTERM. A loop that ends, which none should, ends the process; the next starts afresh."""
    logging.basicConfig(
        level=config.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(_run(config))


async def _run(config: Config) -> None:
    cluster = await Cluster.connect(config)
    health = Health(time.monotonic)
    queue = Queue(lambda key: services[key.kind](key), health)
    wakes = Wakes(queue)
    scheduler = Scheduler(queue, health, _now)
    runs, jobs = RunList(cluster, wakes.run_changed), JobList(wakes.job_changed)
    reporter = Reporter(cluster, _now)
    permits = Permits(jobs, queue, config)
    context = Context(cluster, config, queue, reporter, scheduler, _now, time.monotonic, runs, jobs, permits)
    services: dict[str, Handler] = {
        kind.plural: permits.followed(answered(context, handler))
        for kind, handler in (
            (BackupPolicy, Policies(context).reconcile),
            (BackupRun, Runs(context).reconcile),
            (RestoreRequest, Restores(context).reconcile),
        )
    }
    interval = config.resync.total_seconds()
    resync = Resync(cluster, (runs, jobs), queue, health, interval)
    feeds = [
        Feed(cluster, health, interval * TURNS, collection, sink)
        for sink, collections in (
            (runs, cluster.collections(BackupRun)),
            (jobs, cluster.job_collections()),
        )
        for collection in collections.items()
    ]
    watches = Watches(config, health, queue.add)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await _first_of(
            _until(stop),
            watches.run(),
            scheduler.run(),
            reporter.run(health),
            *(feed.run() for feed in feeds),
            _after_first_lists(feeds, queue, resync),
        )
    finally:
        await cluster.close()


async def _after_first_lists(feeds: Sequence[Feed], queue: Queue, resync: Resync) -> None:
    """Nothing is decided from half a list. One that cannot be had only stops what needs it."""
    for feed in feeds:
        await feed.tried.wait()
    await _first_of(queue.run(), resync.run())


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _first_of(*loops: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, then stop the others; raises what it ended with."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        _, hanging = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        if hanging:
            # Nothing here has to end first.
            _log.warning("ends without what does not stop: %s", hanging)
            logging.shutdown()
            os._exit(1)


def _now() -> datetime:
    return datetime.now(UTC)
