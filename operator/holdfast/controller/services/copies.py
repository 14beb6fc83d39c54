"""Hand the commit of a run what earlier runs lack or left behind, and take in what became of it."""

import logging
from collections.abc import Callable
from functools import partial

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, BackupRunStatus
from holdfast.controller.errors import NotFoundError
from holdfast.controller.services.context import Context
from holdfast.controller.services.workloads import Workloads
from holdfast.domain import copies as decisions
from holdfast.domain import labels
from holdfast.domain.step import Step
from holdfast.domain.workload import Observation
from holdfast.protocol import TASK, CommitResult, CommitTask, Gap, Leftovers

_log = logging.getLogger(__name__)


class Copies:
    """Nothing is noted beforehand: what a commit was handed and did not tell of is handed to the next one."""

    def __init__(self, context: Context, workloads: Workloads) -> None:
        self._context = context
        self._workloads = workloads

    async def hand_over(
        self, run: BackupRun, policy: BackupPolicy | None
    ) -> tuple[tuple[Gap, ...], tuple[Leftovers, ...]]:
        """What the commit of `run` is to heal and to clear away. To be asked after retention has marked."""
        if policy is None:
            return (), ()
        runs = await self._context.runs_of(run.metadata.namespace, policy.metadata.name)
        left: list[tuple[BackupRun, set[str]]] = []
        for each, destinations in decisions.leftovers(policy, run, runs):
            if len(left) < decisions.MAX_LEFTOVERS and await self._is_still(each):
                left.append((each, destinations))
        return decisions.gaps(policy, run, runs), decisions.handed(left)

    async def _is_still(self, run: BackupRun) -> bool:
        """Whether nothing can write what belongs to the run any more."""
        workload = await self._workloads.read(run, labels.RUN)
        return not workload.unfinished and not workload.has_live_pods

    async def take_in(self, run: BackupRun, seen: Observation) -> None:
        """Write down what the commit Job of `run` says of what it was handed."""
        result = seen.result
        if not isinstance(result, CommitResult) or not (result.healing or result.leftovers):
            return
        task = TASK.validate_json(seen.job.task)
        assert isinstance(task, CommitTask)
        fates, cures = decisions.told(task, result)
        namespace, now = run.metadata.namespace or "", self._context.now()
        for name, cleared in fates.items():
            await self._write(namespace, name, partial(decisions.cleared, fates=cleared))
        for name, healed in cures.items():
            await self._write(namespace, name, partial(decisions.healed, cures=healed, now=now))

    async def _write(
        self, namespace: str, name: str, decide: Callable[[BackupRun], Step[BackupRunStatus]]
    ) -> None:
        try:
            run = await self._context.cluster.get(BackupRun, namespace, name)
            step = decide(run)
            await self._context.reporter.tell(run, step.notices)
            if step.status != run.status:
                await self._context.cluster.write_status(run, step.status)
        except NotFoundError:
            _log.info("run %s/%s was deleted meanwhile", namespace, name)
            return
        for notice in step.notices:
            _log.info("run %s/%s: %s", namespace, name, notice.message)
