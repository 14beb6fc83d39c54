"""What the Jobs of a run or restore have come to, by Job conditions, pod status and Results only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from holdfast.api.base import format_time
from holdfast.api.run import Failure
from holdfast.domain.complaints import Complaint, explained
from holdfast.domain.step import Notice, describe
from holdfast.protocol import DISCARD, RESULT, SWAP, ExitCode, FailedResult, Kind, Note, Result

POD_LOST = "PodLost"
_JOB_ENDS = frozenset({"PodFailurePolicy", "BackoffLimitExceeded", "DeadlineExceeded"})
"""Reasons of a Job's warnings that say how it ends: its pods have started."""
_FINAL = frozenset({ExitCode.TASK_WRONG, ExitCode.MISMATCH})
"""The exit codes after which a Job makes no other attempt."""
_FIRST_BACKOFF, _MAX_BACKOFF = timedelta(seconds=10), timedelta(minutes=10)
"""The Job controller's (https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy)."""
_EXPLAINED_AFTER = timedelta(seconds=3)
_NORMAL_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Termination:
    """How the container of a pod ended; `message` is its Result, or the end of its log."""

    exit_code: int
    reason: str
    message: str
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class Pod:
    """The facts of one attempt."""

    name: str
    uid: str
    job: str
    phase: str
    created: datetime
    reason: str = ""
    message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    running_since: datetime | None = None
    termination: Termination | None = None
    """How the runner ended. Other containers, of a mesh for example, may run on."""
    node: str = ""
    scheduled_since: datetime | None = None
    """Since when it has a node; None as long as it has none."""
    is_due: datetime | None = None
    """When a pod that is deleted has to have ended."""

    @property
    def has_ended(self) -> bool:
        """Whether it has reached its last phase."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def is_starting(self) -> bool:
        """Whether its container has not been started yet."""
        return not self.has_ended and self.running_since is None and self.termination is None

    @property
    def is_held(self) -> bool:
        """Whether the runner has ended and another container of the pod has not."""
        return not self.has_ended and self.termination is not None

    def is_lost(self, now: datetime, patience: timedelta) -> bool:
        """Whether it should have ended so long ago that its node is probably lost."""
        return not self.has_ended and self.is_due is not None and now - self.is_due >= patience


@dataclass(frozen=True)
class Job:
    """The facts of a Job; `end_condition` is the type of the condition that ended it."""

    name: str
    namespace: str
    uid: str
    owner_uid: str
    target: str
    component: str
    task: str
    """The Task that it was made with, as JSON."""
    settings: str
    """The JobSettings that it was made with, as JSON."""
    created: datetime
    active: int = 0
    failed: int = 0
    succeeded: int = 0
    end_condition: str = ""
    """Complete, Failed or nothing."""
    reason: str = ""
    message: str = ""
    retries: int = 0
    """How many more attempts it makes after the first."""
    has_ttl: bool = False
    """Whether it is deleted a while after its end."""
    is_being_deleted: bool = False
    is_suspended: bool = False
    is_at_rest: bool = False
    """Whether the Job controller knows that it is suspended, and so makes no pod any more."""


@dataclass(frozen=True)
class Retry:
    """An attempt that failed and is followed by another one."""

    number: int
    """How many attempts have failed."""
    next_time: datetime | None
    """When the next one starts; None if it has started."""


@dataclass(frozen=True)
class Observation:
    """Where a Job stands."""

    job: Job
    attempts: int
    started: datetime | None = None
    ended: datetime | None = None
    result: Result | None = None
    failure: Failure | None = None
    """Why the Job failed; None as long as it has not."""
    attempt_failure: Failure | None = None
    """Why the last failed attempt of a Job failed that is retried, or that has succeeded since."""
    retry: "Retry | None" = None
    """The last failed attempt, if another one follows."""
    said: FailedResult | None = None
    """The Result of the attempt that it failed with."""
    notes: tuple[Note, ...] = ()
    more: int = 0
    """How many notes did not fit into the Result."""
    complaint: Complaint | None = None
    """Why its pod does not start, as long as it does not."""
    waiting_since: datetime | None = None
    """Since when a pod has not started."""
    running_pod: str = ""
    held: Failure | None = None
    """Why the runner failed in a pod that does not end, so that the Job makes no other attempt."""
    held_since: datetime | None = None

    @property
    def refused(self) -> bool:
        """Whether it failed without having touched anything."""
        return self.failure is not None and self.said is not None and self.said.refused

    @property
    def has_ended(self) -> bool:
        """Whether the Job has ended, as succeeded or as failed."""
        return self.failure is not None or self.result is not None


def observe(job: Job, pods: Iterable[Pod], kind: Kind, complaints: Mapping[str, Complaint]) -> Observation:
    """What a Job has come to. `complaints` are the warnings of events, by the UID of pod or Job."""
    mine = sorted((pod for pod in pods if pod.job == job.name), key=lambda pod: (pod.created, pod.name))
    attempts = job.failed + job.active + job.succeeded
    started = min((since for pod in mine if (since := _started(pod))), default=None)
    ended = max((pod.termination.ended for pod in mine if _end_of(pod)), default=None)  # type: ignore[union-attr, type-var]
    held = next((pod for pod in reversed(mine) if pod.is_held), None)
    is_complete = job.end_condition == "Complete"
    done = next((pod for pod in mine if pod.phase == "Succeeded"), None) if is_complete else held
    result = _result(done) if done is not None else None
    if isinstance(result, kind.result):
        return Observation(
            job, attempts, started, ended, result=result, attempt_failure=_last_failure(mine)[0],
            notes=result.notes, more=result.more,
        )  # fmt: skip
    if is_complete and kind in (DISCARD, SWAP):
        # What they answer is for people: the Job's end alone says that it is done.
        return Observation(job, attempts, started, ended, result=kind.result())
    if is_complete:
        return Observation(job, attempts, started, ended, failure=_lost(job, result))
    failure, said = _last_failure(mine)
    notes, more = (said.notes, said.more) if said else ((), 0)
    if job.end_condition == "Failed":
        return Observation(
            job, attempts, started, ended, notes=notes, more=more,
            failure=_job_failure(job, failure), said=said,
        )  # fmt: skip
    complaint, waiting_since = _not_starting(job, mine, complaints)
    complaint = explained(complaint, job.task) if complaint else None
    running = next((pod.name for pod in reversed(mine) if pod.running_since and not pod.has_ended), "")
    return Observation(
        job, attempts, started, attempt_failure=failure, retry=_retry(job, mine), notes=notes, more=more,
        complaint=complaint, waiting_since=waiting_since, running_pod=running,
        held=_failure_of(held)[0] if held else None, said=_failure_of(held)[1] if held else None,
        held_since=_end_of(held) if held else None,
    )  # fmt: skip


def end_failure(job: Observation, now: datetime, start_deadline: timedelta) -> Failure | None:
    """Why a Job has failed, or is given up because its pod cannot start or end; None while neither is so."""
    return job.failure or cannot_end(job, now, start_deadline) or _cannot_start(job, now, start_deadline)


def cannot_end(job: Observation, now: datetime, deadline: timedelta) -> Failure | None:
    """Why its runner failed, once the pod's other containers have had their time to end too."""
    if job.held is None or job.held_since is None or now - job.held_since < deadline:
        return None
    message = f"{job.held.message}; another container of the pod runs on, so the Job makes no other attempt"
    return job.held.model_copy(update={"message": message})


