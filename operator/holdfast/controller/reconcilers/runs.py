"""Reconcile a BackupRun: from its policy to Jobs, from their Results to its status."""

import logging
from collections.abc import Collection, Container

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, Failure, RunPhase, RunSettings, TargetPhase, TargetStatus
from holdfast.controller.errors import NotFoundError, NotUnderstoodError, TransientError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.kinds import limit_of
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.queue import Key
from holdfast.controller.work import claims
from holdfast.controller.work.admissions import Admissions
from holdfast.controller.work.context import Context
from holdfast.controller.work.copies import Copies
from holdfast.controller.work.deletions import Deletions
from holdfast.controller.work.hooks import Hooks
from holdfast.controller.work.retention import Retention
from holdfast.controller.work.verification import Verifications
from holdfast.controller.work.workloads import POLL_SECONDS, Workload, Workloads
from holdfast.domain import labels
from holdfast.domain.claims import CLAIM_MOUNTED, mounts_claim
from holdfast.domain.deadline import remaining
from holdfast.domain.duplicates import started_uid
from holdfast.domain.naming import part_of
from holdfast.domain.rows import is_imported, row_of
from holdfast.domain.run import admission, deadline, deletion, hooks, lifecycle
from holdfast.domain.run.hooks import DueHook
from holdfast.domain.run.lifecycle import RunStep
from holdfast.domain.step import Step
from holdfast.domain.stored import notices_of_recorded_secrets
from holdfast.domain.targets import JobFacts
from holdfast.domain.tasks import Upkeep, backup_task, commit_task, destinations_written
from holdfast.domain.too_late import answer, is_unanswered
from holdfast.domain.workload import Observation
from holdfast.protocol import BACKUP, COMMIT, BackupTask, CommitTask

_log = logging.getLogger(__name__)
_DEFINITIONS_SECONDS = 30.0
"""Somebody has to apply the definitions of this release first."""


