"""What the services share."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from holdfast.api.run import BackupRun, BackupRunStatus
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.errors import NotFoundError
from holdfast.controller.queue import Queue
from holdfast.controller.reporter import Reporter
from holdfast.controller.scheduler import Scheduler
from holdfast.domain.step import Step

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """Passed to every service."""

    cluster: Cluster
    config: Config
    queue: Queue
    reporter: Reporter
    scheduler: Scheduler
    now: Callable[[], datetime]
    monotonic: Callable[[], float]

    async def runs_of(self, namespace: str | None, policy: str) -> list[BackupRun]:
        """The runs of a policy, those of an earlier one of its name too."""
        runs = await self.cluster.get_all(BackupRun, namespace)
        return [run for run in runs if run.spec.policy_ref.name == policy]

    async def change(
        self, namespace: str, name: str, decide: Callable[[BackupRun], Step[BackupRunStatus]]
    ) -> None:
        """Tell and write what `decide` makes of a run as it is now; nothing when it was deleted meanwhile."""
        try:
            run = await self.cluster.get(BackupRun, namespace, name)
            step = decide(run)
            await self.reporter.tell(run, step.notices)
            if step.status != run.status:
                await self.cluster.write_status(run, step.status)
        except NotFoundError:
            _log.info("run %s/%s was deleted meanwhile", namespace, name)
            return
        for notice in step.notices:
            _log.info("run %s/%s: %s", namespace, name, notice.message)
