"""Make and watch the Jobs that put the copies of a RestoreRequest in place, or drop what it has loaded.

Each is made of the Task of the target's Restore Job, so it goes to the same server by the same Secrets,
whatever has become of the policy and the run since.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from holdfast.api.restore import CopyState, RestoreRequest
from holdfast.api.run import Failure, RunSettings
from holdfast.controller.errors import TransientError
from holdfast.controller.jobs.job import JobRequest, build_job
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.work.context import Context
from holdfast.controller.work.workloads import POLL_SECONDS, Workload, Workloads
from holdfast.domain import labels, restoration
from holdfast.domain.naming import part_of
from holdfast.domain.recovery_set import (
    SetFacts,
    Wish,
    former_copies,
    to_discard,
    to_swap,
    with_starts,
)
from holdfast.domain.restoration import RestoreStep
from holdfast.domain.run.deletion import without, without_foreground
from holdfast.domain.step import Step, updated
from holdfast.domain.targets import JOB_NOT_CREATED, not_created
from holdfast.domain.tasks import discard_task, swap_task
from holdfast.domain.workload import Observation, end_failure
from holdfast.protocol import DISCARD, RESTORE, SWAP, DiscardTask, Kind, SwapTask

_RETRY_SECONDS = 300.0
"""After so long a Swap or Discard Job of a request that has ended is made again if it has failed."""
MakeTask = Callable[[str], SwapTask | DiscardTask]


class RecoverySets:
    """What is done next is decided in `domain.recovery_set`; every step can be repeated."""

    def __init__(self, context: Context, workloads: Workloads) -> None:
        self._context = context
        self._workloads = workloads

    async def protect(self, request: RestoreRequest) -> bool:
        """Before its first Job: have the request stay until its copies are gone; whether that changed it."""
        finalizers = request.metadata.finalizers
        if labels.COPY in finalizers or request.metadata.deletion_timestamp is not None:
            return False
        await self._context.cluster.set_finalizers(request, (*finalizers, labels.COPY))
        return True

    async def report_former(self, request: RestoreRequest) -> None:
        """Tell of what requests that have ended have left where this one restores to."""
        others = await self._context.cluster.get_all(RestoreRequest, request.metadata.namespace)
        await self._context.reporter.report(request, former_copies(request, others))

    async def release(self, request: RestoreRequest) -> bool:
        """Let the request go; whether that changed it."""
        finalizers = without(request.metadata.finalizers, labels.COPY)
        if finalizers == request.metadata.finalizers:
            return False
        await self._context.cluster.set_finalizers(request, finalizers)
        return True

    async def keep_jobs(self, request: RestoreRequest) -> bool:
        """Have the garbage collector leave the Jobs of a deleted request; whether that changed it."""
        finalizers = without_foreground(request)
        if finalizers == request.metadata.finalizers:
            return False
        await self._context.cluster.set_finalizers(request, finalizers)
        return True

    async def swap(self, request: RestoreRequest, workload: Workload) -> RestoreStep:
        """Put the staged copies in place: a Job for each."""
        facts = self._facts(workload)
        names = [name for name in to_swap(request.status.targets) if name not in facts.swaps]
        made, error = await self._ensure(request, facts.restores, SWAP, names, swap_task)
        step = restoration.swap(request, replace(facts, creation_failures=made), self._context.now())
        return _with_error(step, error)

    async def take_back(self, request: RestoreRequest, workload: Workload) -> RestoreStep:
        """Drop what was loaded, once nothing is loaded any more: a Job for each target."""
        await self.stop_loading(workload)
        request = _with_starts(request, workload, self._context.now())
        facts = self._facts(workload)
        made: dict[str, Failure] = {}
        error = None
        if facts.lost_pods is not None and not facts.is_swapping:
            names = to_discard(request.status.targets, facts.restores)
            swapped = {name for name, job in facts.swaps.items() if job.result is not None}
            wanted = [name for name in names if name not in facts.discards]
            made, error = await self._ensure(
                request, facts.restores, DISCARD, wanted, lambda task: discard_task(task, swapped)
            )
        step = restoration.take_back(request, replace(facts, creation_failures=made), self._context.now())
        return _with_error(step, error)

    async def stop_loading(self, workload: Workload, names: Collection[str] | None = None) -> None:
        """End the pods of Restore Jobs, or of those of some targets. The Jobs themselves stay."""
        await self._workloads.suspend(
            job
            for job in workload.jobs_under_way
            if job.component == RESTORE.component and (names is None or job.target in names)
        )

    async def grant(self, request: RestoreRequest, wish: Wish) -> tuple[RestoreStep, bool]:
        """What a request that has ended, or is deleted, still asks for; and whether no more can be done."""
        workload = await self._workloads.read(request, labels.RESTORE)
        facts = self._facts(workload)
        is_swap = wish is Wish.SWAP or facts.is_swapping
        jobs = facts.swaps if is_swap else facts.discards
        await self._retry(request, jobs)
        wanted = (CopyState.STAGED,) if is_swap else (CopyState.STAGED, CopyState.LEFT)
        names = [t.name for t in request.status.targets if t.copy_state in wanted]
        kind, task = (SWAP, swap_task) if is_swap else (DISCARD, discard_task)
        missing = [name for name in names if name not in jobs]
        made, error = await self._ensure(request, facts.restores, kind, missing, task)
        facts = replace(facts, creation_failures=made)
        decide = restoration.promote if is_swap else restoration.discard
        step = decide(request, facts, self._context.now())
        has_failed = all(
            name in made or (name in jobs and self._is_over(request, jobs[name])) for name in names
        )
        return step, has_failed and error is None and not is_swap

    def _is_over(self, request: RestoreRequest, job: Observation) -> bool:
        """Whether a Job has ended that was made after the deletion of its request."""
        deleted, now = request.metadata.deletion_timestamp, self._context.now()
        if deleted is None or job.job.created < deleted:
            return False
        return (
            job.result is not None
            or end_failure(job, now, self._context.config.pod_start_deadline) is not None
        )

    async def _retry(self, request: RestoreRequest, jobs: Mapping[str, Observation]) -> None:
        """Delete the Jobs that have failed some time ago, or before the deletion was asked for."""
        now, deleted = self._context.now(), request.metadata.deletion_timestamp
        patience = timedelta(seconds=_RETRY_SECONDS)
        old = [
            job.job
            for job in jobs.values()
            if job.failure is not None
            and (job.job.created < deleted if deleted is not None else now - (job.ended or now) >= patience)
        ]
        await self._workloads.stop(old)

    def _facts(self, workload: Workload) -> SetFacts:
        patience = self._context.config.pod_start_deadline
        may_start = any(
            job.component == RESTORE.component and not (job.is_at_rest or job.is_being_deleted)
            for job in workload.jobs_under_way
        )
        restoring = replace(
            workload, pods=tuple(pod for pod in workload.pods if _is_of(workload, pod.job, RESTORE))
        )
        return SetFacts(
            workload.observe(RESTORE),
            workload.observe(SWAP),
            workload.observe(DISCARD),
            patience,
            lost_pods=None if may_start else restoring.lost_pods(self._context.now(), patience),
        )

    async def _ensure(
        self,
        request: RestoreRequest,
        restores: Mapping[str, Observation],
        kind: Kind,
        names: Iterable[str],
        task_of: MakeTask,
    ) -> tuple[dict[str, Failure], str | None]:
        """Create Jobs; why some can never be had, and why one could not be made this time."""
        settings = JobSettings.recorded(request.status.settings or RunSettings())
        failures: dict[str, Failure] = {}
        for name in names:
            restore = restores.get(name)
            if restore is None:
                message = "somebody deleted its Restore Job, which says where it was loaded to"
                failures[name] = Failure(reason="JobDeleted", message=message)
                continue
            try:
                task = task_of(restore.job.task)
            except ValidationError:
                message = "its Restore Job was made by another release, whose Task is not understood"
                failures[name] = Failure(reason="TaskInvalid", message=message)
                continue
            wanted = JobRequest(request, task, settings, part_of(kind.component, name))
            try:
                failure = await self._workloads.ensure(request, build_job(wanted, self._context.config))
            except TransientError as transient:
                return failures, not_created(f"target {name} ({kind.component})", str(transient))[1]
            if failure is not None:
                failures[name] = failure
        return failures, None

    def pause(self, request: RestoreRequest) -> float:
        """When Jobs of a request that has ended are looked at again; a watch reports their end."""
        return POLL_SECONDS if request.metadata.deletion_timestamp is not None else _RETRY_SECONDS / 10


def _is_of(workload: Workload, name: str, kind: Kind) -> bool:
    """Whether a pod's Job is of a kind. A Job that is gone was one that has been stopped: a Restore Job."""
    component = next((job.component for job in workload.jobs if job.name == name), RESTORE.component)
    return component == kind.component


def _with_starts(request: RestoreRequest, workload: Workload, now: datetime) -> RestoreRequest:
    started = {pod.job for pod in workload.pods if pod.running_since or pod.termination}
    targets = with_starts(request.status.targets, started, now)
    return request.model_copy(update={"status": updated(request.status, targets=targets)})


def _with_error(step: RestoreStep, error: str | None) -> RestoreStep:
    """The step; it says if a Job could not be made this time."""
    if error is None:
        return step
    return Step(updated(step.status, reason=JOB_NOT_CREATED, message=error), step.notices)
