"""Which runs a policy's retention keeps in each destination, and by which rule. Pure.

Grandfather, father, son as restic and Proxmox count it: of each hour, day, week, month or year the newest run
is kept, for as many such periods back as the number says. Only periods that have a run are counted, so that
a month without backups ages nothing. A period is the policy's time zone's; a week is ISO's. A run is kept
when any rule keeps it, and besides, whatever the numbers say:

- `newest`: the newest run of a destination, so that it never becomes empty;
- `minVerified`: the newest verified runs, one at least;
- `noRules`: every run, where no number above 0 is given: zeroes alone would mean to delete everything.

A run that lacks a target never replaces one that has it: the rules are applied to the whole runs alone, to
all, and for each target of the policy to the runs that hold it. A run stays that any of these keeps. A run
that only lacks an optional destination is whole where it is. Runs without data (Failed, Missed and so on) do
not count.

Every deletion is announced. A policy's `status.retentionPlan` lists each run that is due, and since when. A
run of the policy notes the time of the plan that was shown when it started. Its commit deletes a run that is
due by the present rules *and* was in that plan already. So a policy that is changed shows its plan first, and
only a run that starts later carries it out.

The runs that a commit is to delete are marked in their own status (`expiring`) before its Job exists. A copy
that may be partly gone is no longer restored from, and stays due until a commit has reported it gone,
whatever the rules say by then.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic.alias_generators import to_camel

from holdfast.api.conditions import Condition, Verdict, set_condition
from holdfast.api.destination import Destination
from holdfast.api.policy import (
    MAX_KEPT_LISTED,
    MAX_PLANNED,
    BackupPolicy,
    BackupPolicySpec,
    DestinationPlan,
    DueRun,
    KeptRun,
    RetentionPlan,
)
from holdfast.api.retention import Retention
from holdfast.api.run import STORED, BackupRun, BackupRunStatus, ExpiringCopy, RunPhase
from holdfast.api.text import counted, some_of
from holdfast.domain.places import destinations_sharing, destinations_unshared, places_by_destination
from holdfast.domain.plan.schedule import ScheduleError, zone_named
from holdfast.domain.rows import RunRow
from holdfast.domain.run.end import with_end
from holdfast.domain.step import End, Notice, Step, updated
from holdfast.domain.stored import EARLIEST, copies_text, kept_in, report_left
from holdfast.protocol import DeletionOutcome, Expiry, ExpiryCandidate

_ACTIVE, _PAUSED = "RetentionActive", "RetentionPaused"
_MAX_WITNESSES = 5
_MAX_NAMED = 10

_PERIODS: dict[str, Callable[[datetime], Hashable]] = {
    # With its offset: the hour that comes twice when the clock is put back is two hours.
    "keep_hourly": lambda moment: (moment.date(), moment.hour, moment.utcoffset()),
    "keep_daily": lambda moment: moment.date(),
    "keep_weekly": lambda moment: moment.isocalendar()[:2],
    "keep_monthly": lambda moment: (moment.year, moment.month),
    "keep_yearly": lambda moment: moment.year,
}


@dataclass(frozen=True)
class Backup:
    """What retention has to know of a run."""

    run: str
    phase: RunPhase
    recovery_point: datetime | None
    destinations: frozenset[str]
    """Those that hold all that the run has."""
    is_whole: bool = True
    """Whether every target is in it."""
    is_verified: bool = False
    targets: frozenset[str] = frozenset()
    """Those that it holds."""
    being_deleted: frozenset[str] = frozenset()
    """Destinations where its deletion may have started."""

    @property
    def age(self) -> tuple[datetime, str]:
        """Sorts the oldest first."""
        return self.recovery_point or EARLIEST, self.run


@dataclass(frozen=True)
class Ruling:
    """What becomes of a run in one destination."""

    backup: Backup
    reasons: tuple[str, ...]
    """The rules that keep it; without any it is due."""


def decide(
    backups: Iterable[Backup],
    rules: Mapping[str, Retention | None],
    zone: ZoneInfo,
    targets: Collection[str],
) -> dict[str, list[Ruling]]:
    """By destination: every run that it holds, newest first. `None` for rules keeps everything.

    `targets` are those of the policy: each keeps runs that hold it.
    """
    stored = [backup for backup in backups if backup.phase in STORED and backup.recovery_point is not None]
    stored.sort(key=lambda backup: backup.age, reverse=True)
    rulings = {}
    for name, retention in rules.items():
        being_deleted = [backup for backup in stored if name in backup.being_deleted]
        staying = [
            backup for backup in stored if name in backup.destinations and name not in backup.being_deleted
        ]
        reasons = _reasons(staying, retention, zone, targets)
        ruled = [Ruling(backup, tuple(sorted(reasons[backup.run]))) for backup in staying]
        ruled += [Ruling(backup, ()) for backup in being_deleted]
        rulings[name] = sorted(ruled, key=lambda ruling: ruling.backup.age, reverse=True)
    return rulings


def _reasons(
    staying: list[Backup], retention: Retention | None, zone: ZoneInfo, targets: Collection[str]
) -> dict[str, set[str]]:
    """By run: the rules that keep it."""
    reasons: dict[str, set[str]] = {backup.run: set() for backup in staying}
    if retention is None or not _has_number(retention):
        for rules in reasons.values():
            rules.add("noRules")
        return reasons
    groups = [staying]
    holders = ([backup for backup in staying if target in backup.targets] for target in sorted(targets))
    for group in ([backup for backup in staying if backup.is_whole], *holders):
        if group not in groups:  # as a rule all are one: of many runs no second look is wanted
            groups.append(group)
    for group in groups:
        for rule, kept in _kept(group, retention, zone):
            for backup in kept:
                reasons[backup.run].add(rule)
    return reasons


def _has_number(retention: Retention) -> bool:
    return any(getattr(retention, field) for field in ("keep_last", *_PERIODS))


def _kept(
    backups: list[Backup], retention: Retention, zone: ZoneInfo
) -> Iterable[tuple[str, Sequence[Backup]]]:
    yield "newest", backups[:1]
    verified = [backup for backup in backups if backup.is_verified]
    yield "minVerified", verified[: max(1, retention.min_verified)]
    yield "keepLast", backups[: retention.keep_last or 0]
    for field, period in _PERIODS.items():
        newest: dict[Hashable, Backup] = {}
        for backup in backups:
            assert backup.recovery_point is not None
            newest.setdefault(period(backup.recovery_point.astimezone(zone)), backup)
        yield to_camel(field), list(newest.values())[: getattr(retention, field) or 0]


def backup_of(row: RunRow, destinations: Iterable[Destination]) -> Backup:
    """The run as retention sees it.

    A copy stays untouched in a place that its destination no longer is, or that is another copy's too.
    """
    unshared = destinations_unshared(row.places, destinations)
    return Backup(
        run=row.name,
        phase=row.phase or RunPhase.PENDING,
        recovery_point=row.recovery_point,
        destinations=row.destinations_holding & unshared,
        is_whole=row.is_whole,
        targets=row.targets_held,
        is_verified=row.is_verified,
        being_deleted=row.destinations_being_deleted & unshared,
    )


def targets_of(spec: BackupPolicySpec) -> frozenset[str]:
    """The names of the policy's targets."""
    return frozenset(target.name for target in spec.targets)


