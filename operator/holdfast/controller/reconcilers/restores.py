"""Reconcile a RestoreRequest: find its run, create its Jobs, record their Results."""

import logging
from datetime import timedelta

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestorePhase, RestoreRequest
from holdfast.api.run import BackupRun, Failure, TargetPhase
from holdfast.controller.errors import NotFoundError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import POLL_SECONDS, Workload, Workloads
from holdfast.domain import labels, restoration
from holdfast.domain.plan.support import restore_not_supported_yet
from holdfast.domain.restoration import Plan, RefusedError, RestoreStep
from holdfast.domain.step import Step
from holdfast.domain.targets import JobFacts
from holdfast.domain.workload import Observation
from holdfast.protocol import (
    LOOKUP,
    RESTORE,
    FoundTarget,
    LookupResult,
    LookupTask,
    RestoreTask,
    StoredRun,
)

_log = logging.getLogger(__name__)


class Restores:
    """The choice of the run is written first; every later step can be repeated."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._workloads = Workloads(context)

    async def reconcile(self, key: Key) -> float | None:
        """Take the request one step on; returns when to look at it again at the latest."""
        try:
            request = await self._context.cluster.get(RestoreRequest, key.namespace, key.name)
        except NotFoundError:
            return None
        if request.metadata.deletion_timestamp is not None:
            return None
        if request.status.phase is not None and request.status.phase.terminal:
            await self._workloads.settle(request, labels.RESTORE)
            return None
        if request.spec.cancel:
            return await self._cancel(request)
        try:
            if request.status.source is None:
                return await self._resolve(request)
            if request.status.phase is RestorePhase.PENDING:
                return await self._prepare(request)
            return await self._run(request)
        except RefusedError as error:
            await self._write(request, restoration.refuse(request, error, self._context.now()))
            return 0

    async def _resolve(self, request: RestoreRequest) -> float:
        """Choose the run once: later policyRef could mean a newer one."""
        fields = restore_not_supported_yet(request.spec)
        if fields:
            raise RefusedError("NotSupportedYet", f"not supported yet: {', '.join(fields)}")
        source = request.spec.source
        if source.location is not None:
            name = restoration.location_run(request).path
        elif source.run_ref is not None:
            name = source.run_ref.name
        else:
            assert source.policy_ref is not None
            policy = source.policy_ref.name
            rows = await self._context.runs.of_policy(request.metadata.namespace, policy)
            name = restoration.choose_run(request, rows).name
        await self._write(request, restoration.resolve(request, name, self._context.now()))
        return 0

    async def _prepare(self, request: RestoreRequest) -> float:
        """Find out what the run holds: by the policy if it is still what was run, else by the catalogue."""
        plan = await self._plan_without_lookup(request)
        if plan is not None:
            await self._write(request, restoration.start(request, plan))
            return 0
        workload = await self._workloads.read(request, labels.RESTORE)
        stored, policy = await self._stored(request)
        job = workload.observe(LOOKUP).get("")
        now = self._context.now()
        if job is None:
            settings = await self._settings(request)
            wanted = JobRequest(request, LookupTask(source=stored), settings)
            failure = await self._workloads.ensure(request, build_job(wanted, self._context.config))
            step = restoration.fail_lookup(request, failure, now) if failure else restoration.look_up(request)
        elif isinstance(job.result, LookupResult):
            step = restoration.start(
                request, restoration.plan_from_lookup(request, stored, job.result, policy)
            )
        else:
            step = restoration.advance_lookup(request, job, self._context.config.pod_start_deadline, now)
        await self._write(request, step)
        return POLL_SECONDS if step.status.phase is RestorePhase.PENDING else 0

    async def _plan_without_lookup(self, request: RestoreRequest) -> Plan | None:
        if request.spec.source.location is not None:
            return None
        run, policy = await self._source_run(request)
        return restoration.plan_from_policy(request, run, policy)

    async def _stored(self, request: RestoreRequest) -> tuple[StoredRun, BackupPolicy | None]:
        """Where the run is, and its policy; the bucket alone knows of none."""
        if request.spec.source.location is not None:
            return restoration.location_run(request), None
        run, policy = await self._source_run(request)
        return restoration.stored_run(request, run, policy), policy

    async def _source_run(self, request: RestoreRequest) -> tuple[BackupRun, BackupPolicy | None]:
        namespace, name = request.metadata.namespace, request.status.source or ""
        try:
            run = await self._context.cluster.get(BackupRun, namespace, name)
        except NotFoundError:
            message = (
                f"there is no BackupRun {name} in this namespace; source.location finds it in its bucket"
            )
            raise RefusedError("RunNotFound", message) from None
        return run, await self._context.policy_of(run)

    async def _settings(self, request: RestoreRequest) -> JobSettings:
        """How the policy's Jobs are run; a restore has no deadline of its own."""
        if request.spec.source.location is not None:
            return JobSettings()
        _, policy = await self._source_run(request)
        return JobSettings.of(policy)

    async def _run(self, request: RestoreRequest) -> float | None:
        workload = await self._workloads.read(request, labels.RESTORE)
        jobs = workload.observe(RESTORE)
        creation_failures = await self._create_targets(request, workload, jobs)
        progress = await self._workloads.progress(jobs)
        start_deadline: timedelta = self._context.config.pod_start_deadline
        facts = JobFacts(jobs, start_deadline, creation_failures, progress)
        step = restoration.advance(request, facts, self._context.now())
        await self._write(request, step)
        ended = {target.name for target in step.status.targets if target.phase.terminal}
        await self._workloads.stop(job for job in workload.unfinished if job.target in ended)
        if step.status.phase is not RestorePhase.RUNNING:
            return 0
        return self._workloads.pause(step.status.targets, jobs)

    async def _create_targets(
        self, request: RestoreRequest, workload: Workload, jobs: dict[str, Observation]
    ) -> dict[str, Failure]:
        """Create the Jobs that are not there yet; returns why those that cannot be are not."""
        targets = request.status.targets
        waiting = [t.name for t in targets if t.phase is TargetPhase.PENDING and t.name not in jobs]
        if not waiting:
            return {}
        plan = await self._plan_again(request, workload)
        if plan is None:
            message = "the Result of the lookup Job is lost; create the request again"
            return {name: Failure(reason="ResultMissing", message=message) for name in waiting}
        settings = await self._settings(request)
        creation_failures = {}
        for target in plan.targets:
            if target.name in waiting:
                task = _restore_task(request, plan, target)
                manifest = build_job(JobRequest(request, task, settings), self._context.config)
                failure = await self._workloads.ensure(request, manifest)
                if failure is not None:
                    creation_failures[target.name] = failure
        return creation_failures

    async def _plan_again(self, request: RestoreRequest, workload: Workload) -> Plan | None:
        looked_up = workload.observe(LOOKUP).get("")
        if looked_up is not None and isinstance(looked_up.result, LookupResult):
            stored, policy = await self._stored(request)
            return restoration.plan_from_lookup(request, stored, looked_up.result, policy)
        return await self._plan_without_lookup(request)

    async def _cancel(self, request: RestoreRequest) -> float:
        workload = await self._workloads.read(request, labels.RESTORE)
        await self._workloads.stop(workload.unfinished)
        if workload.has_live_pods:
            await self._write(request, Step(restoration.with_cancellation_started(request.status)))
            return POLL_SECONDS
        await self._write(request, restoration.end_cancelled(request, self._context.now()))
        return 0

    async def _write(self, request: RestoreRequest, step: RestoreStep) -> None:
        if await self._context.save(request, step, observed=True):
            phase = step.status.phase
            _log.info("restore %s/%s: %s", request.metadata.namespace, request.metadata.name, phase)


def _restore_task(request: RestoreRequest, plan: Plan, target: FoundTarget) -> RestoreTask:
    return RestoreTask(
        namespace=request.metadata.namespace,
        request=request.metadata.name,
        request_uid=request.metadata.uid,
        mode="New",
        source=plan.stored,
        target=target.name,
        engine=target.engine,
        spec=target.spec,
        override=restoration.overrides(request).get(target.name),
        identity_secret=plan.identity_secret if target.recipients else None,
    )
