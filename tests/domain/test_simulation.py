"""Many policies for a month, with restarts, kills, clocks that jump and edits: no slot lost or doubled.

The decisions are the real ones. Objects are kept in dictionaries instead of an API server, and time goes by
minutes. Which slots there are is told by `calendar`, which shares nothing with the scheduler.
"""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.domain.plan.calendar import MINUTE, Calendar, utc
from tests.factories import ONE, next_status, rows, targets
from tests.scheduling import amounts

from holdfast.api.policy import BackupPolicy, BackupPolicySpec
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.labels import MISSED
from holdfast.domain.naming import run_name
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.plan.schedule import DueSlots, delay_of
from holdfast.domain.policy.history import runs_to_prune
from holdfast.domain.policy.status import PolicySituation, slots_due
from holdfast.domain.rows import PolicyName, RunRow, row_of
from holdfast.domain.run import admission, lifecycle
from holdfast.domain.step import End

# New York's clocks go forward on 8 March, Berlin's on the 29th; those of Australia and Chile back on 5 April.
START, END = utc("2026-03-06T12:00"), utc("2026-04-06T12:00")
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Australia/Lord_Howe",
         "America/Santiago", "Asia/Ho_Chi_Minh"]  # fmt: skip
ENDED_UNSTARTED = {
    RunPhase.MISSED: {"Missed", "StartingDeadlineExceeded"},
    RunPhase.SKIPPED: {"ConcurrentRun", "QueueFull", "Suspended"},
}


@dataclass
class Policy:
    """One policy, its runs, and what the calendar is asked for."""

    resource: BackupPolicy
    runs: dict[str, BackupRun] = field(default_factory=dict)
    eras: list[tuple[str, str, datetime, datetime]] = field(default_factory=list)
    """Schedule, zone, from, until: as the operator took notice."""
    era: tuple[str, str, datetime] | None = None
    made: Counter[datetime] = field(default_factory=Counter)
    """How often a run of a slot was made."""
    ends: dict[datetime, list[RunPhase]] = field(default_factory=lambda: defaultdict(list))
    only_counted: int = 0
    """Slots of a long downtime that were told as a number."""