def rules_of(spec: BackupPolicySpec) -> dict[str, Retention | None]:
    """By destination: its retention, None where every run is kept.

    That is also so where this release does not know a field: it may be a rule that keeps more.
    """
    rules = _rules_as_written(spec)
    return {name: None if rule is None or rule.unknown_fields else rule for name, rule in rules.items()}


def _rules_as_written(spec: BackupPolicySpec) -> dict[str, Retention | None]:
    return {destination.name: destination.retention or spec.retention for destination in spec.destinations}


def why_paused(spec: BackupPolicySpec) -> str | None:
    """Why retention deletes nothing at the moment in one or all destinations; None if it does all it says."""
    rules = _rules_as_written(spec)
    if any(rules.values()) and zone_of(spec) is None:
        return (
            f"timeZone {spec.time_zone}: the operator has no data of this time zone; retention deletes "
            "nothing until it has"
        )
    unknown = {name: rule.unknown_fields for name, rule in rules.items() if rule and rule.unknown_fields}
    if not unknown:
        return None
    fields = ", ".join(sorted({field for fields in unknown.values() for field in fields}))
    return (
        f"retention: this release of the operator does not know {fields}, so it deletes nothing in "
        f"{', '.join(unknown)}: upgrade the operator, or remove the field"
    )


