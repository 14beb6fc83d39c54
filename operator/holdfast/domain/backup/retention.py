"""Which runs a policy's retention keeps in each destination, and by which rule. Pure.

Grandfather, father, son as restic and Proxmox count it: of each hour, day, week, month or year the newest run
is kept, for as many such periods back as the number says. Only periods that have a run are counted, so that
a month without backups ages nothing. A period is the policy's time zone's; a week is ISO's. A run is kept
when any rule keeps it, and besides, whatever the numbers say:

- `newest`: the newest run of a destination, so that it never becomes empty;
- `minVerified`: the newest verified runs, one at least;
- `noRules`: every run, where no number above 0 is given: zeroes alone would mean to delete everything.

A run that lacks a target is kept where it would be if it were whole, and takes no whole run's place: the
rules are applied to the whole runs alone, and then to all, and kept is what either keeps. A run that only
lacks an optional destination is whole where it is. Runs without data (Failed, Missed and so on) do not count.

Nothing goes unannounced. A run that is due to go is listed in `status.retentionPlan` of its policy together
with the moment since when it is. A run of the policy notes the moment of the plan that was shown when it
started; its commit deletes what is due by the rules of now *and* was listed in that plan already. So a policy
that is changed shows its plan first, and only a run that starts later carries it out.

Before the Job that deletes is made, the runs that it is handed are marked in their own status (`expiring`): a
copy that may be partly gone is restored from no more, and stays due until a commit has told that it is gone,
whatever becomes of the rules.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic.alias_generators import to_camel

from holdfast.api.conditions import is_true
from holdfast.api.destination import Destination, Retention
from holdfast.api.policy import (
    MAX_PLANNED,
    BackupPolicy,
    BackupPolicySpec,
    DestinationPlan,
    DueRun,
    KeptRun,
    RetentionPlan,
)
from holdfast.api.run import STORED, BackupRun, BackupRunStatus, Expiring, RunPhase
from holdfast.api.text import some_of
from holdfast.domain.naming import same_places
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.stored import (
    EARLIEST,
    bytes_by_destination,
    copies_text,
    destinations_being_deleted,
    destinations_holding,
    is_whole,
    kept_in,
    report_left,
)
from holdfast.protocol import Expiry, Fate, HeldRun

_WITNESSES = 5
_NAMED = 10

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
    whole: bool = True
    """Whether every target is in it."""
    verified: bool = False
    begun: frozenset[str] = frozenset()
    """Destinations where its deletion may have begun."""

    @property
    def age(self) -> tuple[datetime, str]:
        """Sorts the oldest first."""
        return self.recovery_point or EARLIEST, self.run


@dataclass(frozen=True)
class Verdict:
    """What becomes of a run in one destination."""

    backup: Backup
    reasons: tuple[str, ...]
    """The rules that keep it; none: it is due to go."""


def decide(
    backups: Iterable[Backup], rules: Mapping[str, Retention | None], zone: ZoneInfo
) -> dict[str, list[Verdict]]:
    """By destination: every run that it holds, newest first. `None` for rules keeps everything."""
    stored = [each for each in backups if each.phase in STORED and each.recovery_point is not None]
    stored.sort(key=lambda each: each.age, reverse=True)
    return {name: _decide_one(stored, name, retention, zone) for name, retention in rules.items()}


def _decide_one(
    stored: list[Backup], destination: str, retention: Retention | None, zone: ZoneInfo
) -> list[Verdict]:
    going = [each for each in stored if destination in each.begun]
    there = [each for each in stored if destination in each.destinations and destination not in each.begun]
    reasons: dict[str, set[str]] = {each.run: set() for each in there}
    if retention is None or not _has_number(retention):
        for names in reasons.values():
            names.add("noRules")
    else:
        for counted in ([each for each in there if each.whole], there):
            for rule, kept in _kept(counted, retention, zone):
                for each in kept:
                    reasons[each.run].add(rule)
    verdicts = [Verdict(each, tuple(sorted(reasons[each.run]))) for each in there]
    verdicts += [Verdict(each, ()) for each in going]
    return sorted(verdicts, key=lambda verdict: verdict.backup.age, reverse=True)


def _has_number(retention: Retention) -> bool:
    return any(getattr(retention, field) for field in ("keep_last", *_PERIODS))


def _kept(
    backups: list[Backup], retention: Retention, zone: ZoneInfo
) -> Iterable[tuple[str, Sequence[Backup]]]:
    yield "newest", backups[:1]
    yield "minVerified", [each for each in backups if each.verified][: max(1, retention.min_verified)]
    yield "keepLast", backups[: retention.keep_last or 0]
    for field, period in _PERIODS.items():
        newest: dict[Hashable, Backup] = {}
        for each in backups:
            assert each.recovery_point is not None
            newest.setdefault(period(each.recovery_point.astimezone(zone)), each)
        yield to_camel(field), list(newest.values())[: getattr(retention, field) or 0]


def backup_of(run: BackupRun, destinations: Iterable[Destination]) -> Backup:
    """The run as retention sees it. A place that its destination's name no longer means is left alone."""
    same = same_places(run.status.destinations, destinations)
    return Backup(
        run=run.metadata.name,
        phase=run.status.phase or RunPhase.PENDING,
        recovery_point=run.status.recovery_point,
        destinations=frozenset(destinations_holding(run) & same),
        whole=is_whole(run.status),
        verified=is_true(run.status.conditions, "Verified"),
        begun=frozenset(destinations_being_deleted(run) & same),
    )