class Simulation:
    """The cluster, the clock on the wall, and the operator, which may be down."""

    def __init__(self, seed: int, policies: int) -> None:
        self.dice = random.Random(seed)
        self.limit = policies // 100
        self.time = START
        self.skew = timedelta()
        self.latest = START
        """The latest moment that the clock has shown."""
        self.up = True
        self.policies: dict[PolicyName, Policy] = {}
        self.alarms: list[tuple[datetime, PolicyName]] = []
        self.ends: list[tuple[datetime, PolicyName, str]] = []
        self.active: dict[PolicyName, tuple[RunRow, ...]] = {}
        self.pending: dict[PolicyName, tuple[RunRow, ...]] = {}
        self.last_start: dict[PolicyName, datetime] = {}
        self.last_turn: dict[str, datetime] = {}
        self.resources: dict[PolicyName, BackupPolicy] = {}
        self.seen = admission.AdmissionSituation(
            self.limit, self.resources, self.active, self.pending, self.last_start, self.last_turn
        )
        self._line: admission.Line | None = None
        self.queue: list[BackupRun] = []
        self.waited = 0
        self.most_at_once = 0
        for number in range(policies):
            self._apply(f"team-{number % 37}", f"p{number:04}", number)

    @property
    def now(self) -> datetime:
        """What the operator's clock shows."""
        return self.time + self.skew

    # What users do

    def _spec(self) -> dict[str, Any]:
        dice = self.dice
        minute, hour = (
            dice.choice((0, 0, 30, dice.randrange(60))),
            dice.choice((1, 2, 2, 2, 3, dice.randrange(24))),
        )
        schedules = (
            "@hourly", "*/40 1 * * *", f"{minute} */4 * * *", f"{minute} */6 * * *", "@daily",
            f"{minute} {hour} * * *", f"{minute} {hour} * * {dice.randrange(8)}", f"{minute} {hour} 1,15 * *",
        )  # fmt: skip
        return {
            "schedule": dice.choices(schedules, (1, 2, 3, 6, 10, 40, 80, 58))[0],
            "timeZone": dice.choice(ZONES),
            "jitter": dice.choice((None, None, "0s", "5m", "45m")),
            "concurrencyPolicy": dice.choice(("Forbid", "Forbid", "Queue")),
            "catchUp": dice.choice(("Latest", "Latest", "None")),
            "startingDeadline": dice.choice(("1h", "10m", "5h")),
            "targets": targets(*(f"t{n}" for n in range(dice.choice((1, 1, 1, 3))))),
            "destinations": [ONE],
            "history": {"succeeded": 2, "failed": 2},
        }

    def _apply(self, namespace: str, name: str, uid: int) -> None:
        metadata = {
            "name": name, "namespace": namespace, "uid": f"uid-{uid}", "generation": 1,
            "creationTimestamp": START,
        }  # fmt: skip
        policy = BackupPolicy.model_validate({"metadata": metadata, "spec": self._spec()})
        self.policies[namespace, name] = Policy(policy)
        self.resources[namespace, name] = policy
        self.reconcile((namespace, name))

    def edit(self) -> None:
        """Somebody changes a policy: everything of it, or whether it is suspended."""
        name = self.dice.choice(list(self.policies))
        policy = self.policies[name]
        old = policy.resource.spec.to_json()
        spec = (
            self._spec() if self.dice.random() < 0.5 else old | {"suspend": not policy.resource.spec.suspend}
        )
        metadata = policy.resource.metadata
        generation = {"generation": (metadata.generation or 0) + 1}
        policy.resource = policy.resource.model_copy(
            update={
                "metadata": metadata.model_copy(update=generation),
                "spec": BackupPolicySpec.model_validate(spec),
            }
        )
        self.resources[name], self._line = policy.resource, None
        if self.up:
            self.reconcile(name)
            self.work()

    # What the operator does

    def reconcile(self, name: PolicyName, killed: bool = False) -> None:
        """As the service for policies: runs first, then the status."""
        policy = self.policies[name]
        resource, now = policy.resource, self.now
        state = readiness(resource)
        due = slots_due(resource, state, now)
        slots = due.due
        self._create_runs(policy, slots)
        if killed:
            return
        self._notice(policy)
        step = next_status(PolicySituation(resource, state, rows(policy.runs.values()), now), due)
        policy.resource = resource.model_copy(update={"status": step.status})
        policy.only_counted += slots.missed_count - len(slots.missed) if slots.missed else 0
        if step.status.next_schedule_time is not None:
            heapq.heappush(self.alarms, (step.status.next_schedule_time, name))
        for row in runs_to_prune(rows(policy.runs.values()), resource.spec.history):
            del policy.runs[row.name]
        self._forget_old(policy)
        self.queue += [run for run in policy.runs.values() if run.status.phase in (None, RunPhase.PENDING)]

    def _notice(self, policy: Policy) -> None:
        spec = policy.resource.spec
        plan = None if spec.suspend or spec.schedule is None else (spec.schedule, spec.time_zone)
        if policy.era is not None and policy.era[:2] != plan:
            policy.eras.append((*policy.era, self.now))
            policy.era = None
        if policy.era is None and plan is not None:
            first = policy.resource.status.observed_generation is None
            policy.era = (*plan, START if first else self.now)

    def _create_runs(self, policy: Policy, slots: DueSlots) -> None:
        for slot in slots.missed:
            self._create_run(policy, slot, "Schedule", {MISSED: slots.why})
        if slots.newest is not None and slots.starts:
            self._create_run(policy, slots.newest, "CatchUp" if slots.catches_up else "Schedule", {})

    def _create_run(self, policy: Policy, slot: datetime, trigger: str, annotations: dict[str, str]) -> None:
        name, metadata = run_name(policy.resource.metadata.name, slot), policy.resource.metadata
        if name in policy.runs:
            return
        policy.made[slot] += 1
        run = BackupRun.model_validate(
            {
                "metadata": {
                    "name": name, "namespace": metadata.namespace, "uid": name, "annotations": annotations,
                    "creationTimestamp": self.now,
                },
                "spec": {"policyRef": {"name": metadata.name}, "trigger": trigger, "scheduledTime": slot},
            }
        )  # fmt: skip
        self._put(run)

    def _forget_old(self, policy: Policy) -> None:
        """What retention will do: its data is not what is looked at here."""
        done = [name for name, run in policy.runs.items() if run.status.phase is RunPhase.SUCCEEDED]
        for name in done[:-2]:
            del policy.runs[name]

    # How runs go

    def admit(self, run: BackupRun) -> None:
        """As the service for admissions, which counts in what it has started since it read the lists."""
        row, now = row_of(run), self.now
        name, standing = row.policy_name, admission.Standing()
        if admission.is_waiting(row):
            standing = admission.standing(self.seen, self.line(), row, now)
        self._take(run, lifecycle.admit(run, self.policies[name].resource, standing, now).status)

    def work(self) -> None:
        """Admit what was queued, as it is now."""
        queue, self.queue = self.queue, []
        for queued in queue:
            run = self.policies[policy_name(queued)].runs.get(queued.metadata.name)
            if run is not None and run.status.phase in (None, RunPhase.PENDING):
                self.admit(run)

    def line(self) -> admission.Line:
        """Kept until something changes."""
        if self._line is None:
            self._line = admission.line_up(self.seen, self.now)
        return self._line

    def _put(self, run: BackupRun) -> None:
        """Store a run as it is now, and where it stands."""
        name, policy = policy_name(run), self.policies[policy_name(run)]
        policy.runs[run.metadata.name] = run
        live = (each for each in policy.runs.values() if each is run or not _terminal(each))
        one = admission.situation_of(rows(live), [], self.limit)
        for mine, found in ((self.active, one.active_runs), (self.pending, one.pending_runs)):
            mine.pop(name, None)
            mine.update(found)
        self.last_start.update(one.last_start)
        for namespace, start in one.last_turn.items():
            self.last_turn[namespace] = max(start, self.last_turn.get(namespace, start))
        ended = _terminal(run) and run.status.start_time is not None
        if run.status.phase is None or ended:
            self._line = None
        elif run.status.phase is not RunPhase.PENDING and self._line is not None:
            self._line = self._line.without(run.metadata.uid)

    def _take(self, run: BackupRun, status: Any) -> None:
        if status == run.status:
            return
        policy, slot = self.policies[policy_name(run)], run.spec.scheduled_time
        assert slot is not None
        self.waited += status.reason == "WaitingForCapacity" and run.status.reason is None
        if status.phase is RunPhase.RUNNING:
            assert not self.active.get(policy_name(run)), "two runs of a policy at once"
            lasts = self.dice.choice((1, 1, 2, 3, 5, 8, 40))
            end = self.time + timedelta(minutes=lasts)
            heapq.heappush(self.ends, (end, policy_name(run), run.metadata.name))
        elif status.phase is not RunPhase.PENDING:
            assert status.reason in ENDED_UNSTARTED[status.phase], status
            policy.ends[slot].append(status.phase)
        self._put(run.model_copy(update={"status": status}))
        going = [each for found in self.active.values() for each in found]
        at_once = sum(admission.permits_of(each, self.limit) for each in going)
        assert at_once <= self.limit
        self.most_at_once = max(self.most_at_once, at_once)

    def _end_runs(self) -> None:
        """Jobs end whether the operator is up or not; it sees that when it is."""
        freed = False
        while self.ends and self.ends[0][0] <= self.time:
            freed = True
            _, name, run_name_ = heapq.heappop(self.ends)
            policy = self.policies[name]
            run = policy.runs[run_name_]
            phase = RunPhase.SUCCEEDED if self.dice.random() < 0.95 else RunPhase.FAILED
            ended = lifecycle.end(run, run.status, End(phase, None, ""), self.now).status
            assert run.spec.scheduled_time is not None
            policy.ends[run.spec.scheduled_time].append(phase)
            self._put(run.model_copy(update={"status": ended}))
            self.queue += [policy.runs[row.name] for row in self.pending.get(name, ())]
        for row in self.line().starters if freed else ():
            self.admit(self.policies[row.policy_name].runs[row.name])

    # How time goes

    def restart(self) -> None:
        """The operator comes up and looks at everything; what it had in memory is gone."""
        self.up = True
        self.alarms.clear()
        self.queue.clear()
        runs = [run for policy in self.policies.values() for run in policy.runs.values()]
        listed = admission.situation_of(
            rows(runs), [each.resource for each in self.policies.values()], self.limit
        )
        assert (listed.active_runs, listed.pending_runs) == (self.active, self.pending), (
            "a restart changes the line"
        )
        self._end_runs()
        for name in self.policies:
            self.reconcile(name)
        self.work()

    def _resync(self) -> None:
        for found in list(self.pending.values()):
            for row in found:
                self.admit(self.policies[row.policy_name].runs[row.name])

    def tick(self) -> None:
        """One minute."""
        self.time += MINUTE
        self._line = None
        if not self.up:
            return
        self.latest = max(self.latest, self.now)
        self._end_runs()
        self.work()
        while self.alarms and self.alarms[0][0] <= self.now:
            slot, name = heapq.heappop(self.alarms)
            if self.policies[name].resource.status.next_schedule_time != slot:
                continue
            killed = self.dice.random() < 0.0003
            self.reconcile(name, killed)
            if killed:
                self.restart()
        self.work()
        if self.time.minute % 30 == 0:
            self._resync()

    def run(self) -> None:
        """The month, and what was begun in it to its end."""
        calm_from = START
        for incident, start, end, jump in incidents(self.dice):
            self._until(start, calm_from)
            self.up = "down" not in incident
            self.skew = jump
            self._until(end, None if jump else start)
            if not self.up:
                self.restart()
            self.skew = timedelta()
            calm_from = end + abs(jump)
        self._until(END, calm_from)
        while self.ends or self.pending:
            assert self.time < END + timedelta(days=5), "a run waits for ever"
            self.alarms.clear()
            self.tick()

    def _until(self, end: datetime, calm_from: datetime | None) -> None:
        """Users edit while the clock goes as it should; what else they mean nobody could tell afterwards."""
        while self.time < end:
            self.tick()
            often = 1 / 60 if self.up else 1 / 8
            if calm_from is not None and self.time > calm_from and self.dice.random() < often:
                self.edit()