def with_pause(
    policy: BackupPolicy, conditions: tuple[Condition, ...], now: datetime
) -> tuple[Condition, ...]:
    """The conditions with RetentionActive, which is there only while retention is paused."""
    why = why_paused(policy.spec)
    if why is None:
        return tuple(condition for condition in conditions if condition.type != _ACTIVE)
    return set_condition(conditions, Verdict(_ACTIVE, "False", _PAUSED, why), now, policy.metadata.generation)


def without_dry_run(rules: Mapping[str, Retention | None]) -> dict[str, Retention | None]:
    """The rules of the destinations where they are not only shown."""
    return {name: rule for name, rule in rules.items() if rule is None or not rule.dry_run}


def zone_of(spec: BackupPolicySpec) -> ZoneInfo | None:
    """The policy's time zone; None when the operator has no data of it."""
    try:
        return zone_named(spec.time_zone)
    except ScheduleError:
        return None


def next_plan(
    policy: BackupPolicy, rows: Sequence[RunRow], now: datetime
) -> tuple[RetentionPlan | None, tuple[Notice, ...]]:
    """The plan to show, and what of it is new. None without retention, unless something is being deleted."""
    rules, before = rules_of(policy.spec), policy.status.retention_plan
    zone, why = zone_of(policy.spec), why_paused(policy.spec)
    paused = (Notice(_PAUSED, why, why, warning=True),) if why is not None else ()
    if zone is None:
        return None, paused
    rows = [row for row in rows if row.is_understood]
    backups = (backup_of(row, policy.spec.destinations) for row in rows)
    rulings = decide(backups, rules, zone, targets_of(policy.spec))
    # Later than what was shown before, so that a plan's time tells it from every other.
    moment = max(now, before.time + timedelta(seconds=1)) if before and before.time else now
    shared = destinations_sharing(places_by_destination(policy.spec.destinations))
    planner = _Planner({row.name: row for row in rows}, rules, before, moment)
    destinations = tuple(
        planner.plan(name, of_destination)
        for name, of_destination in rulings.items()
        if name not in shared
        and (rules[name] is not None or any(not ruling.reasons for ruling in of_destination))
    )
    if not destinations:
        return None, paused
    if before is not None and before.destinations == destinations:
        return before, paused
    announced = planner.announced(destinations)
    return RetentionPlan(time=moment, destinations=destinations), (*paused, *announced)


