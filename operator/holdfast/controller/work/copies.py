"""Hand the commit of a run what earlier runs lack or left behind, and take in what became of it."""

from functools import partial

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import Workloads
from holdfast.domain import labels
from holdfast.domain.backup import copies as decisions
from holdfast.domain.workload import Observation
from holdfast.protocol import TASK, CommitResult, CommitTask, Gap, Leftovers


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
        namespace, now = run.metadata.namespace, self._context.now()
        for name, cleared in fates.items():
            await self._context.change(namespace, name, partial(decisions.cleared, fates=cleared))
        for name, healed in cures.items():
            await self._context.change(namespace, name, partial(decisions.healed, cures=healed, now=now))
