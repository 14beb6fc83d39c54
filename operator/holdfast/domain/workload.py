"""What the Jobs of a run or restore have come to, told from Job conditions, pod status and Results only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from holdfast.api.run import Failure
from holdfast.protocol import RESULT, FailedResult, Kind, Note, Result

_NORMAL_WAITING = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Termination:
    """How the container of a pod ended; `message` is its Result, or the end of its log."""

    exit_code: int
    reason: str
    message: str
    started: datetime | None
    finished: datetime | None


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

    @property
    def ended(self) -> bool:
        """Whether it has reached its last phase."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def starting(self) -> bool:
        """Whether its container has not been started yet."""
        return not self.ended and self.running_since is None and self.termination is None


@dataclass(frozen=True)
class Job:
    """The facts of a Job; `finished` is the type of the condition that ended it."""

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
    finished: str = ""
    """Complete, Failed or nothing."""
    reason: str = ""
    message: str = ""
    expires: bool = False
    """Whether it is deleted a while after its end."""
    deleting: bool = False


@dataclass(frozen=True)
class Complaint:
    """Why a pod does not start, as the cluster says."""

    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """Where a Job stands."""

    job: Job
    attempts: int
    started: datetime | None = None
    ended: datetime | None = None
    result: Result | None = None
    failed: bool = False
    failure: Failure | None = None
    """Why it failed, or while it is tried again why the last attempt did."""
    refused: bool = False
    """Whether it failed without having touched anything."""
    notes: tuple[Note, ...] = ()
    more: int = 0
    """How many notes did not fit into the Result."""
    complaint: Complaint | None = None
    """Why its pod does not start, as long as it does not."""
    waiting_since: datetime | None = None
    """Since when a pod has not started."""
    running_pod: str = ""

    @property
    def finished(self) -> bool:
        """Whether the Job has ended, well or not."""
        return self.failed or self.result is not None


def observe(job: Job, pods: Iterable[Pod], kind: Kind, complaints: Mapping[str, Complaint]) -> Observation:
    """What a Job has come to. `complaints` are the warnings of events, by the UID of pod or Job."""
    mine = sorted((pod for pod in pods if pod.job == job.name), key=lambda pod: (pod.created, pod.name))
    attempts = job.failed + job.active + job.succeeded
    started = min((since for pod in mine if (since := _started(pod))), default=None)
    ended = max((pod.termination.finished for pod in mine if _finish(pod)), default=None)  # type: ignore[union-attr, type-var]
    if job.finished == "Complete":
        result = next((_result(pod) for pod in mine if pod.phase == "Succeeded"), None)
        if isinstance(result, kind.result):
            failure = _last_failure(mine)[0]
            return Observation(
                job, attempts, started, ended, result=result, failure=failure,
                notes=result.notes, more=result.more,
            )  # fmt: skip
        return Observation(job, attempts, started, ended, failed=True, failure=_lost(job, result))
    failure, said = _last_failure(mine)
    notes, more = (said.notes, said.more) if said else ((), 0)
    if job.finished == "Failed":
        return Observation(
            job, attempts, started, ended, failed=True, notes=notes, more=more,
            failure=_job_failure(job, failure), refused=said is not None and said.refused,
        )  # fmt: skip
    complaint, waiting_since = _not_starting(job, mine, complaints)
    running = next((pod.name for pod in reversed(mine) if pod.running_since and not pod.ended), "")
    return Observation(
        job, attempts, started, failure=failure, notes=notes, more=more,
        complaint=complaint, waiting_since=waiting_since, running_pod=running,
    )  # fmt: skip


def cannot_start(observation: Observation, now: datetime, deadline: timedelta) -> Failure | None:
    """Why its pod has been unable to start for too long; None as long as it has not been.

    Only with a known reason: pulling a large image, for instance, is no failure.
    """
    complaint, since = observation.complaint, observation.waiting_since
    if complaint is None or since is None or now - since < deadline:
        return None
    return Failure(reason=complaint.reason, message=complaint.message)


def to_be_explained(jobs: Iterable[Job], pods: Iterable[Pod]) -> dict[str, str]:
    """UID to kind of what does not start and gives no reason itself: only its events can tell why."""
    pods = list(pods)
    unexplained = {
        pod.uid: "Pod"
        for pod in pods
        if pod.starting and not pod.unschedulable and pod.waiting_reason in _NORMAL_WAITING
    }
    with_pods = {pod.job for pod in pods if not pod.ended}
    for job in jobs:
        if not job.finished and not job.deleting and job.name not in with_pods:
            unexplained[job.uid] = "Job"
    return unexplained


def _started(pod: Pod) -> datetime | None:
    return pod.termination.started if pod.termination else pod.running_since


def _finish(pod: Pod) -> datetime | None:
    return pod.termination.finished if pod.termination else None


def _result(pod: Pod) -> Result | None:
    if pod.termination is None:
        return None
    try:
        return RESULT.validate_json(pod.termination.message)
    except ValidationError:
        return None


def _last_failure(pods: list[Pod]) -> tuple[Failure | None, FailedResult | None]:
    failed = [pod for pod in pods if pod.phase == "Failed"]
    if not failed:
        return None, None
    result = _result(failed[-1])
    if isinstance(result, FailedResult):
        return result.failure.model_copy(update={"exit_code": result.exit_code}), result
    return _killed(failed[-1]), None


def _killed(pod: Pod) -> Failure:
    """The failure of a pod that ended without a Result: something stopped it, or the runner has a defect."""
    end = pod.termination
    tail = end.message if end else ""
    if pod.reason:
        return Failure(
            reason=pod.reason, message=pod.message or f"the pod ended: {pod.reason}", log_tail=tail
        )
    if end is None:
        return Failure(reason="PodLost", message="the pod failed and its container left no status")
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
        return Failure(reason="DeadlineExceeded", message=job.message or "activeDeadline is over",
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
    alive = [pod for pod in pods if not pod.ended]
    if not alive:
        # Between two attempts there is no pod either, and that is the Job's ordinary back-off.
        since = max((pod.termination.finished for pod in pods if _finish(pod)), default=job.created)  # type: ignore[union-attr, type-var]
        return complaints.get(job.uid), since
    pod = alive[-1]
    if not pod.starting:
        return None, None
    return _complaint(pod, complaints), pod.created


def _complaint(pod: Pod, complaints: Mapping[str, Complaint]) -> Complaint | None:
    if pod.unschedulable:
        return Complaint("Unschedulable", pod.unschedulable)
    if pod.waiting_reason not in _NORMAL_WAITING:
        return Complaint(pod.waiting_reason, pod.waiting_message or pod.waiting_reason)
    return complaints.get(pod.uid)
