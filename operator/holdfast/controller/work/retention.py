"""Hand the commit of a run what its policy's retention deletes, and take in what became of it."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.controller.work.context import Context
from holdfast.domain.backup import retention as decisions
from holdfast.domain.backup.verification import active
from holdfast.domain.workload import Observation
from holdfast.protocol import TASK, CommitResult, CommitTask, Expiry, Fate


class Retention:
    """What a Job may delete is marked before the Job is made; killed in between, it stays marked and due."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def hand_over(self, run: BackupRun, policy: BackupPolicy | None) -> tuple[Expiry, ...]:
        """What the commit of `run` is to delete, marked in the status of each run concerned."""
        if policy is None:
            return ()
        namespace = run.metadata.namespace
        runs = await self._context.runs_of(namespace, policy.metadata.name)
        restores = await self._context.cluster.get_all(RestoreRequest, namespace)
        in_use = {
            each.status.source
            for each in restores
            if each.status.source and not (each.status.phase and each.status.phase.terminal)
        }
        in_use |= {each.metadata.name for each in runs if active(each)}
        found = decisions.expiries(policy, run, runs, in_use)
        await self._mark(runs, found)
        return found

    async def _mark(self, runs: Sequence[BackupRun], expiries: Sequence[Expiry]) -> None:
        places: defaultdict[str, list[str]] = defaultdict(list)
        for expiry in expiries:
            for held in expiry.delete:
                places[held.run].append(expiry.destination)
        for run in runs:
            if run.metadata.name in places:
                status = decisions.marked(run, places[run.metadata.name])
                if status != run.status:
                    await self._context.cluster.write_status(run, status)

    async def take_in(self, run: BackupRun, seen: Observation) -> None:
        """Write down what the commit Job of `run` says of the runs that it was handed."""
        if not isinstance(seen.result, CommitResult) or not seen.result.retention:
            return
        task = TASK.validate_json(seen.job.task)
        assert isinstance(task, CommitTask)
        fates: defaultdict[str, dict[str, Fate]] = defaultdict(dict)
        for expiry in task.retention:
            letters = seen.result.retention.get(expiry.destination, "")
            for held, letter in zip(expiry.delete, letters, strict=False):
                fates[held.run][expiry.destination] = Fate(letter)
        for name, of_run in fates.items():
            await self._context.change(
                run.metadata.namespace, name, partial(decisions.taken_in, fates=of_run)
            )