def policy_name(run: BackupRun) -> PolicyName:
    return run.metadata.namespace, run.spec.policy_ref.name


def _terminal(run: BackupRun) -> bool:
    return run.status.phase is not None and run.status.phase.has_ended


def incidents(dice: random.Random) -> Iterator[tuple[str, datetime, datetime, timedelta]]:
    """What happens to the operator or its clock, from when, until when, and how wrong the clock is then."""
    moment = START + timedelta(hours=6)
    while moment < END - timedelta(days=3):
        kind = dice.choice(("down", "down", "jump", "jump", "down and jump"))
        lasts = timedelta(minutes=dice.choice((1, 20, 200, 26 * 60)))
        jump = (
            timedelta(minutes=dice.choice((-300, -61, -7, 45, 200, 300))) if "jump" in kind else timedelta()
        )
        yield kind, moment, moment + lasts, jump
        moment += lasts + abs(jump) + timedelta(minutes=dice.randrange(10, 3500))


@pytest.mark.parametrize("count", amounts(200, 1000))
def test_every_slot_of_a_month_is_accounted_for_once(count: int) -> None:
    simulation = Simulation(seed=20260306, policies=count)
    simulation.run()
    calendar = Calendar(START - timedelta(days=1), END + timedelta(days=1))
    phases: Counter[RunPhase] = Counter()
    for name, policy in simulation.policies.items():
        slots = expected(policy, calendar)
        assert set(policy.made.values()) <= {1}, (name, "a slot was run twice")
        assert not policy.made.keys() - slots, (name, "a run without a slot")
        lost = slots - policy.made.keys()
        assert len(lost) == policy.only_counted, (name, policy.eras, policy.era, sorted(lost))
        assert {slot: len(ends) for slot, ends in policy.ends.items()} == policy.made, name
        phases.update(phase for (phase,) in policy.ends.values())
    assert phases.keys() == {*ENDED_UNSTARTED, RunPhase.SUCCEEDED, RunPhase.FAILED}
    assert phases.total() > 12 * count
    assert simulation.waited > count
    assert simulation.most_at_once == simulation.limit


def expected(policy: Policy, calendar: Calendar) -> set[datetime]:
    """The slots between the operator's first look at each schedule and the schedule's end."""
    eras = list(policy.eras)
    if policy.era is not None:
        eras.append((*policy.era, END - delay_of(policy.resource.spec, policy.resource.metadata.uid or "")))
    return {
        slot
        for expression, zone, start, end in eras
        for slot in calendar.slots(expression, zone)
        if start < slot <= end
    }
