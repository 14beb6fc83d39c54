"""What the services share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from holdfast.api.run import BackupRun
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.queue import Queue
from holdfast.controller.reporter import Reporter
from holdfast.controller.scheduler import Scheduler


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
