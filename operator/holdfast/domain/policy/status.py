"""What a policy's status says, by its spec and its runs: one function for each section of it. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from holdfast.api.base import format_time
from holdfast.api.conditions import Condition, Verdict, find_condition, set_condition
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus, DestinationState, RecoveryWindow
from holdfast.api.run import STORED, RunPhase
from holdfast.api.text import counted
from holdfast.domain.backup.retention import next_plan, with_pause
from holdfast.domain.backup.survey import empty_catalogue
from holdfast.domain.places import destinations_unmoved
from holdfast.domain.plan import quota
from holdfast.domain.plan.readiness import Readiness
from holdfast.domain.plan.schedule import (
    MAX_AHEAD,
    TIME_ZONE_UNKNOWN,
    DueSlots,
    delay_of,
    due,
    expression_of,
    missed_by_change,
    scheduled_expression,
    skipped_by_suspension,
)
from holdfast.domain.rows import RunRow
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.unclear import PERMITTED

PolicyStep = Step[BackupPolicyStatus]

_TOLERANCE = timedelta(minutes=1)
"""By so much a clock may be set back without a word."""


@dataclass(frozen=True)
class PolicySituation:
    """What the sections of a policy's status are decided from; each also gets the status of those before."""

    policy: BackupPolicy
    """With the status that was read."""
    readiness: Readiness
    rows: tuple[RunRow, ...]
    """The policy's runs."""
    now: datetime


@dataclass(frozen=True)
class Slots:
    """The slots of a policy that are due."""

    since: datetime
    """The moment from which on slots count."""
    due: DueSlots
    ahead: datetime | None = None
    """A moment of the status that is still to come: a clock was ahead, or the status is from elsewhere."""


def slots_due(policy: BackupPolicy, state: Readiness, now: datetime) -> Slots:
    """The slots since the last ones.

    Neither the policy's creation nor a change of its schedule nor its resumption makes earlier slots due.
    Slots of the schedule before a change that had not been started by then are missed.
    """
    status = policy.status
    since = status.scheduled_since or policy.metadata.creation_timestamp or now
    handled = max(since, status.last_schedule_time or since)
    ahead = handled if handled > now + _TOLERANCE else None
    if handled > now + MAX_AHEAD:
        since, handled = min(since, now), now
    return replace(_slots(policy, state, (since, handled), now), ahead=ahead)


def _slots(policy: BackupPolicy, state: Readiness, known: tuple[datetime, datetime], now: datetime) -> Slots:
    """`known`: since when slots count, and up to when they are handled."""
    status, plan, (since, handled) = policy.status, _plan(policy, state), known
    if status.scheduled is not None and status.scheduled != plan:
        return Slots(now, missed_by_change(status.scheduled, handled, now))
    is_new = status.observed_generation is None
    if not policy.spec.suspend and status.suspended is not None and status.suspended_since is not None:
        return Slots(now, skipped_by_suspension(status.suspended, status.suspended_since, now))
    if plan is None or (status.scheduled is None and not is_new):
        return Slots(now, DueSlots())
    if state.schedule is None:
        return Slots(since, DueSlots())
    delay = delay_of(policy.spec, policy.metadata.uid)
    return Slots(since, due(state.schedule, policy.spec, handled, now, delay))


def _plan(policy: BackupPolicy, state: Readiness) -> str | None:
    """What slots are taken from. It stays while the operator only lacks the data of the time zone."""
    is_kept = state.is_ready or state.reason == TIME_ZONE_UNKNOWN
    return scheduled_expression(policy.spec) if is_kept else None


def refuse_slots(situation: PolicySituation, status: BackupPolicyStatus, why: str) -> PolicyStep:
    """The due slots cannot become runs. They stay due, and the policy says why and when the next ones are."""
    policy, now = situation.policy, situation.now
    message = f"no BackupRun can be created for a slot that is due: {why}"
    verdict = Verdict("Ready", "False", "RunRefused", message)
    since = min(status.scheduled_since or now, now)
    status = updated(
        status,
        next_schedule_time=_next_start(situation, since, None),
        conditions=set_condition(status.conditions, verdict, now, policy.metadata.generation),
    )
    return Step(status, (Notice("RunRefused", message, message, warning=True),))