@dataclass(frozen=True)
class _Planner:
    rows: Mapping[str, RunRow]
    rules: Mapping[str, Retention | None]
    before: RetentionPlan | None
    """The plan that is shown now."""
    moment: datetime

    def plan(self, destination: str, rulings: list[Ruling]) -> DestinationPlan:
        """What the policy's status shows of one destination."""
        rule = self.rules[destination]
        due = [ruling.backup.run for ruling in reversed(rulings) if not ruling.reasons]
        kept = [ruling for ruling in rulings if ruling.reasons]
        shown = _shown(self.before, destination)
        copies = {run: self._copy(run, destination) for run in due}
        stuck = {run for run, copy in copies.items() if copy is not None and copy.obstacle}
        # Stuck runs are listed last: a full list of them would keep all others from being deleted.
        listed = sorted(sorted(due, key=stuck.__contains__)[:MAX_PLANNED], key=due.index)
        return DestinationPlan(
            destination=destination,
            dry_run=rule is not None and rule.dry_run,
            delete=tuple(
                DueRun(
                    run=run,
                    since=shown[run].since if run in shown else self.moment,
                    message=copy.message if (copy := copies[run]) else None,
                )
                for run in listed
            ),
            delete_omitted=len(due[MAX_PLANNED:]) or None,
            delete_bytes=sum(
                self.rows[run].stored_bytes.get(destination, 0) for run in listed if run not in stuck
            ),
            keep=tuple(
                KeptRun(run=ruling.backup.run, reasons=ruling.reasons) for ruling in kept[:MAX_KEPT_LISTED]
            ),
            keep_omitted=len(kept[MAX_KEPT_LISTED:]) or None,
        )

    def _copy(self, run: str, destination: str) -> ExpiringCopy | None:
        return next((copy for copy in self.rows[run].expiring if copy.destination == destination), None)

    def announced(self, destinations: Iterable[DestinationPlan]) -> tuple[Notice, ...]:
        """What of a plan is new. A run whose deletion has started is no news: a purge may delete it."""
        notices = []
        for plan in destinations:
            known, name = _shown(self.before, plan.destination), plan.destination
            runs = [due.run for due in plan.delete if due.run not in known and self._is_whole(due.run, name)]
            if runs:
                go = "goes" if len(runs) == 1 else "go"
                when = "would go, but for dryRun" if plan.dry_run else f"{go} when the next run is committed"
                message = (
                    f"destination {name}: {counted(len(runs), 'runs')} {when}: {some_of(runs, _MAX_NAMED)}"
                )
                notices.append(Notice("RetentionDue", message, f"{name}/{','.join(runs)}"))
        return tuple(notices)

    def _is_whole(self, run: str, destination: str) -> bool:
        return destination not in self.rows[run].destinations_being_deleted


def _shown(plan: RetentionPlan | None, destination: str) -> dict[str, DueRun]:
    if plan is None:
        return {}
    plans = (shown for shown in plan.destinations if shown.destination == destination)
    return {due.run: due for shown in plans for due in shown.delete}


def without_run(expiries: Iterable[Expiry], run: str) -> tuple[Expiry, ...]:
    """These, but the run stays wherever it is."""
    return tuple(
        expiry.model_copy(update={"delete": tuple(held for held in expiry.delete if held.run != run)})
        for expiry in expiries
    )


def expiries(
    policy: BackupPolicy, run: BackupRun, rows: Sequence[RunRow], in_use: Collection[str]
) -> tuple[Expiry, ...]:
    """What the commit of `run` is to delete: due now, and in the plan that was shown when it started.

    Runs `in_use` by a restore or a verification wait for a later commit.
    """
    plan, start_plan_time = policy.status.retention_plan, run.status.retention_plan_time
    zone = zone_of(policy.spec)
    if plan is None or start_plan_time is None or zone is None:
        return ()
    rules = without_dry_run(rules_of(policy.spec))
    others = [row for row in rows if row.name != run.metadata.name and row.is_understood]
    # As this run knows the destinations: its Job is given no other.
    backups = (backup_of(row, run.status.destinations) for row in others)
    rulings = decide(backups, rules, zone, targets_of(policy.spec))
    shared = destinations_sharing(places_by_destination(run.status.destinations))
    wanted = []
    for destination in (d.name for d in run.status.destinations if d.name not in shared):
        shown = {name for name, due in _shown(plan, destination).items() if due.since <= start_plan_time}
        due = [
            ruling.backup
            for ruling in reversed(rulings.get(destination, []))
            if not ruling.reasons and ruling.backup.run in shown and ruling.backup.run not in in_use
        ]
        if due:
            kept = [ruling.backup for ruling in rulings[destination] if ruling.reasons]
            wanted.append(
                Expiry(
                    destination=destination,
                    delete=tuple(_expiry_candidate(backup) for backup in due[:MAX_PLANNED]),
                    keep=tuple(_expiry_candidate(backup) for backup in _witnesses(kept)),
                )
            )
    return tuple(wanted)


