"""Which of the waiting runs starts next. Pure: the answer comes from lists, so a restart changes nothing.

Runs of one policy never overlap. Beyond that no more Jobs of backups run at once than the chart's value
allows. The runs that wait for permits stand in one line and take turns: the next permit goes to the namespace
that has the fewest, among equals to the one whose last start is longest ago, and within it to the policy
whose last start is longest ago. Nobody overtakes the first in line, so a run of many targets gets its turn
too. While several namespaces have runs, a run uses no more permits at a time than its namespace's share, so
that the runs of the others start beside it. Who made a run, and what for, makes no difference.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import RunPhase
from holdfast.domain.plan.readiness import refusal
from holdfast.domain.plan.schedule import delay_of
from holdfast.domain.rows import PolicyName, RunRow
from holdfast.domain.stored import EARLIEST

MAX_QUEUED = 3
"""Runs of one policy that may wait before another scheduled one is skipped."""

_TOLERANCE = timedelta(hours=1)
"""By so much the clocks of the operator and of the API server may differ."""
_SCHEDULED = ("Schedule", "CatchUp")


@dataclass(frozen=True)
class AdmissionSituation:
    """What decides who starts next."""

    limit: int
    """How many Jobs may run at once."""
    policies: Mapping[PolicyName, BackupPolicy]
    """The policies whose runs can start."""
    active_runs: Mapping[PolicyName, tuple[RunRow, ...]]
    """By policy: the runs under way."""
    pending_runs: Mapping[PolicyName, tuple[RunRow, ...]]
    """By policy: the runs that have not started, in their order."""
    last_start: Mapping[PolicyName, datetime]
    """By policy: when a run of it last started."""
    last_turn: Mapping[str, datetime]
    """By namespace: when a run in it last started."""


@dataclass(frozen=True)
class Line:
    """The runs that nothing but the limit keeps from starting, in their order."""

    starters: tuple[RunRow, ...]
    """The runs for which permits are free."""
    waiters: tuple[RunRow, ...]
    """The runs behind them."""
    share: int
    """How many permits a run that starts now may use at a time."""

    def without(self, uid: str) -> "Line":
        """The line once this run has left it. Its start changes nothing for those behind it."""
        return Line(_without(self.starters, uid), _without(self.waiters, uid), self.share)


@dataclass(frozen=True)
class Standing:
    """How a Pending run stands to the others."""

    active_run: str = ""
    """The run of the same policy that is under way."""
    runs_ahead: tuple[str, ...] = ()
    """The runs of the same policy that start before it."""
    is_overtaken: bool = False
    """Whether a later slot of the same policy has a run that waits or is under way."""
    position: int = 0
    """Its position in the line, from 1; 0 when it need not wait."""
    line_length: int = 0
    """How many runs wait for a permit."""
    limit: int = 0
    """How many Jobs may run at once."""
    share: int | None = None
    """How many of them may be the run's own. None: as many as run at once."""
    mounted: Mapping[str, str] = field(default_factory=dict)
    """By destination whose claim a pod of somebody else mounts: why the run is not written there."""


def is_scheduled(row: RunRow) -> bool:
    """Whether the run is for a slot of a schedule."""
    return row.trigger in _SCHEDULED


def is_waiting(row: RunRow) -> bool:
    """Whether a run has not started and may still start."""
    is_pending = row.phase in (None, RunPhase.PENDING) and not row.is_deleted and row.is_understood
    never_starts = row.is_cancelled or row.is_imported or row.is_missed or row.is_duplicate
    return is_pending and not never_starts


def permits_of(row: RunRow, limit: int) -> int:
    """The permits that a run has: one for each of its Jobs that run at once."""
    if not row.is_under_way:
        return 0
    if row.phase is RunPhase.COMMITTING:
        return 1
    return min(limit, row.jobs_at_once or limit, row.targets_under_way)