def record_slots(
    situation: PolicySituation, status: BackupPolicyStatus, slots: Slots, taken: Sequence[str] = ()
) -> PolicyStep:
    """The due slots have become runs. `taken` says which of them could not have their names.

    Only this section may write observedGeneration: slots depend on it."""
    policy, state = situation.policy, situation.readiness
    plan = _plan(policy, state)
    last_slot = slots.due.newest or policy.status.last_schedule_time
    if last_slot is not None and last_slot > situation.now + MAX_AHEAD:
        last_slot = None
    generation = policy.metadata.generation
    verdict = Verdict("Ready", "True" if state.is_ready else "False", state.reason, state.message)
    status = updated(
        status,
        observed_generation=generation,
        next_schedule_time=_next_start(situation, slots.since, last_slot),
        last_schedule_time=last_slot,
        scheduled=plan,
        scheduled_since=slots.since if plan else None,
        **_suspension(policy, slots.since),
        missed_runs=policy.status.missed_runs + slots.due.missed_count,
        conditions=set_condition(
            _with_exceptions(situation, status, slots, taken), verdict, situation.now, generation
        ),
    )
    notices = (*_readiness_notices(situation), *_missed_notices(slots.due))
    return Step(status, (*notices, *_exceptions(slots, taken, situation.now)))


def with_permitted(status: BackupPolicyStatus) -> BackupPolicyStatus:
    """The status of a policy that nothing is forbidden for."""
    conditions = tuple(condition for condition in status.conditions if condition.type != PERMITTED)
    return updated(status, conditions=conditions)


def _exceptions(slots: Slots, taken: Sequence[str], now: datetime) -> Iterable[Notice]:
    """What was not as it should be."""
    if slots.ahead is not None:
        from_when = "now on" if slots.ahead > now + MAX_AHEAD else "then on"
        message = (
            f"the status names {format_time(slots.ahead)}, which is still to come: a clock was ahead, or the "
            f"status is from elsewhere; slots count from {from_when}"
        )
        yield Notice("ClockWasAhead", message, format_time(slots.ahead), warning=True)
    if taken:
        yield Notice("RunNameTaken", "; ".join(taken), "; ".join(taken), warning=True)


def _with_exceptions(
    situation: PolicySituation, status: BackupPolicyStatus, slots: Slots, taken: Sequence[str]
) -> tuple[Condition, ...]:
    """The conditions with OnSchedule, which is there from an exception until the next slot without one."""
    notices = list(_exceptions(slots, taken, situation.now))
    if notices:
        message = "; ".join(notice.message for notice in notices)
        verdict = Verdict("OnSchedule", "False", notices[0].reason, message)
        return set_condition(status.conditions, verdict, situation.now, situation.policy.metadata.generation)
    if slots.due.newest is None:
        return status.conditions
    return tuple(condition for condition in status.conditions if condition.type != "OnSchedule")


def _suspension(policy: BackupPolicy, since: datetime) -> dict[str, Any]:
    """What a suspended policy remembers, so that its slots are accounted for when it is resumed."""
    spec, status = policy.spec, policy.status
    if not spec.suspend or spec.schedule is None:
        return {"suspended": None, "suspended_since": None}
    if status.suspended is not None:
        return {}
    return {"suspended": expression_of(spec.schedule, spec.time_zone), "suspended_since": since}


def _next_start(situation: PolicySituation, since: datetime, last_slot: datetime | None) -> datetime | None:
    schedule = situation.readiness.schedule
    if schedule is None or _plan(situation.policy, situation.readiness) is None:
        return None
    delay = delay_of(situation.policy.spec, situation.policy.metadata.uid)
    slot = schedule.next_after(max(situation.now - delay, since, last_slot or since))
    return None if slot is None else slot + delay


def _readiness_notices(situation: PolicySituation) -> Iterable[Notice]:
    state, before = situation.readiness, find_condition(situation.policy.status.conditions, "Ready")
    if before is None or (before.status == "True") != state.is_ready or before.reason != state.reason:
        subject = f"{situation.policy.metadata.generation}"
        yield Notice(state.reason, state.message, subject, warning=not state.is_ready)


def _missed_notices(slots: DueSlots) -> Iterable[Notice]:
    if slots.missed_count:
        newest = f"{slots.newest:%Y-%m-%dT%H:%MZ}"
        were = "was" if slots.missed_count == 1 else "were"
        message = f"{counted(slots.missed_count, 'slots')} up to {newest} {were} missed"
        yield Notice("Missed", message, newest, warning=True)


