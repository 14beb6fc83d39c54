"""What a policy's status says, told from its spec and its runs. Pure."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from holdfast.api.conditions import Status, find_condition, set_condition
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus, RecoveryWindow
from holdfast.api.run import STORED, BackupRun, RunPhase
from holdfast.domain.backup.retention import next_plan
from holdfast.domain.plan import quota
from holdfast.domain.plan.readiness import Readiness
from holdfast.domain.plan.schedule import (
    TIME_ZONE_UNKNOWN,
    Due,
    due,
    put_off,
    scheduled_expression,
    superseded,
)
from holdfast.domain.policy.history import age
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.stored import bytes_by_destination, destinations_holding


def slots_due(policy: BackupPolicy, state: Readiness, now: datetime) -> tuple[datetime, Due]:
    """The moment from which on slots count, and what is due since.

    Slots from before the policy's creation, or the last change of its schedule or its resumption, never are.
    Those of the schedule before a change that had not been started by then are missed.
    """
    status, plan = policy.status, _plan(policy, state)
    since = status.scheduled_since or policy.metadata.creation_timestamp or now
    handled = max(since, status.last_schedule_time or since)
    if status.scheduled is not None and status.scheduled != plan:
        return now, superseded(status.scheduled, handled, now)
    first_seen = status.observed_generation is None
    if plan is None or (status.scheduled is None and not first_seen):
        return now, Due()
    if state.schedule is None:
        return since, Due()
    later = put_off(policy.spec, policy.metadata.uid)
    return since, due(state.schedule, policy.spec, handled, now, later)


def _plan(policy: BackupPolicy, state: Readiness) -> str | None:
    """What slots are taken from; kept while only the operator lacks what it takes to tell them."""
    kept = state.ready or state.reason == TIME_ZONE_UNKNOWN
    return scheduled_expression(policy.spec) if kept else None


def _next_start(
    policy: BackupPolicy, state: Readiness, since: datetime, last_slot: datetime | None, now: datetime
) -> datetime | None:
    if state.schedule is None or _plan(policy, state) is None:
        return None
    later = put_off(policy.spec, policy.metadata.uid)
    slot = state.schedule.next_after(max(now - later, since, last_slot or since))
    return None if slot is None else slot + later


def next_status(
    policy: BackupPolicy,
    state: Readiness,
    runs: Sequence[BackupRun],
    since: datetime,
    slots: Due,
    now: datetime,
) -> Step[BackupPolicyStatus]:
    """The status after the due slots became runs."""
    status, plan = policy.status, _plan(policy, state)
    succeeded = [run for run in runs if run.status.phase is RunPhase.SUCCEEDED and run.status.completion_time]
    last_success = max(
        (r.status.completion_time for r in succeeded if r.status.completion_time), default=None
    )
    fresh_success = last_success is not None and last_success != status.last_successful_time
    last_slot = slots.newest or status.last_schedule_time
    newest = max(runs, key=age, default=None)
    retention_plan, plan_notices = next_plan(policy, runs, now)
    changed = updated(
        status,
        observed_generation=policy.metadata.generation,
        next_schedule_time=_next_start(policy, state, since, last_slot, now),
        last_schedule_time=last_slot,
        scheduled=plan,
        scheduled_since=since if plan else None,
        last_run=newest.metadata.name if newest else status.last_run,
        last_successful_time=last_success or status.last_successful_time,
        recovery_window=_windows(policy, runs) or None,
        stored_bytes=_stored_bytes(policy, runs) or None,
        retention_plan=retention_plan,
        missed_runs=(0 if fresh_success else status.missed_runs) + slots.missed_count,
    )
    ready: Status = "True" if state.ready else "False"
    generation = policy.metadata.generation
    conditions = set_condition(
        changed.conditions, "Ready", ready, state.reason, state.message, now, generation
    )
    fresh, reason, message = _freshness(runs)
    conditions = set_condition(conditions, "BackupFresh", fresh, reason, message, now, generation)
    conditions, quota_notices = quota.judged(policy, changed, conditions, now)
    changed = updated(changed, conditions=conditions)
    return Step(changed, (*_notices(policy, state, slots), *plan_notices, *quota_notices))


def _notices(policy: BackupPolicy, state: Readiness, slots: Due) -> list[Notice]:
    notices = []
    before = find_condition(policy.status.conditions, "Ready")
    if before is None or (before.status == "True") != state.ready or before.reason != state.reason:
        subject = f"{policy.metadata.generation}"
        notices.append(Notice(state.reason, state.message, subject, warning=not state.ready))
    if slots.missed_count:
        newest = f"{slots.newest:%Y-%m-%dT%H:%MZ}"
        message = f"{slots.missed_count} slots up to {newest} were missed"
        notices.append(Notice("Missed", message, newest, warning=True))
    return notices


def _freshness(runs: Sequence[BackupRun]) -> tuple[Status, str, str]:
    """Whether the newest attempt at a backup succeeded; skipped and cancelled runs were none."""
    without = (RunPhase.SKIPPED, RunPhase.CANCELLED, None)
    ended = [r for r in runs if r.status.phase not in without and r.status.phase and r.status.phase.terminal]
    if not ended:
        return "Unknown", "NoRunYet", "no run has ended yet"
    last = max(ended, key=age)
    assert last.status.phase is not None
    if last.status.phase in STORED:
        return "True", last.status.phase.value, f"run {last.metadata.name} holds a backup"
    message = f"run {last.metadata.name}: {last.status.message or last.status.phase.value}"
    return "False", last.status.phase.value, message


def _windows(policy: BackupPolicy, runs: Sequence[BackupRun]) -> dict[str, RecoveryWindow]:
    points: dict[str, list[datetime]] = {each.name: [] for each in policy.spec.destinations}
    for run in runs:
        for name in destinations_holding(run) & points.keys():
            if run.status.recovery_point is not None:
                points[name].append(run.status.recovery_point)
    return {
        name: RecoveryWindow(first=min(found, default=None), last=max(found, default=None), copies=len(found))
        for name, found in points.items()
        if found
    }


def _stored_bytes(policy: BackupPolicy, runs: Sequence[BackupRun]) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for run in runs:
        totals.update(bytes_by_destination(run))
    return {each.name: totals[each.name] for each in policy.spec.destinations if each.name in totals}
