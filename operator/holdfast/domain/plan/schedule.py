"""Which slots of a policy's schedule are due, and when the next one is. Pure: `now` is passed in."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from holdfast.api.policy import BackupPolicySpec
from holdfast.api.text import counted

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MAX_COUNTED = 10_000
"""Slots that are counted one by one; after a longer downtime at least so many were missed."""
MAX_MISSED_RUNS = 10
"""Missed slots that become objects; the others are only counted."""
TIME_ZONE_UNKNOWN = "TimeZoneUnknown"
_PASSED = "its slot passed while it could not be started"
_SUPERSEDED = "its slot had not been started when the schedule was changed or the policy suspended"
_MAX_REMEMBERED = 4096
_MAX_DAYS_REMEMBERED = 4
_DAY = timedelta(days=1)
_WINDOW = timedelta(days=8)
"""Holds the newest slot of every schedule that had more than MAX_COUNTED slots within a lifetime."""

MAX_AHEAD = timedelta(days=1)
"""A clock that was ahead by more than that silences nothing. What it ran through that was ahead by less stays
handled: none of these slots has two runs."""


class ScheduleError(Exception):
    """A schedule that can never start a run. `reason` is for the policy's Ready condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class DueSlots:
    """What the schedule asks for now. `newest` is None when no slot has come since."""

    newest: datetime | None = None
    starts: bool = False
    """Whether `newest` becomes a run that starts; otherwise it is missed as well."""
    catches_up: bool = False
    """Whether it starts later than the starting deadline allows, because catchUp wants it."""
    missed: tuple[datetime, ...] = ()
    """Slots to be recorded as Missed runs, newest first."""
    missed_count: int = 0
    """All slots that were missed, recorded or not."""
    why: str = _PASSED
    """Why they were missed or skipped."""
    skipped: bool = False
    """Whether `newest` becomes the one Skipped run that speaks for all slots of a suspension."""


class Schedule:
    """A cron expression in a time zone, with Debian cron's rules for daylight saving time.

    A slot at a fixed time that falls into a gap comes right after it, one in an overlap comes once; one that
    recurs, with a star for its minute or hour, comes whenever a clock on the wall shows it. Raises
    ScheduleError with reason ScheduleInvalid, ScheduleNeverDue or TimeZoneUnknown.
    """

    def __init__(self, expression: str, zone: str) -> None:
        expression = MACROS.get(expression.lower(), expression)
        self._zone = zone_named(zone)
        try:
            # https://github.com/cuu508/cronsim only parses: where clocks move half an hour it loses slots.
            self._cron = CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise _explain(expression, error) from error
        minute, hour = expression.split()[:2]
        self._fixed = not minute.startswith("*") and not hour.startswith("*")
        self._times = [
            timedelta(hours=hour, minutes=minute)
            for hour in sorted(self._cron.hours)
            for minute in sorted(self._cron.minutes)
        ]
        self._days: dict[date, list[datetime]] = {}
        if self.next_after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
            raise _never(expression)

    def slots_after(self, moment: datetime) -> Iterator[datetime]:
        """The slots later than `moment`, in UTC; ends when none comes within 50 years."""
        day = moment.astimezone(self._zone).date() - _DAY
        end, last = day.replace(day=1, year=day.year + 50), moment
        while day < end:
            if day.month not in self._cron.months:
                day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                continue
            for slot in self._slots_of(day) if self._cron.match_day(day) else ():
                if slot > last:
                    yield slot
                    last = slot
            day += _DAY

    def _slots_of(self, day: date) -> list[datetime]:
        if day not in self._days:
            if len(self._days) >= _MAX_DAYS_REMEMBERED:
                self._days.clear()
            self._days[day] = self._slots_on(datetime.combine(day, time()))
        return self._days[day]

    def _slots_on(self, midnight: datetime) -> list[datetime]:
        offset = midnight.replace(tzinfo=self._zone).utcoffset()
        assert offset is not None
        if offset == (midnight + _DAY).replace(tzinfo=self._zone).utcoffset():
            start = midnight.replace(tzinfo=UTC) - offset
            return [start + since for since in self._times]
        moments = self._once if self._fixed else self._shown
        return sorted({slot for since in self._times for slot in moments(midnight + since)})

    def _once(self, local: datetime) -> list[datetime]:
        """The moment of a local time: the first of two, and for a time in a gap the end of the gap."""
        while not (moments := self._shown(local)):
            local += timedelta(minutes=1)
        return moments[:1]

    def _shown(self, local: datetime) -> list[datetime]:
        """The moments at which clocks show a local time: none, one or two."""
        moments = [local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        there = {moment for moment in moments if moment.astimezone(self._zone).replace(tzinfo=None) == local}
        return sorted(there)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first slot later than `moment`."""
        return next(self.slots_after(moment), None)

    def slots_between(self, after: datetime, until: datetime) -> tuple[int, list[datetime]]:
        """The number of slots in (after, until], counted up to MAX_COUNTED, and the newest of them."""
        slots: list[datetime] = []
        for slot in self.slots_after(after):
            if slot > until:
                return len(slots), slots
            slots.append(slot)
            if len(slots) == MAX_COUNTED:
                break
        else:
            return len(slots), slots
        newest = [
            slot for _, slot in zip(range(MAX_COUNTED * 2), self.slots_after(until - _WINDOW), strict=False)
        ]
        return MAX_COUNTED, [slot for slot in newest if after < slot <= until]


def schedule_of(spec: BackupPolicySpec) -> Schedule | None:
    """The policy's schedule, None where it has none. Raises ScheduleError."""
    return None if spec.schedule is None else _schedule(spec.schedule, spec.time_zone)


def verification_schedule_of(spec: BackupPolicySpec) -> Schedule | None:
    """The schedule of the policy's verification, None where it has none. Raises ScheduleError."""
    if spec.verification is None or spec.verification.schedule is None:
        return None
    try:
        return _schedule(spec.verification.schedule, spec.time_zone)
    except ScheduleError as error:
        if error.reason == TIME_ZONE_UNKNOWN:
            raise
        raise ScheduleError(error.reason, f"verification.{error.message}") from error


_schedule = lru_cache(maxsize=_MAX_REMEMBERED)(Schedule)


def expression_of(schedule: str, zone: str) -> str:
    """What a slot depends on, as text to be kept in the status."""
    return f"{schedule} {zone}"


def _parts_of(expression: str) -> tuple[str, str]:
    """The schedule and the time zone of an expression. No time zone has a space in its name."""
    schedule, _, zone = expression.rpartition(" ")
    return schedule, zone


def scheduled_expression(spec: BackupPolicySpec) -> str | None:
    """The expression of the policy's slots; None while nothing is scheduled."""
    return None if spec.schedule is None or spec.suspend else expression_of(spec.schedule, spec.time_zone)


def delay_of(spec: BackupPolicySpec, uid: str) -> timedelta:
    """How much later than its slot a run starts: up to `jitter`, and always the same for one UID."""
    return timedelta() if spec.jitter is None else _share(spec.jitter.seconds, uid)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _share(jitter: int, uid: str) -> timedelta:
    digest = hashlib.sha256(uid.encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) % (jitter + 1))


