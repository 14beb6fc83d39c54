"""Make, watch and stop the Jobs of a run or restore."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import ValidationError

from holdfast.api.meta import Resource
from holdfast.api.restore import RestoreTargetStatus
from holdfast.api.run import Failure, Progress, TargetStatus
from holdfast.controller.errors import (
    AlreadyExistsError,
    ApiError,
    ForbiddenError,
    InvalidError,
    NamespaceTerminatingError,
    RefusedForNowError,
    TransientError,
)
from holdfast.controller.jobs.volumes import claims_of_destinations, without_claims
from holdfast.controller.queue import Key
from holdfast.controller.work.context import Context
from holdfast.domain import labels
from holdfast.domain.complaints import Complaint
from holdfast.domain.workload import Job, Observation, Pod, lost_pods, observe, to_be_explained
from holdfast.protocol import Kind, ProgressLine

POLL_SECONDS = 2.0
"""How often pods that are ending are looked at, and how soon those that are starting."""
_MAX_POLL_SECONDS = 15.0
NAMESPACE_TERMINATING = "NamespaceTerminating"
_LOG_LINES = 20
_MAX_LOG_BYTES = 9 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """The Jobs of one run or restore, and their pods, as they are now."""

    jobs: tuple[Job, ...]
    pods: tuple[Pod, ...]
    complaints: dict[str, Complaint]

    def observe(self, kind: Kind) -> dict[str, Observation]:
        """By target: what the Jobs of a kind have come to."""
        return {
            job.target: observe(job, self.pods, kind, self.complaints)
            for job in self.jobs
            if job.component == kind.component and not job.is_being_deleted
        }

    @property
    def has_live_pods(self) -> bool:
        """Whether a pod may still do something."""
        return any(not pod.has_ended for pod in self.pods)

    def lost_pods(self, now: datetime, patience: timedelta) -> tuple[str, ...] | None:
        """Pods that will not end, each with its node; None while another may still do something."""
        return lost_pods(self.pods, now, patience)

    @property
    def jobs_under_way(self) -> list[Job]:
        """The Jobs that have not ended."""
        return [job for job in self.jobs if not job.end_condition]


class Workloads:
    """The cluster's Jobs, by the run or restore that they belong to."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._progress_read: dict[str, float] = {}

    async def read(self, owner: Resource, label: str, component: str | None = None) -> Workload:
        """The owner's Jobs, then their pods: of a Job that has ended, the pods' last status is there too.

        With `component`, those of this kind of Task alone.
        """
        metadata, cluster = owner.metadata, self._context.cluster
        namespace = metadata.namespace
        selector = {label: metadata.name} | ({} if component is None else {labels.COMPONENT: component})
        jobs = await self._jobs(owner, selector)
        pods = tuple(await cluster.pods(namespace, selector))
        complaints: dict[str, Complaint] = {}
        for uid in to_be_explained(jobs, pods, self._context.now()):
            complaint = await cluster.complaint(namespace, uid)
            if complaint is not None:
                complaints[uid] = complaint
        return Workload(jobs, pods, complaints)

    async def _jobs(self, owner: Resource, selector: dict[str, str]) -> tuple[Job, ...]:
        metadata = owner.metadata
        jobs = await self._context.cluster.jobs(metadata.namespace, selector)
        return tuple(job for job in jobs if job.owner_uid == metadata.uid)

    async def ensure(self, owner: Resource, manifest: dict[str, Any]) -> Failure | None:
        """Create a Job, or see that it is there and the owner's; returns why it cannot be had.

        What is forbidden is retried for as long as a pod that cannot start, by RefusedForNowError.
        """
        metadata = manifest["metadata"]
        place = metadata["namespace"], metadata["name"]
        try:
            absent = await self._absent_claims(metadata["namespace"], claims_of_destinations(manifest))
            made = await self._context.cluster.create_job(without_claims(manifest, absent))
            self._context.jobs.see(made)
        except AlreadyExistsError:
            job = await self._context.cluster.job(metadata["namespace"], metadata["name"])
            if job.owner_uid != owner.metadata.uid:
                message = f"Job {job.name} exists and belongs to something else: delete it"
                return Failure(reason="JobNameTaken", message=message)
        except NamespaceTerminatingError as error:
            return Failure(reason=NAMESPACE_TERMINATING, message=str(error))
        except (ForbiddenError, InvalidError) as error:
            patience = self._context.config.pod_start_deadline.total_seconds()
            if isinstance(error, ForbiddenError) and not self._context.is_final(error, place, patience):
                raise RefusedForNowError.of(error) from error
            return Failure(reason="JobRefused", message=str(error))
        return None

    async def from_log(self, workload: Workload, job: Job, parse: Callable[[bytes], T | None]) -> T | Failure:
        """What `parse` makes of the log of a Job that succeeded, or why it cannot.

        Raises TransientError: the pod is there, so its log can be read again.
        """
        subject = f"the log of the {job.component.lower()}'s pod"
        try:
            parsed = parse(await self._log(workload, job))
        except TransientError:
            raise
        except ApiError as error:
            return Failure(reason="LogUnreadable", message=f"{subject}: {error}")
        if parsed is None:
            message = f"{subject} is not what it has written: it was cut off or rotated"
            return Failure(reason="LogIncomplete", message=message)
        return parsed

    async def _log(self, workload: Workload, job: Job) -> bytes:
        pod = next(
            pod for pod in workload.pods if pod.phase != "Failed" and pod.termination and pod.job == job.name
        )
        return await self._context.cluster.log(job.namespace, pod.name, _MAX_LOG_BYTES)

    async def _absent_claims(self, namespace: str, claims: Iterable[str]) -> set[str]:
        """Those that the namespace lacks: a pod that mounts one is not scheduled."""
        has_claim = self._context.cluster.has_claim
        return {claim for claim in claims if not await has_claim(namespace, claim)}

    async def settle(self, owner: Resource, label: str) -> None:
        """After the owner's end: stop what still goes on, and let the cluster delete the rest in time."""
        if not self._context.jobs.has_unsettled(Key.of(owner), owner.metadata.uid):
            return
        ttl = int(self._context.config.job_ttl.total_seconds())
        jobs = [
            job for job in await self._jobs(owner, {label: owner.metadata.name}) if not job.is_being_deleted
        ]
        await self.stop(job for job in jobs if not job.end_condition)
        for job in jobs:
            if job.end_condition and not job.has_ttl:
                await self._context.cluster.expire_job(job, ttl)

    async def stop(self, jobs: Iterable[Job]) -> None:
        """Delete Jobs and their pods."""
        for job in jobs:
            if not job.is_being_deleted:
                await self._context.cluster.delete_job(job)

    async def suspend(self, jobs: Iterable[Job]) -> None:
        """End the pods of Jobs that still have to say what they were to do."""
        for job in jobs:
            if not (job.is_being_deleted or job.is_suspended):
                await self._context.cluster.suspend_job(job)

    async def progress(self, observations: dict[str, Observation]) -> dict[str, Progress]:
        """By target: how far the running pods say that they are, read at most every so often."""
        progress_by_target: dict[str, Progress] = {}
        now = self._context.monotonic()
        interval = self._context.config.progress_interval.total_seconds()
        for target, observation in observations.items():
            if observation.has_ended:
                self._progress_read.pop(observation.job.uid, None)
            elif (
                observation.running_pod
                and now - self._progress_read.get(observation.job.uid, 0.0) >= interval
            ):
                self._progress_read[observation.job.uid] = now
                progress = await self._read_progress(observation)
                if progress is not None:
                    progress_by_target[target] = progress
        return progress_by_target

    async def _read_progress(self, observation: Observation) -> Progress | None:
        try:
            text = await self._context.cluster.log_tail(
                observation.job.namespace, observation.running_pod, _LOG_LINES
            )
        except ApiError:
            return None  # only shown: it is read again soon, and the Job's end does not depend on it
        return last_progress(text)

    def pause(
        self,
        targets: Iterable[TargetStatus | RestoreTargetStatus],
        observations: Mapping[str, Observation],
        in_line: Collection[str] = (),
    ) -> float | None:
        """After how many seconds Jobs want to be looked at again; a watch reports their end.

        The targets `in_line` have none yet, and wait for the end of another.
        """
        under_way = [
            target.name for target in targets if not target.phase.has_ended and target.name not in in_line
        ]
        pauses = (self.pause_of(observations.get(name)) for name in under_way)
        return min(pauses, default=None)

    def pause_of(self, job: Observation | None) -> float:
        """The same for one Job; None was just made. The longer a pod takes to start, the less it is asked."""
        if job is None:
            return POLL_SECONDS
        if job.running_pod:
            return self._context.config.progress_interval.total_seconds()
        age = self._context.now() - (job.waiting_since or job.job.created)
        return min(_MAX_POLL_SECONDS, max(POLL_SECONDS, age.total_seconds()))


def last_progress(text: str) -> Progress | None:
    """The last line of a log that is Progress; the other lines are for people."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                said = ProgressLine.model_validate_json(line)
            except ValidationError:
                continue
            return Progress(phase=said.step[:253], bytes=said.bytes, rows=said.rows)
    return None