def lost_pods(pods: Iterable[Pod], now: datetime, patience: timedelta) -> tuple[str, ...] | None:
    """Of the pods that have not ended those that never will, each with its node; None while another may."""
    live = [pod for pod in pods if not pod.has_ended]
    if not all(pod.is_lost(now, patience) for pod in live):
        return None
    return tuple(f"pod {pod.name} on node {pod.node or 'unknown'}" for pod in live)


def lost(job: Job, pods: Iterable[Pod], now: datetime, patience: timedelta) -> Failure | None:
    """Why a Job will not end: the pods of it that have not ended are lost, and so it makes no others."""
    mine = [pod for pod in pods if pod.job == job.name and pod.created >= job.created]
    names = lost_pods(mine, now, patience)
    if job.end_condition or not names:
        return None
    message = f"{', '.join(names)} did not end: the node is probably lost"
    return Failure(reason=POD_LOST, message=message)


def obstacle_of(job: Observation, subject: str) -> tuple[str, str] | None:
    """Reason and message of what keeps a Job from going on at the moment; `subject` names it to the user."""
    if _is_ending(job):
        failure = job.attempt_failure
        return (failure.reason, f"{subject} has failed: {describe(failure)}") if failure else None
    if job.complaint is not None:
        return job.complaint.reason, f"{subject} cannot start: {job.complaint.message}"
    if job.attempt_failure is None:
        return None
    reason, message = "Retrying", f"{subject} is retried: {describe(job.attempt_failure)}"
    return reason, message