def _rules(spec: BackupPolicySpec) -> dict[str, Retention | None]:
    return {each.name: each.retention or spec.retention for each in spec.destinations}


def zone_of(spec: BackupPolicySpec) -> ZoneInfo | None:
    """None when it is unknown here."""
    try:
        return ZoneInfo(spec.time_zone)
    except ZoneInfoNotFoundError:
        return None


def next_plan(
    policy: BackupPolicy, runs: Sequence[BackupRun], now: datetime
) -> tuple[RetentionPlan | None, tuple[Notice, ...]]:
    """The plan to show, and what of it is new. None where there is no retention and nothing is on its way."""
    rules, before = _rules(policy.spec), policy.status.retention_plan
    zone = zone_of(policy.spec)
    if zone is None:
        message = f"time zone {policy.spec.time_zone} is unknown here: nothing is deleted until it is known"
        wanted = any(rules.values())
        return None, (Notice("RetentionPaused", message, warning=True),) if wanted else ()
    verdicts = decide((backup_of(run, policy.spec.destinations) for run in runs), rules, zone)
    # Later than what was shown before, so that a plan's time tells it from every other.
    moment = max(now, before.time + timedelta(seconds=1)) if before and before.time else now
    messages = {
        (each.destination, run.metadata.name): each.message for run in runs for each in run.status.expiring
    }
    sizes = {run.metadata.name: bytes_by_destination(run) for run in runs}
    destinations = tuple(
        _destination_plan(name, rules[name], found, _shown(before, name), messages, sizes, moment)
        for name, found in verdicts.items()
        if rules[name] is not None or any(not verdict.reasons for verdict in found)
    )
    if not destinations:
        return None, ()
    if before is not None and before.destinations == destinations:
        return before, ()
    return RetentionPlan(time=moment, destinations=destinations), _announced(before, destinations)


def _shown(plan: RetentionPlan | None, destination: str) -> dict[str, DueRun]:
    if plan is None:
        return {}
    return {
        due.run: due for each in plan.destinations if each.destination == destination for due in each.delete
    }


def _destination_plan(
    name: str,
    retention: Retention | None,
    verdicts: list[Verdict],
    shown: Mapping[str, DueRun],
    messages: Mapping[tuple[str, str], str | None],
    sizes: Mapping[str, Mapping[str, int]],
    moment: datetime,
) -> DestinationPlan:
    due = [verdict.backup.run for verdict in reversed(verdicts) if not verdict.reasons]
    stuck = {run for run in due if messages.get((name, run)) in _STUCK}
    # Else as many that are locked as are listed would keep all others from ever going.
    listed = sorted(sorted(due, key=stuck.__contains__)[:MAX_PLANNED], key=due.index)
    kept = [verdict for verdict in verdicts if verdict.reasons]
    return DestinationPlan(
        destination=name,
        dry_run=retention is not None and retention.dry_run,
        delete=tuple(
            DueRun(
                run=run, since=shown[run].since if run in shown else moment, message=messages.get((name, run))
            )
            for run in listed
        ),
        delete_omitted=len(due[MAX_PLANNED:]) or None,
        delete_bytes=sum(sizes[run].get(name, 0) for run in listed if run not in stuck),
        keep=tuple(KeptRun(run=each.backup.run, reasons=each.reasons) for each in kept[:MAX_PLANNED]),
        keep_omitted=len(kept[MAX_PLANNED:]) or None,
    )


def _announced(before: RetentionPlan | None, destinations: Iterable[DestinationPlan]) -> tuple[Notice, ...]:
    notices = []
    for plan in destinations:
        known = _shown(before, plan.destination)
        fresh = [due.run for due in plan.delete if due.run not in known]
        if fresh:
            go = "goes" if len(fresh) == 1 else "go"
            when = "would go, but for dryRun" if plan.dry_run else f"{go} when the next run is committed"
            message = f"destination {plan.destination}: {_count(fresh)} {when}: {some_of(fresh, _NAMED)}"
            notices.append(Notice("RetentionDue", message, f"{plan.destination}/{','.join(fresh)}"))
    return tuple(notices)


