"""Put the operator together and run it in one process."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import kopf

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller import handlers
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.health import Health
from holdfast.controller.queue import Handler, Queue
from holdfast.controller.reconcilers.policies import Policies
from holdfast.controller.reconcilers.restores import Restores
from holdfast.controller.reconcilers.runs import Runs
from holdfast.controller.reporter import Reporter
from holdfast.controller.resync import Resync
from holdfast.controller.scheduler import Scheduler
from holdfast.controller.work.context import Context
from holdfast.controller.work.runlist import RunList

_log = logging.getLogger(__name__)
_REWATCH_SECONDS = 2.0
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
    queue = Queue(lambda key: services[key.kind](key))
    scheduler = Scheduler(queue, health, _now)
    runs = RunList(cluster)
    reporter = Reporter(cluster, _now)
    context = Context(cluster, config, queue, reporter, scheduler, _now, time.monotonic, runs)
    services: dict[str, Handler] = {
        BackupPolicy.plural: Policies(context).reconcile,
        BackupRun.plural: Runs(context).reconcile,
        RestoreRequest.plural: Restores(context).reconcile,
    }
    resync = Resync(cluster, runs, queue, health, config.resync.total_seconds())
    stop = asyncio.Event()
    _stop_on_signals(stop)
    watches = _watch(queue, health, config, stop)
    try:
        await _first_of(_until(stop), queue.run(), scheduler.run(), resync.run(), watches)
    finally:
        await cluster.close()


async def _watch(queue: Queue, health: Health, config: Config, stop: asyncio.Event) -> None:
    """Run kopf. Should it fail, as it does by a 410 in its own watch, it is started again."""
    while not stop.is_set():
        try:
            ours = asyncio.all_tasks()
            theirs = await kopf.spawn_tasks(
                registry=handlers.register(queue.add, health),
                standalone=True,
                clusterwide=not config.namespaces,
                namespaces=config.namespaces,
                liveness_endpoint=f"http://0.0.0.0:{config.liveness_port}/healthz",
                stop_flag=stop,
            )
            # kopf has taken the signals for itself, and would keep them when it has failed.
            _stop_on_signals(stop)
            await kopf.run_tasks(theirs, ignored=ours)
        except Exception:  # noqa: BLE001 watches are hints: without them the resync goes on
            _log.exception("the watches failed and start again in %.0f s", _REWATCH_SECONDS)
            await asyncio.sleep(_REWATCH_SECONDS)
        else:
            return


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


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
            # Seen with kopf after a watch of its own had failed. Nothing here has to end first.
            _log.warning("ends without what does not stop: %s", hanging)
            logging.shutdown()
            os._exit(1)


def _now() -> datetime:
    return datetime.now(UTC)
