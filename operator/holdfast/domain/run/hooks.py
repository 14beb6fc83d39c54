"""Which command around a run is due, where it is run, and what its end means. Pure.

The hooks before are run one after the other before any Job is made, until one fails the run. All hooks after
are run once every target has ended, whenever one before was begun, however the run ends: the application may
be paused. What was begun and has not ended is begun again by the next operator.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from holdfast.api.hook import Hook
from holdfast.api.run import BackupRunStatus, Failure, HookPhase, HookStatus, TargetPhase
from holdfast.domain.step import Notice, Step, describe, updated

HOOK_FAILED = "HookFailed"
POD_NOT_FOUND = "HookPodNotFound"
When = Literal["Before", "After"]


@dataclass(frozen=True)
class Due:
    """A hook whose turn it is, begun or not."""

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
    running: bool = False
    ready: bool = False
    deleting: bool = False


@dataclass(frozen=True)
class Outcome:
    """How the command of a hook ended."""

    failure: Failure | None = None
    pod: str | None = None
    exit_code: int | None = None


def due(status: BackupRunStatus) -> Due | None:
    """The hook of a Running run that is to be run now."""
    if not any(target.phase.terminal for target in status.targets):
        return _next(status, "Before")
    return next_after(status) if all(target.phase.terminal for target in status.targets) else None


def next_after(status: BackupRunStatus) -> Due | None:
    """The hook that lets the application go on, whatever becomes of the run; None once it may end."""
    plan = status.hook_plan
    paused = plan is not None and (not plan.before or any(each.when == "Before" for each in status.hooks))
    return _next(status, "After") if paused else None


def _next(status: BackupRunStatus, when: When) -> Due | None:
    ended = {each.name for each in status.hooks if each.when == when and each.phase is not HookPhase.RUNNING}
    return next((Due(when, hook) for hook in _planned(status, when) if hook.name not in ended), None)


def _planned(status: BackupRunStatus, when: When) -> tuple[Hook, ...]:
    plan = status.hook_plan
    if plan is None:
        return ()
    return plan.before if when == "Before" else plan.after


def state(status: BackupRunStatus, hook: Due) -> HookStatus | None:
    """What is known of a hook; None before it is begun."""
    found = (each for each in status.hooks if (each.when, each.name) == (hook.when, hook.hook.name))
    return next(found, None)


def failed(status: BackupRunStatus, when: When) -> HookStatus | None:
    """The first hook of a list that has failed and may not."""
    strict = {hook.name for hook in _planned(status, when) if hook.on_error == "Fail"}
    found = (each for each in status.hooks if each.when == when and each.name in strict)
    return next((each for each in found if each.phase is HookPhase.FAILED), None)


def begun(status: BackupRunStatus, hook: Due, now: datetime) -> BackupRunStatus:
    """Written down before the command is run, so that no pause is forgotten."""
    entry = HookStatus(name=hook.hook.name, when=hook.when, phase=HookPhase.RUNNING, start_time=now)
    message = f"runs hook {hook.hook.name}"
    return updated(status, hooks=(*status.hooks, entry), reason="RunningHook", message=message)


def ended(status: BackupRunStatus, hook: Due, outcome: Outcome, now: datetime) -> Step[BackupRunStatus]:
    """Take in how the command ended. A hook before that fails the run skips its targets."""
    name, failure = hook.hook.name, outcome.failure
    at = f"{hook.when}/{name}"
    if failure is None:
        notice = Notice("HookSucceeded", f"hook {name} was run in pod {outcome.pod}", at)
        phase, message = HookPhase.SUCCEEDED, None
    else:
        message = f"hook {name}: {describe(failure)}"
        goes_on = "; the run goes on" if hook.hook.on_error == "Continue" else ""
        notice = Notice(failure.reason, message + goes_on, at, warning=True)
        phase = HookPhase.FAILED
    status = _with(
        status,
        hook,
        phase=phase,
        pod=outcome.pod,
        exit_code=outcome.exit_code,
        completion_time=now,
        message=message,
    )
    if failed(status, "Before") is not None:
        status = updated(status, targets=tuple(
            target if target.phase.terminal
            else updated(target, phase=TargetPhase.SKIPPED, completion_time=now)
            for target in status.targets
        ))  # fmt: skip
    return Step(updated(status, reason=None, message=None), (notice,))


def interrupted(status: BackupRunStatus, why: str, now: datetime) -> BackupRunStatus:
    """The status once the hook before that goes on is given up."""
    hooks = tuple(
        updated(each, phase=HookPhase.FAILED, completion_time=now, message=f"given up: {why}")
        if (each.when, each.phase) == ("Before", HookPhase.RUNNING)
        else each
        for each in status.hooks
    )
    return updated(status, hooks=hooks)


def _with(status: BackupRunStatus, hook: Due, **fields: object) -> BackupRunStatus:
    hooks = tuple(
        updated(each, **fields) if (each.when, each.name) == (hook.when, hook.hook.name) else each
        for each in status.hooks
    )
    return updated(status, hooks=hooks)


def paused_in(status: BackupRunStatus) -> frozenset[str]:
    """The pods that hooks before were run in."""
    return frozenset(each.pod for each in status.hooks if each.when == "Before" and each.pod)


def choose_pod(candidates: Iterable[Candidate], paused: Collection[str]) -> Candidate | None:
    """The pod to run a hook in: the oldest one that is ready.

    One that was `paused` comes first, ready or not: an application that is paused may say that it is not.
    """
    usable = [each for each in candidates if each.running and not each.deleting]
    usable = [each for each in usable if each.ready or each.name in paused]
    return min(usable, key=lambda each: (each.name not in paused, each.created, each.name), default=None)


def container_of(pod: Candidate, hook: Hook) -> str:
    """The container to run it in."""
    return hook.container or pod.default_container or pod.containers[0]
