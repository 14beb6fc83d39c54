"""Have stored runs verified: mark the run that is due, create its Job, record its Result."""

import logging

from holdfast.api.policy import BackupPolicyStatus
from holdfast.api.run import BackupRun, BackupRunStatus, Failure
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.kinds import Permit
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import Workload, Workloads
from holdfast.domain import labels
from holdfast.domain.backup import verification as decisions
from holdfast.domain.naming import job_name
from holdfast.domain.policy.status import PolicySituation
from holdfast.domain.rows import request_of
from holdfast.domain.step import Step
from holdfast.domain.stored import notices_of_recorded_secrets
from holdfast.domain.tasks import verify_task
from holdfast.domain.workload import Observation, lost, observe
from holdfast.protocol import VERIFY

_log = logging.getLogger(__name__)


async def mark_due(
    context: Context, situation: PolicySituation, status: BackupPolicyStatus
) -> BackupPolicyStatus:
    """Mark the run that is due; returns the policy's status that follows, which is to be written next."""
    policy, state = situation.policy, situation.readiness
    decision = decisions.decide(policy, status, state, situation.rows, situation.now)
    if decision.row is not None:
        run = await context.runs.read(decision.row)
        mark = decisions.with_verification_marked(run, slot=decision.slot)
        await context.cluster.write_status(run, mark)
        context.queue.add(Key.of(run))
    return decision.status


class Verifications:
    """Takes marked runs to a verdict; the Job's name is the same each time."""

    def __init__(self, context: Context, workloads: Workloads) -> None:
        self._context = context
        self._workloads = workloads

    async def reconcile(self, run: BackupRun) -> float | None:
        """Take the verification of an ended run one step on; None when none is under way."""
        if not decisions.is_active(run):
            asked = request_of(run)
            if asked is None:
                return None
            await self._write(run, Step(decisions.with_verification_marked(run, requested=asked)))
            return 0
        workload = await self._workloads.read(run, labels.RUN)
        name = job_name(run.metadata.name, run.metadata.uid, decisions.job_part(run))
        job = _observe(workload, name)
        now = self._context.now()
        if job is not None:
            patience = self._context.config.pod_start_deadline
            gone = None if job.has_ended else lost(job.job, workload.pods, now, patience)
            step = decisions.fail(run, gone, now) if gone else decisions.advance(run, job, patience, now)
        else:
            key, since = Key.of(run), decisions.due_since(run)
            with self._context.permits.ask(Permit.VERIFICATION, key, since) as place:
                if not place.permits:
                    await self._write(run, decisions.wait(run, place))
                    return None
                failure = await self._create(run)
            step = decisions.start(run) if failure is None else decisions.fail(run, failure, now)
        await self._write(run, step)
        if not decisions.is_active(run.model_copy(update={"status": step.status})):
            self._context.wake_policy_of(run)
            return 0
        return self._workloads.pause_of(job)

    async def _create(self, run: BackupRun) -> Failure | None:
        """Create the Job; returns why it cannot be had."""
        policy = await self._context.policy_of(run)
        task = verify_task(run, policy)
        if task is None:
            return decisions.nothing_stored(run)
        old = [d for d in run.status.destinations if d.name in {used.name for used in task.destinations}]
        await self._context.reporter.report(run, notices_of_recorded_secrets(old, policy))
        wanted = JobRequest(run, task, JobSettings.of(policy), decisions.job_part(run))
        return await self._workloads.ensure(run, build_job(wanted, self._context.config))

    async def _write(self, run: BackupRun, step: Step[BackupRunStatus]) -> None:
        if await self._context.save(run, step):
            verification = step.status.verification
            phase = verification.phase if verification else None
            _log.info("run %s/%s: verification %s", run.metadata.namespace, run.metadata.name, phase)


def _observe(workload: Workload, name: str) -> Observation | None:
    job = next((job for job in workload.jobs if job.name == name and not job.is_being_deleted), None)
    return None if job is None else observe(job, workload.pods, VERIFY, workload.complaints)
