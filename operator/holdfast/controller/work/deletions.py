"""Delete the data of runs that are deleted, where their policy says Delete; else nothing is touched."""

import contextlib
import logging
from collections.abc import Sequence

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, Failure
from holdfast.controller.errors import NotFoundError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.kinds import Permit
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import Key
from holdfast.controller.work import claims
from holdfast.controller.work.context import Context
from holdfast.controller.work.sections import Sections
from holdfast.controller.work.workloads import (
    NAMESPACE_TERMINATING,
    POLL_SECONDS,
    Workload,
    Workloads,
)
from holdfast.domain import labels
from holdfast.domain.naming import part_of
from holdfast.domain.rows import RunRow, row_of
from holdfast.domain.run import deletion
from holdfast.domain.step import Step, describe
from holdfast.domain.stored import may_hold_data, notices_of_recorded_secrets
from holdfast.domain.tasks import purge_task
from holdfast.domain.workload import Job, Observation, end_failure, lost, lost_pods, notices_of
from holdfast.protocol import PURGE

_log = logging.getLogger(__name__)


class Deletions:
    """The finalizer is on before the first Job is made, and goes when nothing more can be deleted."""

    def __init__(self, context: Context, workloads: Workloads) -> None:
        self._context = context
        self._workloads = workloads

    async def set_finalizers(self, resource: BackupPolicy | BackupRun, finalizers: Sequence[str]) -> bool:
        """Have an object carry exactly these finalizers; returns whether that changed it."""
        if tuple(resource.metadata.finalizers) == tuple(finalizers):
            return False
        await self._context.cluster.set_finalizers(resource, finalizers)
        return True

    async def protect(self, run: BackupRun) -> bool:
        """Before its first Job: give the run its finalizers; returns whether that changed it."""
        policy = await self._context.policy_of(run)
        if policy is None:
            return False
        return await self.set_finalizers(run, deletion.run_finalizers(row_of(run), policy))

    async def set_run_finalizers(self, policy: BackupPolicy, rows: Sequence[RunRow]) -> None:
        """Have the finalizers of all runs say what the policy does."""
        parts = Sections(Key.of(policy))
        for row in rows:
            finalizers = deletion.run_finalizers(row, policy)
            if finalizers == row.finalizers:
                continue
            with parts.section(f"finalizers, run {row.name}"), contextlib.suppress(NotFoundError):
                await self._context.cluster.set_finalizers(await self._context.runs.read(row), finalizers)
        parts.raise_first()

    async def end_policy(self, policy: BackupPolicy) -> None:
        """Delete the runs of a policy that is being deleted; it goes when they are gone."""
        if labels.DATA not in policy.metadata.finalizers:
            return
        namespace, name = policy.metadata.namespace, policy.metadata.name
        rows = self._context.runs.of_policy(namespace, name)
        parts = Sections(Key.of(policy))
        with parts.section("finalizers"):
            await self.set_run_finalizers(policy, rows)
        if deletion.has_delete_policy(policy):
            for row in rows:
                if row.is_understood and not row.is_deleted:
                    with parts.section(f"deletion, run {row.name}"):
                        await self._delete(row)
            if rows := self._context.runs.of_policy(namespace, name):
                await self._context.save(policy, deletion.report_policy(policy, rows, self._context.now()))
                parts.raise_first()
                return
        parts.raise_first()
        await self.set_finalizers(policy, deletion.without(policy.metadata.finalizers, labels.DATA))
        _log.info("policy %s/%s: finalizer removed", namespace, name)

    async def _delete(self, row: RunRow) -> None:
        try:
            run = await self._context.cluster.get(BackupRun, row.namespace, row.name)
            if run.metadata.uid != row.uid:
                return  # another run of the name, which was created after the list was read
            await self._context.cluster.delete(run)
        except NotFoundError:
            return
        _log.info("run %s/%s deleted with its policy", row.namespace, row.name)

    async def end_run(self, run: BackupRun) -> float | None:
        """Take the deletion of a run that does nothing more one step on."""
        if labels.DATA not in run.metadata.finalizers:
            return None
        policy = await self._context.policy_of(run)
        if not may_hold_data(run) or (policy is not None and not deletion.has_delete_policy(policy)):
            await self._remove_finalizer(run)
            return None
        if await self.set_finalizers(run, deletion.without_foreground(run)):
            return 0
        if run.status.deletion is None:
            await self._context.save(run, deletion.start(run))
            return 0
        workload = await self._workloads.read(run, labels.RUN)
        if await self._stop_others(run, workload):
            return POLL_SECONDS
        job = workload.observe(PURGE).get("")
        if job is None:
            return await self._create_job(run, policy, workload)
        await self._context.reporter.report(run, notices_of(job, "purge", "the log of the pod"))
        if job.result is not None:
            await self._remove_finalizer(run)
            return None
        now, patience = self._context.now(), self._context.config.pod_start_deadline
        failure = end_failure(job, now, patience) or lost(job.job, workload.pods, now, patience)
        if failure is not None:
            return await self._retry(run, job.job, failure)
        return await self._wait(run, job)

    async def _stop_others(self, run: BackupRun, workload: Workload) -> bool:
        """Whether a pod may still write that is not on a lost node: of that one an event speaks."""
        await self._workloads.stop(job for job in workload.jobs_under_way if job.component != PURGE.component)
        purging = {job.name for job in workload.jobs if job.component == PURGE.component}
        others = [pod for pod in workload.pods if pod.job not in purging]
        names = lost_pods(others, self._context.now(), self._context.config.pod_start_deadline)
        await self._context.reporter.report(run, deletion.notices_of_lost(names or ()))
        return names is None

    async def _create_job(
        self, run: BackupRun, policy: BackupPolicy | None, workload: Workload
    ) -> float | None:
        state, now = run.status.deletion, self._context.now()
        if state is not None and state.next_time is not None and now < state.next_time:
            return (state.next_time - now).total_seconds()
        if any(job.component == PURGE.component for job in workload.jobs):
            return POLL_SECONDS  # the last attempt's is about to be gone
        since = run.metadata.deletion_timestamp or now
        with self._context.permits.ask(Permit.PURGE, Key.of(run), since) as place:
            if place.permits:
                return await self._create_in_turn(run, policy)
            message = place.message("Jobs that delete data")
            await self._context.save(run, Step(deletion.with_obstacle(run.status, message)))
            return None

    async def _create_in_turn(self, run: BackupRun, policy: BackupPolicy | None) -> float:
        now = self._context.now()
        await self._context.reporter.report(run, notices_of_recorded_secrets(run.status.destinations, policy))
        task = purge_task(run, policy)
        wanted = JobRequest(run, task, JobSettings.of(policy), part_of(PURGE.component))
        cluster, namespace = self._context.cluster, run.metadata.namespace
        failure = await claims.why_refused(cluster, namespace, task.destinations, policy)
        failure = failure or await self._workloads.ensure(run, build_job(wanted, self._context.config))
        if failure is None:
            return POLL_SECONDS
        if failure.reason == NAMESPACE_TERMINATING:
            _log.warning(
                "run %s/%s: its namespace is being deleted, so no Job can delete its data: it stays",
                run.metadata.namespace, run.metadata.name,
            )  # fmt: skip
            await self._remove_finalizer(run)
            return 0
        await self._context.save(run, deletion.retry_later(run.status, describe(failure), now))
        return 0

    async def _retry(self, run: BackupRun, job: Job, failure: Failure) -> float:
        state, now = run.status.deletion, self._context.now()
        if state is None or state.next_time is None or state.next_time <= now:
            await self._context.save(run, deletion.retry_later(run.status, describe(failure), now))
        await self._workloads.stop([job])
        return 0

    async def _wait(self, run: BackupRun, job: Observation) -> float:
        message = f"{job.complaint.reason}: {job.complaint.message}" if job.complaint else None
        await self._context.save(run, Step(deletion.with_obstacle(run.status, message)))
        return POLL_SECONDS

    async def _remove_finalizer(self, run: BackupRun) -> None:
        await self.set_finalizers(run, deletion.without(run.metadata.finalizers, labels.DATA))
        _log.info("run %s/%s: finalizer removed", run.metadata.namespace, run.metadata.name)
        self._context.wake_policy_of(run)