def _is_ending(job: Observation) -> bool:
    """Whether its Job fails, and Kubernetes has not given it the condition Failed yet."""
    return job.complaint is not None and job.complaint.reason in _JOB_ENDS


def notices_of(job: Observation, subject: str, place_of_rest: str | None = None) -> tuple[Notice, ...]:
    """The notes of a Job about `subject`. `place_of_rest` has those that did not fit into its Result."""
    notices = tuple(
        Notice(note.reason, f"{subject}: {note.message}", f"{subject}/{note.message}", note.warning)
        for note in job.notes
    )
    notices = (*_retry_notices(job, subject), *notices)
    if not job.more:
        return notices
    where = f"are in {place_of_rest}" if place_of_rest else "are left out"
    message = f"{subject}: {job.more} more notes {where}"
    return (*notices, Notice("NotesOmitted", message, f"{subject}/more"))


def _retry_notices(job: Observation, subject: str) -> tuple[Notice, ...]:
    """The failed attempt of a Job that makes another one."""
    if job.retry is None or job.attempt_failure is None:
        return ()
    number, time = job.retry.number, job.retry.next_time
    follows = "the next one has started" if time is None else f"the next one starts at {format_time(time)}"
    message = f"{subject}: attempt {number} failed: {describe(job.attempt_failure)}; {follows}"
    return (Notice("Retrying", message, f"{subject}/{number}", warning=True),)


def _retry(job: Job, pods: list[Pod]) -> Retry | None:
    """The last failed attempt, if the Job makes another one."""
    failed = [pod for pod in pods if pod.phase == "Failed"]
    if not failed or len(failed) > job.retries:
        return None
    end = failed[-1].termination
    if end is not None and end.exit_code in _FINAL:
        return None
    if any(not pod.has_ended for pod in pods) or end is None or end.ended is None:
        return Retry(len(failed), None)
    return Retry(len(failed), end.ended + min(_FIRST_BACKOFF * 2 ** (len(failed) - 1), _MAX_BACKOFF))


def to_be_explained(jobs: Iterable[Job], pods: Iterable[Pod], now: datetime) -> dict[str, str]:
    """UID to kind of what does not start and gives no reason itself: only its events say why.

    Nobody asks for what is new and may just be starting: the events of a namespace are read one by one.
    """
    pods = list(pods)
    unexplained = {
        pod.uid: "Pod"
        for pod in pods
        if pod.is_starting
        and not pod.unschedulable
        and pod.waiting_reason in _NORMAL_WAITING
        and not _is_new(pod.created, now)
    }
    with_pods = {pod.job for pod in pods if not pod.has_ended}
    for job in jobs:
        is_under_way = not job.end_condition and not job.is_being_deleted
        if is_under_way and job.name not in with_pods and not _is_new(job.created, now):
            unexplained[job.uid] = "Job"
    return unexplained


def _is_new(created: datetime, now: datetime) -> bool:
    """A clock behind the API server's makes nothing new for longer."""
    return timedelta(0) <= now - created < _EXPLAINED_AFTER


