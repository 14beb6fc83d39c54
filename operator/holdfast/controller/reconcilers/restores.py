"""Reconcile a RestoreRequest: find its run, make its Jobs, take in their Results."""

import logging
from datetime import timedelta

from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestorePhase, RestoreRequest
from holdfast.api.run import BackupRun, Failure, TargetPhase
from holdfast.controller.errors import NotFoundError
from holdfast.controller.jobs import JobSettings, lookup_job, restore_job
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import POLL_SECONDS, Workload, Workloads
from holdfast.domain import labels, restoration
from holdfast.domain.plan.support import restore_not_supported_yet
from holdfast.domain.restoration import Plan, RefusedError, RestoreStep
from holdfast.domain.step import Step
from holdfast.domain.targets import JobFacts
from holdfast.domain.workload import Observation
from holdfast.protocol import FoundTarget, LookupResult, LookupTask, RestoreResult, RestoreTask, StoredRun

_log = logging.getLogger(__name__)


class Restores:
    """The run is settled and written down first; everything after that is the same when it is repeated."""

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
                return await self._begin(request)
            return await self._run(request)
        except RefusedError as error:
            await self._write(request, restoration.refuse(request, error, self._context.now()))
            return 0

    async def _resolve(self, request: RestoreRequest) -> float:
        """Settle which run is meant: asked again later, policyRef could mean a newer one."""
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
        await self._write(request, restoration.resolved(request, name, self._context.now()))
        return 0

    async def _begin(self, request: RestoreRequest) -> float:
        """Find out what the run holds: by the policy if it is still what was run, else by the catalogue."""
        plan = await self._plan_without_lookup(request)
        if plan is not None:
            await self._write(request, restoration.started(request, plan))
            return 0
        workload = await self._workloads.read(request, labels.RESTORE)
        stored, policy = await self._stored(request)
        seen = workload.observe("Lookup", LookupResult).get("")
        now = self._context.now()
        if seen is None:
            settings = await self._settings(request)
            failure = await self._workloads.ensure(
                request, lookup_job(request, LookupTask(source=stored), settings, self._context.config)
            )
            step = (
                restoration.lookup_failed(request, failure, now)
                if failure
                else restoration.looking_up(request)
            )
        elif isinstance(seen.result, LookupResult):
            step = restoration.started(
                request, restoration.plan_from_lookup(request, stored, seen.result, policy)
            )
        else:
            step = restoration.lookup(request, seen, self._context.config.pod_start_deadline, now)
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
        seen = workload.observe("Restore", RestoreResult)
        broken = await self._create_targets(request, workload, seen)
        progress = await self._workloads.progress(seen)
        start_deadline: timedelta = self._context.config.pod_start_deadline
        facts = JobFacts(seen, start_deadline, broken, progress)
        step = restoration.advance(request, facts, self._context.now())
        await self._write(request, step)
        ended = {target.name for target in step.status.targets if target.phase.terminal}
        await self._workloads.stop(job for job in workload.unfinished if job.target in ended)
        if step.status.phase is not RestorePhase.RUNNING:
            return 0
        return self._workloads.pause(step.status.targets, seen)

    async def _create_targets(
        self, request: RestoreRequest, workload: Workload, seen: dict[str, Observation]
    ) -> dict[str, Failure]:
        """Create the Jobs that are not there yet; returns why those that cannot be are not."""
        targets = request.status.targets
        waiting = [t.name for t in targets if t.phase is TargetPhase.PENDING and t.name not in seen]
        if not waiting:
            return {}
        plan = await self._plan_again(request, workload)
        if plan is None:
            message = "what was read from the catalogue is lost; make the request anew"
            return {name: Failure(reason="ResultMissing", message=message) for name in waiting}
        settings = await self._settings(request)
        broken = {}
        for target in plan.targets:
            if target.name in waiting:
                task = _restore_task(request, plan, target)
                manifest = restore_job(request, task, settings, self._context.config)
                failure = await self._workloads.ensure(request, manifest)
                if failure is not None:
                    broken[target.name] = failure
        return broken

    async def _plan_again(self, request: RestoreRequest, workload: Workload) -> Plan | None:
        looked_up = workload.observe("Lookup", LookupResult).get("")
        if looked_up is not None and isinstance(looked_up.result, LookupResult):
            stored, policy = await self._stored(request)
            return restoration.plan_from_lookup(request, stored, looked_up.result, policy)
        return await self._plan_without_lookup(request)

    async def _cancel(self, request: RestoreRequest) -> float:
        workload = await self._workloads.read(request, labels.RESTORE)
        await self._workloads.stop(workload.unfinished)
        if workload.has_live_pods:
            await self._write(request, Step(restoration.cancelling(request.status)))
            return POLL_SECONDS
        await self._write(request, restoration.cancelled(request, self._context.now()))
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
