"""Which of the runs that wait starts next. Pure: told from lists, so a restart changes nothing.

Runs of one policy never overlap. Beyond that no more Jobs of backups run at once than whoever installed the
operator allows; the runs that wait for a place stand in one line, and take turns: the next place goes to the
namespace that holds the fewest, of equal ones to the one whose last start is longest ago, and within it to
the policy whose last start is longest ago. Nobody overtakes the first in line, so a run of many targets gets
its turn too. A run that a restore makes for safety takes no place and waits for none.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.labels import IMPORTED, MISSED
from holdfast.domain.plan.schedule import put_off
from holdfast.domain.plan.support import policy_not_supported_yet

MAX_QUEUED = 3
"""Runs of one policy that may wait before another scheduled one is skipped."""

Name = tuple[str, str]
"""Namespace and name of a policy."""

_NEVER = datetime.min.replace(tzinfo=UTC)
_SCHEDULED = ("Schedule", "CatchUp")


@dataclass(frozen=True)
class Situation:
    """What there is, as far as it matters to who starts next."""

    limit: int
    """How many Jobs may run at once."""
    policies: Mapping[Name, BackupPolicy]
    """Those that can be run."""
    active: Mapping[Name, tuple[BackupRun, ...]]
    """By policy: the runs under way."""
    pending: Mapping[Name, tuple[BackupRun, ...]]
    """By policy: the runs that have not started, in their order."""
    last_start: Mapping[Name, datetime]
    """By policy: when a run of it last started."""
    last_turn: Mapping[str, datetime]
    """By namespace: when a run in it last started."""


@dataclass(frozen=True)
class Line:
    """The runs that only a place can keep from starting, in their order."""

    starts: tuple[BackupRun, ...]
    """Those that have one."""
    waits: tuple[BackupRun, ...]
    """Those that have not."""

    def without(self, run: BackupRun) -> "Line":
        """The line once `run` has left it; that it started changes nothing for those behind it."""
        uid = run.metadata.uid
        starts, waits = (
            tuple(each for each in part if each.metadata.uid != uid) for part in (self.starts, self.waits)
        )
        return Line(starts, waits)


@dataclass(frozen=True)
class Standing:
    """How a Pending run stands to the others."""

    active: str = ""
    """The run of the same policy that is under way."""
    ahead: tuple[str, ...] = ()
    """The runs of the same policy that start before it."""
    overtaken: bool = False
    """Whether a later slot of the same policy has a run that waits or is under way."""
    place: int = 0
    """Its place among those that wait for one, from 1; 0 when it need not wait."""
    waiting: int = 0
    """How many wait for a place."""
    limit: int = 0
    """How many Jobs may run at once."""


def is_scheduled(run: BackupRun) -> bool:
    """Whether the run is for a slot of a schedule."""
    return run.spec.trigger in _SCHEDULED


def waits(run: BackupRun) -> bool:
    """Whether a run has not started and is meant to."""
    pending = run.status.phase in (None, RunPhase.PENDING) and run.metadata.deletion_timestamp is None
    return pending and not run.spec.cancel and not run.metadata.annotations.keys() & {IMPORTED, MISSED}


def jobs_at_once(run: BackupRun, limit: int) -> int:
    """The places that a run takes: its Jobs that are still to end, of which so many go on at once as may."""
    if run.spec.trigger == "Safety":
        return 0
    if run.status.phase is not RunPhase.RUNNING:
        return 1 if run.status.phase is RunPhase.COMMITTING else 0
    return min(limit, sum(not target.phase.terminal for target in run.status.targets))


def situation(runs: Iterable[BackupRun], policies: Iterable[BackupPolicy], limit: int) -> Situation:
    """Sort what was listed."""
    active, pending = defaultdict[Name, list[BackupRun]](list), defaultdict[Name, list[BackupRun]](list)
    last_start: dict[Name, datetime] = {}
    last_turn: dict[str, datetime] = {}
    for run in runs:
        of, start = policy_of(run), run.status.start_time
        if start is not None:
            last_start[of] = max(start, last_start.get(of, start))
            last_turn[of[0]] = max(start, last_turn.get(of[0], start))
        if run.status.phase in (RunPhase.RUNNING, RunPhase.COMMITTING):
            active[of].append(run)
        elif waits(run):
            pending[of].append(run)
    return Situation(
        limit,
        {
            (each.metadata.namespace, each.metadata.name): each
            for each in policies
            if not policy_not_supported_yet(each.spec)
        },
        {of: tuple(found) for of, found in active.items()},
        {of: tuple(sorted(found, key=_order)) for of, found in pending.items()},
        last_start,
        last_turn,
    )


def after(before: Situation, run: BackupRun) -> Situation:
    """The situation with a run that was pending as it is now."""
    of = policy_of(run)
    if run.status.phase is RunPhase.PENDING:
        return before
    left = tuple(each for each in before.pending.get(of, ()) if each.metadata.uid != run.metadata.uid)
    changed = replace(before, pending={**before.pending, of: left})
    if run.status.phase is not RunPhase.RUNNING:
        return changed
    start = run.status.start_time or _NEVER
    return replace(
        changed,
        active={**before.active, of: (*before.active.get(of, ()), run)},
        last_start={**before.last_start, of: start},
        last_turn={**before.last_turn, of[0]: start},
    )


def line_up(seen: Situation, now: datetime) -> Line:
    """Who starts, and who waits for a place."""
    free = seen.limit - sum(jobs_at_once(run, seen.limit) for runs in seen.active.values() for run in runs)
    starts: list[BackupRun] = []
    waiting: list[BackupRun] = []
    for run, places in _in_turn(seen, _heads(seen, now)):
        if run.spec.trigger == "Safety" or (not waiting and places <= free):
            free -= places
            starts.append(run)
        else:
            waiting.append(run)
    return Line(tuple(starts), tuple(waiting))


def standing(seen: Situation, line: Line, run: BackupRun, now: datetime) -> Standing:
    """How `run` stands; `line` is the situation's."""
    of, uid = policy_of(run), run.metadata.uid
    policy = seen.policies.get(of)
    ahead = []
    for each in _ready(seen, of, policy, now) if policy else ():
        if each.metadata.uid == uid:
            break
        ahead.append(each.metadata.name)
    place = 0
    if not any(each.metadata.uid == uid for each in line.starts):
        others = [each.metadata.uid for each in line.waits]
        place = 1 + (others.index(uid) if uid in others else len(others))
    active = next((each.metadata.name for each in seen.active.get(of, ()) if each.metadata.uid != uid), "")
    return Standing(active, tuple(ahead), _overtaken(seen, run), place, len(line.waits), seen.limit)