class Runs:
    """Every step reads everything again and can be repeated, because names are always the same."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._workloads = Workloads(context)
        self._retention = Retention(context)
        self._copies = Copies(context, self._workloads)
        self._admissions = Admissions(context)
        self._verifications = Verifications(context, self._workloads)
        self._hooks = Hooks(context)
        self._deletions = Deletions(context, self._workloads)

    async def reconcile(self, key: Key) -> float | None:
        """Take the run one step on; returns when to look at it again at the latest."""
        try:
            run = await self._context.runs.fetch(key.namespace, key.name)
        except NotFoundError:
            self._hooks.stop_waiting(key)
            await self._admissions.wake_starters(gone=key)
            return None
        run = await self._mark(run)
        phase = run.status.phase or RunPhase.PENDING
        deleted = run.metadata.deletion_timestamp is not None
        if phase.has_ended or (deleted and phase is RunPhase.PENDING):
            return await self._after_end(run)
        if phase is RunPhase.PENDING:
            # An imported run has ended elsewhere: the survey that made it writes how.
            return None if is_imported(run) else await self._admit(run)
        workload = await self._workloads.read(run, labels.RUN)
        if started_uid(run) is not None:
            if not workload.jobs and not hooks.has_paused(run):
                await self._write(run, lifecycle.end_duplicate(run, self._context.now()))
                return 0
            run = await self._context.mark_again(run)
        if (run.spec.cancel or deleted) and not _commit_done(workload):
            return await self._cancel(run, workload)
        if run.status.settings is None:
            return await self._write_settings(run, workload)
        jobs = JobFacts(workload.observe(BACKUP), self._context.config.pod_start_deadline)
        step = deadline.check(run, jobs, workload.observe(COMMIT).get(""), self._context.now())
        if step is not None:
            return await self._end_overdue(run, workload, step)
        if phase is RunPhase.RUNNING:
            return await self._run(run, workload)
        return await self._commit(run, workload)

    async def _mark(self, run: BackupRun) -> BackupRun:
        """The run with the label and the annotation that each one has before anything is done for it."""
        policy, metadata = labels.of_policy(run), run.metadata
        is_labelled = policy is None or metadata.labels.get(labels.POLICY) == policy
        label = {} if policy is None or is_labelled else {labels.POLICY: policy}
        return await self._context.mark(run, label)

    async def _write_settings(self, run: BackupRun, workload: Workload) -> float:
        """A run under way that an earlier release started: the settings are those of its first Job."""
        policy = await self._context.policy_of(run)
        settings = policy.spec.settings if policy is not None else RunSettings()
        first = _settings(workload)
        if first is not None:
            settings = settings.model_copy(update=first.recorded_fields())
        await self._write(run, Step(deadline.with_settings(run, settings, policy, self._context.now())))
        written = await self._context.runs.fetch(run.metadata.namespace, run.metadata.name)
        if written.status.settings is not None:
            return 0
        await self._write(written, Step(deadline.with_old_definitions(written.status)))
        return _DEFINITIONS_SECONDS

    async def _after_end(self, run: BackupRun) -> float | None:
        """After its end a run is only verified and deleted."""
        self._hooks.stop_waiting(Key.of(run))
        if is_unanswered(run):
            await self._context.save(run, answer(run))
            return 0
        if await self._deletions.set_finalizers(
            run, deletion.without(run.metadata.finalizers, labels.PAUSED)
        ):
            return 0
        if run.metadata.deletion_timestamp is not None:
            return await self._deletions.end_run(run)
        pause = await self._verifications.reconcile(run)
        if pause is None:
            await self._workloads.settle(run, labels.RUN)
        return pause

    async def _admit(self, run: BackupRun) -> float | None:
        step, pause = await self._admissions.admit(run, self._save)
        if _has_ended(step):
            self._context.wake_policy_of(run)
            if run.status.phase is RunPhase.PENDING:  # it may have stood in front of others
                await self._admissions.wake_starters(gone=Key.of(run))
        return pause

    async def _end_overdue(self, run: BackupRun, workload: Workload, step: RunStep) -> float | None:
        # A Job that is stopped before the status says why would be one that somebody has deleted.
        await self._write(run, step)
        await self._workloads.stop(workload.jobs_under_way)
        due = hooks.next_after(step.status)
        if due is None or step.status != run.status:
            return 0
        return await self._advance_hook(run, due)

    async def _advance_hook(self, run: BackupRun, due: DueHook) -> float | None:
        finalizers = run.metadata.finalizers
        if labels.PAUSED not in finalizers and run.metadata.deletion_timestamp is None:
            await self._context.cluster.set_finalizers(run, (*finalizers, labels.PAUSED))
            return 0
        step = self._hooks.advance(run, due)
        if step is None:
            return self._earliest(run, None)
        await self._write(run, step)
        return 0

    async def _run(self, run: BackupRun, workload: Workload) -> float | None:
        if not workload.jobs and await self._deletions.protect(run):
            return 0
        due = hooks.due(run.status)
        if due is not None:
            return await self._advance_hook(run, due)
        jobs = workload.observe(BACKUP)
        waiting = _waiting(run, jobs)
        if waiting and await self._leave_out(run):
            return 0
        next_ones = waiting[: self._free(run, jobs)]
        creation_failures, creation_errors = await self._create_targets(run, next_ones, bool(jobs))
        progress = await self._workloads.progress(jobs)
        start_deadline = self._context.config.pod_start_deadline
        facts = JobFacts(jobs, start_deadline, creation_failures, progress, creation_errors)
        step = lifecycle.advance(run, facts, self._context.now())
        await self._write(run, step)
        ended = {target.name for target in step.status.targets if target.phase.has_ended}
        await self._workloads.stop(job for job in workload.jobs_under_way if job.target in ended)
        if step.status.phase is not RunPhase.RUNNING or hooks.due(step.status) is not None:
            return 0
        in_line = [target.name for target in waiting[len(next_ones) :]]
        return self._earliest(run, self._workloads.pause(step.status.targets, jobs, in_line))

    def _free(self, run: BackupRun, jobs: dict[str, Observation]) -> int:
        """How many more Jobs the run may have now."""
        under_way = sum(not job.has_ended for job in jobs.values())
        limit = limit_of(BACKUP, self._context.config)
        return max(0, min(limit, run.status.jobs_at_once or limit) - under_way)

    async def _create_targets(
        self, run: BackupRun, targets: Collection[TargetStatus], has_jobs: bool
    ) -> tuple[dict[str, Failure], dict[str, str]]:
        """Create the Jobs of these targets.

        Returns why some can never be created, and why some could not be this time.
        """
        failures: dict[str, Failure] = {}
        none_left = lifecycle.no_destination_left(run)
        if none_left is not None:
            return dict.fromkeys((target.name for target in targets), none_left), {}
        policy = await self._policy_now(run) if targets and (has_jobs or run.status.reason) else None
        for target in targets:
            task = backup_task(run, target, policy)
            if task is None:
                failures[target.name] = lifecycle.target_removed(run, target.name)
                continue
            try:
                failure = await self._ensure(run, task, target.name)
            except TransientError as error:
                return failures, {target.name: str(error)}
            if failure is not None:
                failures[target.name] = failure
        return failures, {}

    async def _policy_now(self, run: BackupRun) -> BackupPolicy | None:
        """For Jobs that are created later than the first ones; None if it is gone or not understood."""
        try:
            return await self._context.policy_of(run)
        except NotUnderstoodError:
            return None

    async def _ensure(self, run: BackupRun, task: BackupTask | CommitTask, part: str) -> Failure | None:
        """Create a Job as the run's settings say; returns why it can never be had."""
        settings = JobSettings.recorded(run.status.settings or RunSettings())
        job = build_job(JobRequest(run, task, settings, part), self._context.config)
        cluster, namespace = self._context.cluster, run.metadata.namespace
        policy = await self._context.policy_of(run) if mounts_claim(task.destinations) else None
        required = [destination for destination in task.destinations if destination.required]
        failure = await claims.why_refused(cluster, namespace, required, policy)
        return failure or await self._workloads.ensure(run, job)

    async def _leave_out(self, run: BackupRun) -> bool:
        """Write no more to optional destinations whose claim somebody else mounts by now; whether one is."""
        used = destinations_written(run)
        optional = [destination for destination in used if not destination.required]
        mounted = await self._mounted(run, optional)
        if mounted:
            await self._write(run, lifecycle.leave_out(run, mounted))
        return bool(mounted)

    async def _mounted(self, run: BackupRun, destinations: list[Destination]) -> dict[str, str]:
        if not mounts_claim(destinations):
            return {}
        policy = await self._policy_now(run)
        return await claims.mounted(self._context.cluster, run.metadata.namespace, destinations, policy)

    async def _commit(self, run: BackupRun, workload: Workload) -> float | None:
        job = workload.observe(COMMIT).get("")
        failure = None
        if job is None:
            if await self._leave_out(run):
                return 0
            task = await self._commit_task(run)
            try:
                failure = (
                    task
                    if isinstance(task, Failure)
                    else await self._ensure(run, task, part_of(COMMIT.component))
                )
            except TransientError as error:
                await self._write(run, lifecycle.wait_for_commit(run, str(error)))
                return self._earliest(run, POLL_SECONDS)
            if failure is not None and failure.reason == CLAIM_MOUNTED:
                # All is stored: whoever mounts the claim has until the deadline to let it go.
                await self._write(run, lifecycle.wait_with(run, failure))
                return self._earliest(run, POLL_SECONDS)
        else:
            await self._retention.record(run, job)
            await self._copies.record(run, job)
        now = self._context.now()
        if failure is not None:
            step = lifecycle.fail_commit(run, failure, now)
        else:
            step = lifecycle.advance_commit(run, job, self._context.config.pod_start_deadline, now)
        await self._write(run, step)
        if _has_ended(step):
            return 0
        return self._earliest(run, self._workloads.pause_of(job))

    async def _commit_task(self, run: BackupRun) -> CommitTask | Failure:
        """Nothing is done in optional destinations whose claim somebody else mounts; some have to be left."""
        optional = [destination for destination in run.status.destinations if not destination.required]
        policy = await self._context.policy_of(run)
        mounted = await self._mounted(run, optional)
        if mounted and len(mounted) == len(run.status.destinations):
            return Failure(reason=CLAIM_MOUNTED, message="; ".join(mounted.values()))
        expiries = await self._retention.mark(run, policy, mounted)
        upkeep = Upkeep(expiries, *await self._copies.choose(run, policy, mounted))
        await self._report_secrets(run, policy)
        budget = deadline.budget(run.status, self._context.now())
        return commit_task(run, policy, upkeep, budget, mounted)

    async def _report_secrets(self, run: BackupRun, policy: BackupPolicy | None) -> None:
        await self._context.reporter.report(run, notices_of_recorded_secrets(run.status.destinations, policy))

    async def _cancel(self, run: BackupRun, workload: Workload) -> float | None:
        await self._workloads.stop(workload.jobs_under_way)
        now = self._context.now()
        lost = workload.lost_pods(now, self._context.config.pod_start_deadline)
        if lost is None:
            await self._write(run, Step(lifecycle.with_cancellation_started(run.status)))
            return POLL_SECONDS
        status = hooks.with_hook_given_up(run.status, "the run is cancelled", now)
        due = hooks.next_after(status)
        if due is None:
            await self._write(run, lifecycle.end_cancelled(run, now, lost))
        elif status != run.status:
            await self._write(run, Step(status))
        else:
            return await self._advance_hook(run, due)
        return 0

    def _earliest(self, run: BackupRun, pause: float | None) -> float | None:
        """The pause, but no longer than until the deadline."""
        if not deadline.is_pressing(run.status):
            return pause
        seconds = remaining(run.status, self._context.now())
        return seconds if pause is None else min(pause, seconds)

    async def _write(self, run: BackupRun, step: RunStep) -> None:
        await self._save(run, step)
        if _has_ended(step):
            self._context.wake_policy_of(run)
        limit = limit_of(BACKUP, self._context.config)
        before, after = row_of(run), row_of(run.model_copy(update={"status": step.status}))
        if admission.permits_of(after, limit) < admission.permits_of(before, limit):
            await self._admissions.wake_starters()

    async def _save(self, run: BackupRun, step: RunStep) -> None:
        if await self._context.save(run, step, observed=True):
            _log.info("run %s/%s: %s", run.metadata.namespace, run.metadata.name, step.status.phase)


def _waiting(run: BackupRun, jobs: Container[str]) -> list[TargetStatus]:
    """The targets that have no Job yet."""
    return [t for t in run.status.targets if t.phase is TargetPhase.PENDING and t.name not in jobs]


def _has_ended(step: RunStep) -> bool:
    return step.status.phase is not None and step.status.phase.has_ended


def _commit_done(workload: Workload) -> bool:
    is_complete = any(
        job.component == COMMIT.component and job.end_condition == "Complete" for job in workload.jobs
    )
    return is_complete or any(job.result is not None for job in workload.observe(COMMIT).values())


def _settings(workload: Workload) -> JobSettings | None:
    """Those that the first Job of a run of an earlier release was made with."""
    jobs = [job for job in workload.jobs if job.settings]
    if not jobs:
        return None
    first = min(jobs, key=lambda job: (job.created, job.name))
    return JobSettings.model_validate_json(first.settings)