def _cannot_start(job: Observation, now: datetime, deadline: timedelta) -> Failure | None:
    """Why its pod has been unable to start for too long; None as long as it has not been.

    Only with a known reason: pulling a large image, for instance, is no failure.
    """
    complaint, since = job.complaint, job.waiting_since
    if complaint is None or since is None or _is_ending(job) or now - since < deadline:
        return None
    return Failure(reason=complaint.reason, message=complaint.message)


def _started(pod: Pod) -> datetime | None:
    return pod.termination.started if pod.termination else pod.running_since


def _end_of(pod: Pod) -> datetime | None:
    return pod.termination.ended if pod.termination else None


def _result(pod: Pod) -> Result | None:
    if pod.termination is None:
        return None
    try:
        return RESULT.validate_json(pod.termination.message)
    except ValidationError:
        return None


def _last_failure(pods: list[Pod]) -> tuple[Failure | None, FailedResult | None]:
    failed = [pod for pod in pods if pod.phase == "Failed"]
    return _failure_of(failed[-1]) if failed else (None, None)


def _failure_of(pod: Pod) -> tuple[Failure, FailedResult | None]:
    result = _result(pod)
    if isinstance(result, FailedResult):
        return result.failure.model_copy(update={"exit_code": result.exit_code}), result
    return _killed(pod), None


def _killed(pod: Pod) -> Failure:
    """The failure of a pod that ended without a Result: something stopped it, or the runner has a defect."""
    end = pod.termination
    tail = end.message if end else ""
    if pod.reason:
        return Failure(
            reason=pod.reason, message=pod.message or f"the pod ended: {pod.reason}", log_tail=tail
        )
    if end is None:
        return Failure(reason=POD_LOST, message="the pod failed and its container left no status")
    if end.reason == "OOMKilled":
        message = "the pod used more memory than its limit: raise runner.resources.limits.memory"
        return Failure(reason="OOMKilled", message=message, log_tail=tail)
    if end.exit_code > 128:
        message = f"the pod was killed by signal {end.exit_code - 128} (exit code {end.exit_code})"
        return Failure(reason="PodKilled", message=message, log_tail=tail)
    message = f"the runner ended with exit code {end.exit_code} and without a Result"
    return Failure(reason="RunnerFailed", message=message, log_tail=tail)


def _job_failure(job: Job, failure: Failure | None) -> Failure:
    if job.reason == "DeadlineExceeded":
        return Failure(reason="DeadlineExceeded", message=job.message or "not done within activeDeadline",
                       log_tail=failure.log_tail if failure else "")  # fmt: skip
    return failure or Failure(reason=job.reason or "JobFailed", message=job.message)


def _lost(job: Job, result: object) -> Failure:
    if result is None:
        message = f"Job {job.name} is complete, but no pod of it is left with a Result that can be understood"
        return Failure(reason="ResultMissing", message=message)
    return Failure(reason="ResultUnexpected", message=f"Job {job.name} ended with a {type(result).__name__}")


def _not_starting(
    job: Job, pods: list[Pod], complaints: Mapping[str, Complaint]
) -> tuple[Complaint | None, datetime | None]:
    alive = [pod for pod in pods if not pod.has_ended]
    if not alive:
        # Between two attempts no pod exists either, and that is the Job's ordinary back-off.
        since = max((pod.termination.ended for pod in pods if _end_of(pod)), default=job.created)  # type: ignore[union-attr, type-var]
        return complaints.get(job.uid), since
    pod = alive[-1]
    if not pod.is_starting:
        return None, None
    return _complaint(pod, complaints), pod.scheduled_since or pod.created


def _complaint(pod: Pod, complaints: Mapping[str, Complaint]) -> Complaint | None:
    if pod.unschedulable:
        return Complaint("Unschedulable", pod.unschedulable)
    if pod.waiting_reason not in _NORMAL_WAITING:
        return Complaint(pod.waiting_reason, pod.waiting_message or pod.waiting_reason)
    complaint = complaints.get(pod.uid)
    is_old = complaint is not None and complaint.reason == "FailedScheduling" and pod.scheduled_since
    return None if is_old else complaint