def due(
    schedule: Schedule, spec: BackupPolicySpec, since: datetime, now: datetime, later: timedelta = timedelta()
) -> DueSlots:
    """What is to be done for the slots in (since, now], each of which starts `later` than it is named.

    Of several slots only the newest can start: on time when it is not older than startingDeadline, else when
    catchUp is Latest. The others are missed.
    """
    count, slots = schedule.slots_between(since, now - later)
    if not slots:
        return DueSlots()
    newest = slots[-1]
    late = now - later - newest > timedelta(seconds=spec.starting_deadline.seconds)
    starts = not late or spec.catch_up == "Latest"
    missed = slots[:-1] if starts else slots
    return DueSlots(
        newest=newest,
        starts=starts,
        catches_up=starts and late,
        missed=tuple(reversed(missed[-MAX_MISSED_RUNS:])),
        missed_count=count - 1 if starts else count,
    )


def missed_by_change(expression: str, since: datetime, now: datetime) -> DueSlots:
    """The slots in (since, now] of a `scheduled_expression` that holds no longer: none of them starts."""
    try:
        count, slots = _schedule(*_parts_of(expression)).slots_between(since, now)
    except ScheduleError:
        return DueSlots()  # its time zone is known no longer, and neither are its slots
    if not slots:
        return DueSlots()
    missed = tuple(reversed(slots[-MAX_MISSED_RUNS:]))
    return DueSlots(newest=slots[-1], missed=missed, missed_count=count, why=_SUPERSEDED)


def skipped_by_suspension(expression: str, since: datetime, now: datetime) -> DueSlots:
    """The slots in (since, now] of the schedule of a policy that was suspended: the newest speaks for all."""
    try:
        schedule = _schedule(*_parts_of(expression))
    except ScheduleError:
        return DueSlots()  # its time zone is known no longer, and neither are its slots
    count, slots = schedule.slots_between(since, now)
    if not slots:
        return DueSlots()
    first, last = schedule.next_after(since), slots[-1]
    slots_text = f"{'at least ' if count == MAX_COUNTED else ''}{counted(count, 'slots')}"
    why = (
        f"the policy was suspended: {slots_text} from {first:%Y-%m-%dT%H:%MZ} to {last:%Y-%m-%dT%H:%MZ} "
        "did not start"
    )
    return DueSlots(newest=last, why=why, skipped=True)


def zone_named(name: str) -> ZoneInfo:
    """The time zone. Raises ScheduleError with reason TimeZoneUnknown."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = (
            f"timeZone {name}: the operator has no data of this time zone ({error}); "
            "use a name that `timedatectl list-timezones` shows, or an operator's image with newer tzdata"
        )
        raise ScheduleError(TIME_ZONE_UNKNOWN, message) from error


def _explain(expression: str, error: CronSimError) -> ScheduleError:
    minute, hour, day, _, weekday = expression.split()
    try:
        CronSim(f"{minute} {hour} {day} * {weekday}", datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return ScheduleError("ScheduleInvalid", f"schedule {expression!r}: {error}; such as '0 2 * * *'")
    return _never(expression)


def _never(expression: str) -> ScheduleError:
    message = f"schedule {expression!r} is never due: no such day is in the months named"
    return ScheduleError("ScheduleNeverDue", message)
