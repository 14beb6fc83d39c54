"""Give the commit of a run the copies to heal and the leftovers to clear, and record the outcomes."""

from collections.abc import Collection
from functools import partial

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import Workloads
from holdfast.domain import labels
from holdfast.domain.backup import copies as decisions
from holdfast.domain.backup.copies import LeftoversToClear
from holdfast.domain.workload import Observation
from holdfast.protocol import TASK, CommitResult, CommitTask, Gap, Leftovers


class Copies:
    """Nothing is marked beforehand: what a commit does not report on is given to the next one."""

    def __init__(self, context: Context, workloads: Workloads) -> None:
        self._context = context
        self._workloads = workloads

    async def choose(
        self, run: BackupRun, policy: BackupPolicy | None, left_out: Collection[str] = ()
    ) -> tuple[tuple[Gap, ...], tuple[Leftovers, ...]]:
        """What the commit of `run` is to heal and to clear, but in the destinations `left_out`.

        To be asked after retention has marked.
        """
        if policy is None:
            return (), ()
        runs = self._context.runs
        rows = runs.of_policy(run.metadata.namespace, policy.metadata.name)
        leftovers: list[LeftoversToClear] = []
        for candidate in decisions.leftovers_to_clear(policy, run, rows, left_out):
            if len(leftovers) == decisions.MAX_LEFTOVERS:
                break
            if await self._is_still(await runs.read(candidate.row)):
                leftovers.append(candidate)
        to_heal = decisions.gaps_to_heal(policy, run, rows, left_out)
        gaps = [decisions.gap_of(await runs.read(of_run.row), of_run) for of_run in to_heal]
        return tuple(gaps), decisions.leftovers_of(leftovers)

    async def _is_still(self, run: BackupRun) -> bool:
        """Whether no pod can write any more what belongs to the run."""
        workload = await self._workloads.read(run, labels.RUN)
        return not workload.jobs_under_way and not workload.has_live_pods

    async def record(self, run: BackupRun, commit: Observation) -> None:
        """Write what the commit Job of `run` says of earlier runs into their statuses."""
        result = commit.result
        if not isinstance(result, CommitResult) or not (result.healing or result.leftovers):
            return
        task = TASK.validate_json(commit.job.task)
        assert isinstance(task, CommitTask)
        clearing_outcomes, healing_outcomes = decisions.outcomes_of(task, result)
        namespace, now = run.metadata.namespace, self._context.now()
        for name, cleared in clearing_outcomes.items():
            await self._context.change(namespace, name, partial(decisions.record_clearing, outcomes=cleared))
        for name, healed in healing_outcomes.items():
            record = partial(decisions.record_healing, outcomes=healed, now=now)
            await self._context.change(namespace, name, record)
