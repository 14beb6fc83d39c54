"""Delete the data of runs that are deleted, where their policy says Delete; else nothing is touched."""

import logging
from collections.abc import Sequence

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun
from holdfast.controller.errors import NotFoundError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import (
    NAMESPACE_TERMINATING,
    POLL_SECONDS,
    Workload,
    Workloads,
)
from holdfast.domain import labels
from holdfast.domain.run import deletion
from holdfast.domain.step import Step, describe
from holdfast.domain.workload import Observation
from holdfast.protocol import PURGE, PurgeTask

_log = logging.getLogger(__name__)


class Deletions:
    """The finalizer is on before the first Job is made, and goes when nothing more can be deleted."""

    def __init__(self, context: Context, workloads: Workloads) -> None:
        self._context = context
        self._workloads = workloads

    async def follow(self, resource: BackupPolicy | BackupRun, finalizers: Sequence[str]) -> bool:
        """Have an object carry exactly these finalizers; whether that changed it."""
        if tuple(resource.metadata.finalizers) == tuple(finalizers):
            return False
        await self._context.cluster.set_finalizers(resource, finalizers)
        return True

    async def guard(self, run: BackupRun) -> bool:
        """Before its first Job: have the run carry what the policy asks for; whether that changed it."""
        policy = await self._context.policy_of(run)
        return policy is not None and await self.follow(run, deletion.finalizers(run, policy))

    async def follow_policy(self, policy: BackupPolicy, runs: Sequence[BackupRun]) -> None:
        """Have the finalizers of all runs say what the policy does."""
        for run in runs:
            try:
                await self.follow(run, deletion.finalizers(run, policy))
            except NotFoundError:
                continue

    async def end_policy(self, policy: BackupPolicy) -> None:
        """Delete the runs of a policy that is being deleted; it goes when they are gone."""
        if labels.DATA not in policy.metadata.finalizers:
            return
        namespace, name = policy.metadata.namespace, policy.metadata.name
        runs = await self._context.runs_of(namespace, name)
        await self.follow_policy(policy, runs)
        if deletion.deletes(policy):
            for run in runs:
                if run.metadata.deletion_timestamp is None:
                    await self._delete(run)
            if await self._context.runs_of(namespace, name):
                return
        await self.follow(policy, deletion.without(policy.metadata.finalizers, labels.DATA))
        _log.info("policy %s/%s is free to go", namespace, name)

    async def _delete(self, run: BackupRun) -> None:
        try:
            await self._context.cluster.delete(run)
        except NotFoundError:
            return
        _log.info("run %s/%s deleted with its policy", run.metadata.namespace, run.metadata.name)

    async def end_run(self, run: BackupRun) -> float | None:
        """Take the deletion of a run that does nothing more one step on."""
        if labels.DATA not in run.metadata.finalizers:
            return None
        policy = await self._context.policy_of(run)
        if not deletion.may_hold_data(run) or (policy is not None and not deletion.deletes(policy)):
            await self._free(run)
            return None
        if await self.follow(run, deletion.unhindered(run)):
            return 0
        if run.status.deletion is None:
            await self._context.save(run, Step(deletion.begun(run.status)))
            return 0
        workload = await self._workloads.read(run, labels.RUN)
        if await self._stop_others(workload):
            return POLL_SECONDS
        seen = workload.observe(PURGE).get("")
        if seen is None:
            return await self._attempt(run, policy, workload)
        await self._context.reporter.tell(run, deletion.told(seen))
        if seen.result is not None:
            await self._free(run)
            return None
        return await self._failed(run, seen) if seen.failed else await self._going(run, seen)

    async def _stop_others(self, workload: Workload) -> bool:
        """Whether a pod may still write."""
        await self._workloads.stop(job for job in workload.unfinished if job.component != PURGE.component)
        purging = {job.name for job in workload.jobs if job.component == PURGE.component}
        return any(not pod.ended and pod.job not in purging for pod in workload.pods)

    async def _attempt(self, run: BackupRun, policy: BackupPolicy | None, workload: Workload) -> float:
        state, now = run.status.deletion, self._context.now()
        if state is not None and state.next_time is not None and now < state.next_time:
            return (state.next_time - now).total_seconds()
        if any(job.component == PURGE.component for job in workload.jobs):
            return POLL_SECONDS  # the last attempt's is about to be gone
        wanted = JobRequest(run, _task(run), JobSettings.of(policy))
        failure = await self._workloads.ensure(run, build_job(wanted, self._context.config))
        if failure is None:
            return POLL_SECONDS
        if failure.reason == NAMESPACE_TERMINATING:
            _log.warning(
                "run %s/%s: its namespace is being deleted, so no Job can delete its data: it stays",
                run.metadata.namespace, run.metadata.name,
            )  # fmt: skip
            await self._free(run)
            return 0
        await self._context.save(run, deletion.failed(run.status, describe(failure), now))
        return 0

    async def _failed(self, run: BackupRun, seen: Observation) -> float:
        state, now = run.status.deletion, self._context.now()
        if state is None or state.next_time is None or state.next_time <= now:
            why = describe(seen.failure) if seen.failure else "the Job failed"
            await self._context.save(run, deletion.failed(run.status, why, now))
        await self._workloads.stop([seen.job])
        return 0

    async def _going(self, run: BackupRun, seen: Observation) -> float:
        message = f"{seen.complaint.reason}: {seen.complaint.message}" if seen.complaint else None
        await self._context.save(run, Step(deletion.waits_for(run.status, message)))
        return POLL_SECONDS

    async def _free(self, run: BackupRun) -> None:
        await self.follow(run, deletion.without(run.metadata.finalizers, labels.DATA))
        _log.info("run %s/%s is free to go", run.metadata.namespace, run.metadata.name)
        self._context.wake_policy_of(run)


def _task(run: BackupRun) -> PurgeTask:
    return PurgeTask(
        namespace=run.metadata.namespace,
        policy=run.spec.policy_ref.name,
        run=run.metadata.name,
        run_uid=run.metadata.uid,
        recovery_point=run.status.recovery_point,
        destinations=run.status.destinations,
    )
