"""What the reconcilers and their helpers share."""

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun, BackupRunStatus
from holdfast.controller.cluster import Cluster
from holdfast.controller.config import Config
from holdfast.controller.errors import (
    ApiError,
    ForbiddenError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    NotUnderstoodError,
)
from holdfast.controller.queue import Key, Queue
from holdfast.controller.refusals import Refusals
from holdfast.controller.reporter import Reporter
from holdfast.controller.scheduler import Scheduler
from holdfast.controller.work.joblist import JobList
from holdfast.controller.work.permits import Permits
from holdfast.controller.work.runlist import RunList
from holdfast.domain.duplicates import mark_of, own_mark
from holdfast.domain.step import Step, updated

REFUSED_SECONDS = 5.0
"""What is forbidden for so long is believed, and said."""
M = TypeVar("M", BackupRun, RestoreRequest)
R = TypeVar("R", BackupPolicy, BackupRun, RestoreRequest)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """The clients, the clock and the settings."""

    cluster: Cluster
    config: Config
    queue: Queue
    reporter: Reporter
    scheduler: Scheduler
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    runs: RunList
    jobs: JobList
    permits: Permits
    refusals: Refusals = field(default_factory=Refusals)

    def is_final(self, error: ApiError, asker: Hashable, seconds: float = REFUSED_SECONDS) -> bool:
        """Whether it is of no use to retry: what is forbidden has to have been for so long."""
        if not isinstance(error, ForbiddenError) or isinstance(error, NamespaceTerminatingError):
            return True
        return self.refusals.lasts(asker, error.request, self.monotonic(), seconds)

    async def policy_of(self, run: BackupRun) -> BackupPolicy | None:
        """The policy of a run, None when it is gone."""
        try:
            return await self.cluster.get(BackupPolicy, run.metadata.namespace, run.spec.policy_ref.name)
        except NotFoundError:
            return None

    def wake_policy_of(self, run: BackupRun) -> None:
        """Have the policy of a run handled, because its status says what became of the run."""
        self.queue.add(Key(BackupPolicy.plural, run.metadata.namespace, run.spec.policy_ref.name))

    async def save(self, resource: R, step: Step[Any], *, observed: bool = False) -> R | None:
        """Record the events before the status; returns the object as it is then if that has changed it.

        If the operator dies in between, the step repeats, and the event's name deduplicates it. With
        `observed` the status names the generation that it speaks of.
        """
        await self.reporter.report(resource, step.notices)
        if step.status == resource.status:
            return None
        generation = resource.metadata.generation
        status = updated(step.status, observed_generation=generation) if observed else step.status
        return await self.cluster.write_status(resource, status)

    async def mark(self, resource: M, labels: dict[str, str]) -> M:
        """The run or request with these labels, and with the annotation that says that it has started.

        One that cannot be marked is worked on all the same: only a duplicate of it will not be known as one.
        """
        annotations = mark_of(resource)
        return await self._mark(resource, labels, annotations) if labels or annotations else resource

    async def mark_again(self, resource: M) -> M:
        """A run or request under way, whose annotation somebody has changed, with its own UID there."""
        return await self._mark(resource, {}, own_mark(resource))

    async def _mark(self, resource: M, labels: dict[str, str], annotations: dict[str, str]) -> M:
        try:
            return await self.cluster.mark(resource, labels, annotations)
        except (ForbiddenError, InvalidError) as error:
            metadata = resource.metadata
            if not self.is_final(error, (metadata.uid, "mark")):
                raise
            _log.warning(
                "%s %s/%s is not marked: %s", resource.singular, metadata.namespace, metadata.name, error
            )
            return resource

    async def change(
        self, namespace: str, name: str, decide: Callable[[BackupRun], Step[BackupRunStatus]]
    ) -> None:
        """Save what `decide` makes of a run as it is now, unless somebody has deleted it.

        One that cannot be written keeps nobody else waiting: what a commit has to record of it stays marked,
        and the next commit does it again.
        """
        try:
            run = await self.cluster.get(BackupRun, namespace, name)
            step = decide(run)
            await self.save(run, step)
        except NotFoundError:
            _log.info("run %s/%s is gone", namespace, name)
            return
        except (ForbiddenError, InvalidError, NotUnderstoodError) as error:
            if not self.is_final(error, (namespace, name, "record")):
                raise
            _log.warning("run %s/%s cannot be written: %s", namespace, name, error)
            return
        for notice in step.notices:
            _log.info("run %s/%s: %s", namespace, name, notice.message)