def _count(runs: Collection[str]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


def expiries(
    policy: BackupPolicy, run: BackupRun, runs: Sequence[BackupRun], in_use: Collection[str]
) -> tuple[Expiry, ...]:
    """What the commit of `run` is to delete: due now, and in the plan that was shown when it started.

    Runs `in_use` by a restore or verification wait for a later commit.
    """
    plan, started_with = policy.status.retention_plan, run.status.retention_plan_time
    zone = zone_of(policy.spec)
    if plan is None or started_with is None or zone is None:
        return ()
    rules = {name: rule for name, rule in _rules(policy.spec).items() if rule is None or not rule.dry_run}
    others = [each for each in runs if each.metadata.name != run.metadata.name]
    # As this run knows the destinations: its Job is given no other.
    verdicts = decide((backup_of(each, run.status.destinations) for each in others), rules, zone)
    found = []
    for each in run.status.destinations:
        shown = {name for name, due in _shown(plan, each.name).items() if due.since <= started_with}
        due = [
            verdict.backup
            for verdict in reversed(verdicts.get(each.name, []))
            if not verdict.reasons and verdict.backup.run in shown and verdict.backup.run not in in_use
        ]
        if due:
            kept = [verdict.backup for verdict in verdicts[each.name] if verdict.reasons]
            found.append(
                Expiry(
                    destination=each.name,
                    delete=tuple(_held_run(backup) for backup in due[:MAX_PLANNED]),
                    keep=tuple(_held_run(backup) for backup in _witnesses(kept)),
                )
            )
    return tuple(found)


def _witnesses(kept: list[Backup]) -> list[Backup]:
    """Enough of the newest for the Job to find in the bucket what must stay."""
    chosen: dict[str, Backup] = {}
    for group in (
        kept,
        [each for each in kept if each.whole],
        [each for each in kept if each.verified],
    ):
        chosen |= {each.run: each for each in group[:_WITNESSES]}
    return list(chosen.values())


def _held_run(backup: Backup) -> HeldRun:
    assert backup.recovery_point is not None
    return HeldRun(run=backup.run, recovery_point=backup.recovery_point, verified=backup.verified)


def marked(run: BackupRun, destinations: Collection[str]) -> BackupRunStatus:
    """The status of a run whose copies in these destinations a Job is about to delete."""
    message = "its deletion has begun; it is finished by this commit or a later one"
    return _with_expiring(run.status, {name: Expiring(destination=name, begun=True, message=message)
                                       for name in destinations})  # fmt: skip


_WAITS = {
    Fate.LOCKED: "its objects are locked; it is tried again by every commit until the lock has ended",
    Fate.REFUSED: "the commit refused to delete it; an event of that run says why",
    Fate.UNTOUCHED: "the commit did not come to it; a later one will",
}


_STUCK = (_WAITS[Fate.LOCKED], _WAITS[Fate.REFUSED])
"""What is said of copies that the next commit will hardly delete either."""


def taken_in(run: BackupRun, fates: Mapping[str, Fate]) -> Step[BackupRunStatus]:
    """What a run's status says once a commit has told, by destination, what became of its copies."""
    if run.status.phase not in STORED:
        return Step(run.status)
    gone = {name for name, fate in fates.items() if fate is Fate.DELETED}
    status = _with_expiring(
        run.status,
        {
            name: Expiring(destination=name, message=_WAITS[fate])
            for name, fate in fates.items()
            if fate in _WAITS
        },
    )
    if not gone:
        return Step(status)
    remaining = {each.name for each in status.destinations} - gone
    targets = tuple(kept_in(target, remaining) for target in status.targets)
    status = _with_expiring(
        updated(status, targets=targets),
        {name: Expiring(destination=name, gone=True) for name in sorted(gone)},
    )
    left = {a.destination for target in targets for a in target.artifacts}
    status = updated(status, copies=copies_text(run, status), report=report_left(run, status))
    names = ", ".join(sorted(gone))
    if left:
        return Step(status, (Notice("CopyDeleted", f"retention deleted the copy in {names}", names),))
    message = f"its data was deleted by the policy's retention, at last from {names}"
    ended = updated(status, phase=RunPhase.EXPIRED, reason="RetentionExpired", message=message)
    return Step(ended, (Notice("RetentionExpired", message),))


def _with_expiring(status: BackupRunStatus, new: Mapping[str, Expiring]) -> BackupRunStatus:
    others = [each for each in status.expiring if each.destination not in new]
    return updated(status, expiring=(*others, *new.values()))
