"""Which command around a run is due, where it is run, and what its end means. Pure.

The hooks before are run one after the other before any Job exists, until one fails the run. If one of them
has started, all hooks after are run once every target has ended, however the run ends: the application may be
paused. The next operator starts a hook again that had started and not ended.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.api.hook import Hook, When
from holdfast.api.run import BackupRun, BackupRunStatus, Failure, HookPhase, HookStatus, TargetPhase
from holdfast.domain.labels import PAUSED
from holdfast.domain.step import Notice, Step, describe, updated
from holdfast.domain.stored import EARLIEST

HOOK_FAILED = "HookFailed"
POD_NOT_FOUND = "HookPodNotFound"
_CLOCKS_DIFFER = timedelta(minutes=1)
"""At most so much, the API server's and the operator's."""


@dataclass(frozen=True)
class DueHook:
    """A hook whose turn it is, started or not."""

    when: When
    hook: Hook


@dataclass(frozen=True)
class Candidate:
    """A pod that a selector finds."""

    name: str
    created: datetime
    containers: tuple[str, ...]
    """Its sidecars last."""
    default_container: str = ""
    """The one that its annotation names."""
    is_running: bool = False
    is_ready: bool = False
    is_being_deleted: bool = False


@dataclass(frozen=True)
class CommandEnd:
    """How the command of a hook ended."""

    failure: Failure | None = None
    pod: str | None = None
    exit_code: int | None = None


def due(status: BackupRunStatus) -> DueHook | None:
    """The hook of a Running run that is to be run now. Targets that the run leaves out do not count."""
    backed_up = [target for target in status.targets if target.phase is not TargetPhase.SKIPPED]
    if all(target.phase.has_ended for target in backed_up):
        return next_after(status)
    return None if any(target.phase.has_ended for target in backed_up) else _next(status, "Before")


def next_after(status: BackupRunStatus) -> DueHook | None:
    """The hook that lets the application go on, however the run ends; None once it may end."""
    plan = status.hook_plan
    may_be_paused = plan is not None and (
        not plan.before or any(hook.when == "Before" for hook in status.hooks)
    )
    return _next(status, "After") if may_be_paused else None


def _next(status: BackupRunStatus, when: When) -> DueHook | None:
    ended = {hook.name for hook in status.hooks if hook.when == when and hook.phase is not HookPhase.RUNNING}
    return next((DueHook(when, hook) for hook in _planned(status, when) if hook.name not in ended), None)


def _planned(status: BackupRunStatus, when: When) -> tuple[Hook, ...]:
    plan = status.hook_plan
    if plan is None:
        return ()
    return plan.before if when == "Before" else plan.after


def status_of(status: BackupRunStatus, due: DueHook) -> HookStatus | None:
    """What the run's status says of a hook; None before it starts."""
    hooks = (hook for hook in status.hooks if (hook.when, hook.name) == (due.when, due.hook.name))
    return next(hooks, None)


def first_failure(status: BackupRunStatus, when: When) -> HookStatus | None:
    """The first hook of a list that has failed, of those that must not."""
    strict = {hook.name for hook in _planned(status, when) if hook.on_error == "Fail"}
    hooks = (hook for hook in status.hooks if hook.when == when and hook.name in strict)
    return next((hook for hook in hooks if hook.phase is HookPhase.FAILED), None)


def with_hook_started(status: BackupRunStatus, due: DueHook, now: datetime) -> BackupRunStatus:
    """Written before the command is run, so that no pause is forgotten."""
    hook_status = HookStatus(name=due.hook.name, when=due.when, phase=HookPhase.RUNNING, start_time=now)
    message = f"runs hook {due.hook.name}"
    return updated(status, hooks=(*status.hooks, hook_status), reason="RunningHook", message=message)


def end_hook(
    status: BackupRunStatus, due: DueHook, command_end: CommandEnd, now: datetime
) -> Step[BackupRunStatus]:
    """The command has ended. If a hook before fails the run, its targets are skipped."""
    name, failure = due.hook.name, command_end.failure
    subject = f"{due.when}/{name}"
    if failure is None:
        notice = Notice("HookSucceeded", f"hook {name} was run in pod {command_end.pod}", subject)
        phase, message = HookPhase.SUCCEEDED, None
    else:
        message = f"hook {name}: {describe(failure)}"
        goes_on = "; the run goes on" if due.hook.on_error == "Continue" else ""
        notice = Notice(failure.reason, message + goes_on, subject, warning=True)
        phase = HookPhase.FAILED
    hooks = tuple(
        updated(
            hook,
            phase=phase,
            pod=command_end.pod,
            exit_code=command_end.exit_code,
            completion_time=now,
            message=message,
        )
        if (hook.when, hook.name) == (due.when, name)
        else hook
        for hook in status.hooks
    )
    status = updated(status, hooks=hooks)
    if first_failure(status, "Before") is not None:
        status = updated(status, targets=tuple(
            target if target.phase.has_ended
            else updated(target, phase=TargetPhase.SKIPPED, completion_time=now)
            for target in status.targets
        ))  # fmt: skip
    return Step(updated(status, reason=None, message=None), (notice,))


def with_hook_given_up(status: BackupRunStatus, why: str, now: datetime) -> BackupRunStatus:
    """The status once nobody waits for the running hook before any more."""
    hooks = tuple(
        updated(hook, phase=HookPhase.FAILED, completion_time=now, message=f"given up: {why}")
        if (hook.when, hook.phase) == ("Before", HookPhase.RUNNING)
        else hook
        for hook in status.hooks
    )
    return updated(status, hooks=hooks)


def has_paused(run: BackupRun) -> bool:
    """Whether a hook was started for this very object: one with a copied status is younger than its hooks."""
    created = run.metadata.creation_timestamp or EARLIEST
    starts = [hook.start_time or EARLIEST for hook in run.status.hooks]
    return PAUSED in run.metadata.finalizers and any(start + _CLOCKS_DIFFER >= created for start in starts)


def pods_paused(status: BackupRunStatus) -> frozenset[str]:
    """The pods that hooks before were run in."""
    return frozenset(hook.pod for hook in status.hooks if hook.when == "Before" and hook.pod)


def choose_pod(candidates: Iterable[Candidate], paused: Collection[str]) -> Candidate | None:
    """The pod to run a hook in: the oldest one that is ready.

    One that was `paused` comes first, ready or not: an application that is paused may say that it is not.
    """
    usable = [pod for pod in candidates if pod.is_running and not pod.is_being_deleted]
    usable = [pod for pod in usable if pod.is_ready or pod.name in paused]
    return min(usable, key=lambda pod: (pod.name not in paused, pod.created, pod.name), default=None)


def container_of(pod: Candidate, hook: Hook) -> str:
    """The container to run it in."""
    return hook.container or pod.default_container or pod.containers[0]