def report_newest_runs(situation: PolicySituation, status: BackupPolicyStatus) -> PolicyStep:
    """The newest run, the last success, and whether the newest backup is fresh."""
    before = situation.policy.status
    rows = [row for row in situation.rows if not row.is_part]
    times = [row.completion_time for row in rows if row.phase is RunPhase.SUCCEEDED]
    last_success = max(filter(None, times), default=None)
    is_new_success = last_success is not None and last_success != before.last_successful_time
    newest = max(situation.rows, key=lambda row: row.age, default=None)
    generation = situation.policy.metadata.generation
    return Step(
        updated(
            status,
            last_run=newest.name if newest else before.last_run,
            last_successful_time=last_success or before.last_successful_time,
            # Slots that were missed just now count from this success on.
            missed_runs=status.missed_runs - (before.missed_runs if is_new_success else 0),
            conditions=set_condition(
                status.conditions, _freshness(rows, situation.policy), situation.now, generation
            ),
        )
    )


def _freshness(rows: Iterable[RunRow], policy: BackupPolicy) -> Verdict:
    """Whether the newest try at a backup succeeded. Skipped and cancelled runs were none."""
    tries = [r for r in rows if r.has_ended and r.phase not in (RunPhase.SKIPPED, RunPhase.CANCELLED)]
    if not tries:
        messages = ("no run of all targets has ended yet", empty_catalogue(policy))
        return Verdict("BackupFresh", "Unknown", "NoRunYet", "; ".join(filter(None, messages)))
    last = max(tries, key=lambda row: row.age)
    assert last.phase is not None
    if last.phase in STORED:
        return Verdict("BackupFresh", "True", last.phase.value, _held(last))
    message = f"run {last.name}: {last.message or last.phase.value}"
    return Verdict("BackupFresh", "False", last.phase.value, message)


def _held(row: RunRow) -> str:
    if row.is_whole and row.phase is RunPhase.PARTIALLY_SUCCEEDED and row.message:
        return f"run {row.name} holds a backup; {row.message}"
    if row.is_whole:
        return f"run {row.name} holds a backup"
    return f"run {row.name} holds {len(row.targets_held)} of {counted(row.targets_count, 'targets')}"


def report_recovery_windows(situation: PolicySituation, status: BackupPolicyStatus) -> PolicyStep:
    """The recovery window and the stored bytes of each destination."""
    destinations = situation.policy.spec.destinations
    names = [destination.name for destination in destinations]
    points: dict[str, list[datetime]] = {name: [] for name in names}
    totals: Counter[str] = Counter()
    for row in situation.rows:
        # What was stored in another place of that name is not in the destination.
        unmoved = destinations_unmoved(row.places, destinations)
        totals.update({name: size for name, size in row.stored_bytes.items() if name in unmoved})
        if row.recovery_point is None or row.is_part:
            continue
        for name in row.destinations_holding & unmoved:
            points[name].append(row.recovery_point)
    windows = {
        name: RecoveryWindow(first=min(times), last=max(times), copies=len(times))
        for name, times in points.items()
        if times
    }
    before = {one.name: one for one in status.destinations}
    states = [
        updated(
            before.get(name, DestinationState(name=name)),
            recovery_window=windows.get(name),
            stored_bytes=totals.get(name),
        )
        for name in names
    ]
    known = tuple(state for state in states if state != DestinationState(name=state.name))
    return Step(updated(status, destinations=known))


def report_retention_plan(situation: PolicySituation, status: BackupPolicyStatus) -> PolicyStep:
    """What retention deletes next."""
    policy, now = situation.policy, situation.now
    plan, notices = next_plan(policy, situation.rows, now)
    conditions = with_pause(policy, status.conditions, now)
    return Step(updated(status, retention_plan=plan, conditions=conditions), notices)


def report_quota(situation: PolicySituation, status: BackupPolicyStatus) -> PolicyStep:
    """How full the destinations are, by the stored bytes and the retention plan of `status`."""
    conditions, notices = quota.conditions_of(situation.policy, status, situation.now)
    return Step(updated(status, conditions=conditions), tuple(notices))


STATUS_SECTIONS: dict[str, Callable[[PolicySituation, BackupPolicyStatus], PolicyStep]] = {
    "newest runs": report_newest_runs,
    "recovery windows": report_recovery_windows,
    "retention plan": report_retention_plan,
    "quota": report_quota,
}
"""Those after the slots, by name and in their order: the quota counts what the retention plan deletes."""