def situation_of(rows: Iterable[RunRow], policies: Iterable[BackupPolicy], limit: int) -> AdmissionSituation:
    """Sort the lists."""
    active = defaultdict[PolicyName, list[RunRow]](list)
    pending = defaultdict[PolicyName, list[RunRow]](list)
    last_start: dict[PolicyName, datetime] = {}
    last_turn: dict[str, datetime] = {}
    for row in rows:
        name, start = row.policy_name, row.start_time
        if start is not None:
            last_start[name] = max(start, last_start.get(name, start))
            last_turn[row.namespace] = max(start, last_turn.get(row.namespace, start))
        if row.is_under_way:
            active[name].append(row)
        elif is_waiting(row):
            pending[name].append(row)
    return AdmissionSituation(
        limit,
        {
            (policy.metadata.namespace, policy.metadata.name): policy
            for policy in policies
            if not policy.problem and refusal(policy) is None
        },
        {name: tuple(runs) for name, runs in active.items()},
        {name: tuple(sorted(runs, key=_order)) for name, runs in pending.items()},
        last_start,
        last_turn,
    )


def situation_after(before: AdmissionSituation, row: RunRow) -> AdmissionSituation:
    """The situation with a run that was pending as it is now."""
    name = row.policy_name
    if row.phase is RunPhase.PENDING:
        return before
    others = _without(before.pending_runs.get(name, ()), row.uid)
    later = replace(before, pending_runs={**before.pending_runs, name: others})
    if row.phase is not RunPhase.RUNNING:
        return later
    start = row.start_time or EARLIEST
    return replace(
        later,
        active_runs={**before.active_runs, name: (*before.active_runs.get(name, ()), row)},
        last_start={**before.last_start, name: start},
        last_turn={**before.last_turn, row.namespace: start},
    )


def line_up(situation: AdmissionSituation, now: datetime) -> Line:
    """Who starts, and who waits for a permit."""
    limit = situation.limit
    free = limit - sum(permits_of(row, limit) for rows in situation.active_runs.values() for row in rows)
    heads = _heads(situation, now)
    share = _share(situation, heads)
    starters: list[RunRow] = []
    waiters: list[RunRow] = []
    for row, targets in _in_turn(situation, heads):
        permits = min(share, targets)
        if not waiters and permits <= free:
            free -= permits
            starters.append(row)
        else:
            waiters.append(row)
    return Line(tuple(starters), tuple(waiters), share)