def _witnesses(kept: list[Backup]) -> list[Backup]:
    """Enough of the newest for the Job to find in the bucket what must stay."""
    chosen: dict[str, Backup] = {}
    whole = [backup for backup in kept if backup.is_whole]
    verified = [backup for backup in kept if backup.is_verified]
    for group in (kept, whole, verified):
        chosen |= {backup.run: backup for backup in group[:_MAX_WITNESSES]}
    return list(chosen.values())


def _expiry_candidate(backup: Backup) -> ExpiryCandidate:
    assert backup.recovery_point is not None
    return ExpiryCandidate(run=backup.run, recovery_point=backup.recovery_point, verified=backup.is_verified)


def with_expiry_marked(run: BackupRun, destinations: Collection[str]) -> BackupRunStatus:
    """The status of a run whose copies in these destinations a Job is about to delete."""
    message = "its deletion has started; this commit or a later one ends it"
    return _with_expiring(
        run.status,
        {name: ExpiringCopy(destination=name, begun=True, message=message) for name in destinations},
    )


_REASONS_TO_STAY = {
    DeletionOutcome.LOCKED: "its objects are locked; every commit tries to delete them until the lock ends",
    DeletionOutcome.REFUSED: "the commit refused to delete it; an event of that run says why",
    DeletionOutcome.UNTOUCHED: "the commit had no time for it; a later one will delete it",
}
_OBSTACLES: dict[DeletionOutcome, Literal["Locked", "Refused"]] = {
    DeletionOutcome.LOCKED: "Locked",
    DeletionOutcome.REFUSED: "Refused",
}
"""Of copies that the next commit will hardly delete either."""


def record_expiry(
    run: BackupRun, outcomes: Mapping[str, DeletionOutcome], now: datetime
) -> Step[BackupRunStatus]:
    """A commit has said, by destination, what became of a run's copies."""
    if run.status.phase not in STORED:
        return Step(run.status)
    places = places_by_destination(run.status.destinations)
    emptied = {places.get(name) for name, outcome in outcomes.items() if outcome is DeletionOutcome.DELETED}
    gone = {name for name, place in places.items() if place in emptied}
    status = _with_expiring(
        run.status,
        {
            name: ExpiringCopy(
                destination=name, obstacle=_OBSTACLES.get(outcome), message=_REASONS_TO_STAY[outcome]
            )
            for name, outcome in outcomes.items()
            if outcome in _REASONS_TO_STAY
        },
    )
    if not gone:
        return Step(status)
    remaining = {destination.name for destination in status.destinations} - gone
    targets = tuple(kept_in(target, remaining) for target in status.targets)
    status = _with_expiring(
        updated(status, targets=targets),
        {name: ExpiringCopy(destination=name, gone=True) for name in sorted(gone)},
    )
    left = {artifact.destination for target in targets for artifact in target.artifacts}
    status = updated(status, copies=copies_text(run, status), report=report_left(run, status))
    names = ", ".join(sorted(gone))
    if left:
        return Step(status, (Notice("CopyDeleted", f"retention deleted the copy in {names}", names),))
    message = f"the policy's retention deleted its data, last from {names}"
    how = End(RunPhase.EXPIRED, "RetentionExpired", message)
    return Step(with_end(status, how, run.metadata.generation, now), (Notice("RetentionExpired", message),))


def _with_expiring(status: BackupRunStatus, changes: Mapping[str, ExpiringCopy]) -> BackupRunStatus:
    others = [copy for copy in status.expiring if copy.destination not in changes]
    return updated(status, expiring=(*others, *changes.values()))