def start_by(run: BackupRun, policy: BackupPolicy) -> datetime | None:
    """Until when a scheduled run starts as planned: startingDeadline after it was to start."""
    if not is_scheduled(run) or run.spec.scheduled_time is None:
        return None
    planned = run.spec.scheduled_time + put_off(policy.spec, policy.metadata.uid)
    if run.spec.trigger == "CatchUp":
        planned = run.metadata.creation_timestamp or planned
    return planned + timedelta(seconds=policy.spec.starting_deadline.seconds)


def too_late(run: BackupRun, policy: BackupPolicy, overtaken: bool, now: datetime) -> bool:
    """Whether a run has waited for so long that it is missed; the newest never has with catchUp Latest."""
    if not overtaken and policy.spec.catch_up == "Latest":
        return False
    end = start_by(run, policy)
    return end is not None and now > end


def policy_of(run: BackupRun) -> Name:
    """Namespace and name of the run's policy."""
    return run.metadata.namespace, run.spec.policy_ref.name


def _order(run: BackupRun) -> tuple[bool, datetime, datetime, str]:
    created = run.metadata.creation_timestamp or _NEVER
    return run.spec.trigger != "Safety", created, run.spec.scheduled_time or created, run.metadata.name


def _overtaken(seen: Situation, run: BackupRun) -> bool:
    of, slot = policy_of(run), run.spec.scheduled_time
    others = (*seen.active.get(of, ()), *seen.pending.get(of, ()))
    if slot is None or len(others) < 2:
        return False
    slots = (each.spec.scheduled_time for each in others if is_scheduled(each))
    return any(other is not None and other > slot for other in slots)


def _ready(seen: Situation, of: Name, policy: BackupPolicy, now: datetime) -> list[BackupRun]:
    """The policy's runs that will start some time, in their order."""
    return [
        run
        for run in seen.pending.get(of, ())
        if not is_scheduled(run)
        or not (policy.spec.suspend or too_late(run, policy, _overtaken(seen, run), now))
    ]


def _heads(seen: Situation, now: datetime) -> dict[str, list[tuple[BackupRun, int]]]:
    """By namespace: the next run of each policy that can start one, and the places it takes."""
    heads = defaultdict[str, list[tuple[BackupRun, int]]](list)
    for of in seen.pending:
        policy = seen.policies.get(of)
        if policy is None or seen.active.get(of):
            continue
        ready = _ready(seen, of, policy, now)
        if ready:
            safety = ready[0].spec.trigger == "Safety"
            places = 0 if safety else min(seen.limit, len(policy.spec.targets))
            heads[of[0]].append((ready[0], places))
    for found in heads.values():
        found.sort(key=lambda head: (seen.last_start.get(policy_of(head[0]), _NEVER), *_order(head[0])))
    return heads


def _in_turn(
    seen: Situation, heads: Mapping[str, Sequence[tuple[BackupRun, int]]]
) -> Iterable[tuple[BackupRun, int]]:
    if not heads:
        return
    held: dict[str, int] = defaultdict(int)
    for (namespace, _), runs in seen.active.items():
        held[namespace] += sum(jobs_at_once(run, seen.limit) for run in runs)
    turns = [
        (held[namespace], 0, seen.last_turn.get(namespace, _NEVER), _order(found[0][0]), namespace)
        for namespace, found in heads.items()
    ]
    heapq.heapify(turns)
    served = dict.fromkeys(heads, 0)
    for turn in range(1, sum(map(len, heads.values())) + 1):
        holds, _, since, _, namespace = heapq.heappop(turns)
        run, places = heads[namespace][served[namespace]]
        served[namespace] += 1
        if served[namespace] < len(heads[namespace]):
            following = _order(heads[namespace][served[namespace]][0])
            heapq.heappush(turns, (holds + places, turn, since, following, namespace))
        yield run, places