def _share(situation: AdmissionSituation, namespaces_in_line: Iterable[str]) -> int:
    """The permits of a namespace, while all of those that have runs use theirs."""
    active = {name[0] for name, rows in situation.active_runs.items() if rows}
    return max(1, situation.limit // max(1, len(active.union(namespaces_in_line))))


def standing(situation: AdmissionSituation, line: Line, row: RunRow, now: datetime) -> Standing:
    """How a run stands; `line` is the situation's."""
    name, uid = row.policy_name, row.uid
    policy = situation.policies.get(name)
    runs_ahead = []
    for other in _startable(situation, policy, now) if policy else ():
        if other.uid == uid:
            break
        runs_ahead.append(other.name)
    position = 0
    if not any(starter.uid == uid for starter in line.starters):
        uids = [waiter.uid for waiter in line.waiters]
        position = 1 + (uids.index(uid) if uid in uids else len(uids))
    active = _without(situation.active_runs.get(name, ()), uid)
    return Standing(
        active[0].name if active else "",
        tuple(runs_ahead),
        _is_overtaken(row, _newest_slot(situation, name, now)),
        position,
        len(line.waiters),
        situation.limit,
        line.share,
    )


def start_deadline(row: RunRow, policy: BackupPolicy) -> datetime | None:
    """Until when a scheduled run starts as planned: startingDeadline after it was to start."""
    if not is_scheduled(row) or row.scheduled_time is None:
        return None
    planned = row.scheduled_time + delay_of(policy.spec, policy.metadata.uid)
    if row.trigger == "CatchUp":
        planned = row.creation_time or planned
    return planned + timedelta(seconds=policy.spec.starting_deadline.seconds)


def is_too_late(row: RunRow, policy: BackupPolicy, is_overtaken: bool, now: datetime) -> bool:
    """Whether a run has waited so long that it is missed. With catchUp Latest the newest never is."""
    end = start_deadline(row, policy)
    if end is None:
        return False
    if is_created_late(row, end):
        return True
    if not is_overtaken and policy.spec.catch_up == "Latest":
        return False
    return now > end


def is_created_late(row: RunRow, end: datetime) -> bool:
    """Whether a run was created so long after its slot that no schedule made it; `end` is `start_deadline`.

    It is an old run without a status, which somebody created from a backup or a file.
    """
    return row.creation_time is not None and row.creation_time > end + _TOLERANCE


def _without(rows: Iterable[RunRow], uid: str) -> tuple[RunRow, ...]:
    return tuple(row for row in rows if row.uid != uid)


def _order(row: RunRow) -> tuple[bool, datetime, datetime, str]:
    created = row.creation_time or EARLIEST
    return row.trigger != "Safety", created, row.scheduled_time or created, row.name


def _newest_slot(situation: AdmissionSituation, name: PolicyName, now: datetime) -> datetime:
    """Of the policy's runs that wait or are under way. A run of an earlier slot is overtaken."""
    runs = (*situation.active_runs.get(name, ()), *situation.pending_runs.get(name, ()))
    slots = (run.scheduled_time for run in runs if is_scheduled(run))
    return max((slot for slot in slots if slot is not None and slot <= now), default=EARLIEST)


def _is_overtaken(row: RunRow, newest: datetime) -> bool:
    return row.scheduled_time is not None and row.scheduled_time < newest


def _startable(situation: AdmissionSituation, policy: BackupPolicy, now: datetime) -> list[RunRow]:
    """The policy's runs that will start some time, in their order."""
    name = policy.metadata.namespace, policy.metadata.name
    newest = _newest_slot(situation, name, now)
    return [
        row
        for row in situation.pending_runs.get(name, ())
        if not is_scheduled(row)
        or not (policy.spec.suspend or is_too_late(row, policy, _is_overtaken(row, newest), now))
    ]


def _heads(situation: AdmissionSituation, now: datetime) -> dict[str, list[tuple[RunRow, int]]]:
    """By namespace: the next run of each policy that can start one, and the permits that it needs."""
    heads = defaultdict[str, list[tuple[RunRow, int]]](list)
    for name in situation.pending_runs:
        policy = situation.policies.get(name)
        if policy is None or situation.active_runs.get(name):
            continue
        rows = _startable(situation, policy, now)
        if rows:
            permits = min(situation.limit, rows[0].targets_asked or len(policy.spec.targets))
            heads[rows[0].namespace].append((rows[0], permits))
    for group in heads.values():
        group.sort(
            key=lambda head: (situation.last_start.get(head[0].policy_name, EARLIEST), *_order(head[0]))
        )
    return heads


def _in_turn(
    situation: AdmissionSituation, heads: Mapping[str, Sequence[tuple[RunRow, int]]]
) -> Iterable[tuple[RunRow, int]]:
    if not heads:
        return
    permits_used: dict[str, int] = defaultdict(int)
    for (namespace, _), rows in situation.active_runs.items():
        permits_used[namespace] += sum(permits_of(row, situation.limit) for row in rows)
    turns = [
        (
            permits_used[namespace],
            0,
            situation.last_turn.get(namespace, EARLIEST),
            _order(group[0][0]),
            namespace,
        )
        for namespace, group in heads.items()
    ]
    heapq.heapify(turns)
    served = dict.fromkeys(heads, 0)
    for turn in range(1, sum(map(len, heads.values())) + 1):
        used, _, since, _, namespace = heapq.heappop(turns)
        row, permits = heads[namespace][served[namespace]]
        served[namespace] += 1
        if served[namespace] < len(heads[namespace]):
            following = _order(heads[namespace][served[namespace]][0])
            heapq.heappush(turns, (used + permits, turn, since, following, namespace))
        yield row, permits
