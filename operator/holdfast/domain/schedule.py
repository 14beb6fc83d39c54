"""Which slots of a policy's schedule are due, and when the next one is. Pure: `now` is passed in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast.api.policy import BackupPolicySpec

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
_WINDOW = timedelta(days=8)
"""Holds the newest slot of every schedule that had more than MAX_COUNTED slots within a lifetime."""


class ScheduleError(Exception):
    """A schedule that can never start a run. `reason` is for the policy's Ready condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Due:
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


class Schedule:
    """A cron expression in a time zone, with Debian cron's rules for daylight saving time.

    A slot at a fixed time that falls into a gap comes right after it, one in an overlap comes once
    (https://github.com/cuu508/cronsim). Raises ScheduleError with reason ScheduleInvalid or ScheduleNeverDue.
    """

    def __init__(self, expression: str, zone: str) -> None:
        self._expression = MACROS.get(expression.lower(), expression)
        self._zone = ZoneInfo(zone)
        try:
            CronSim(self._expression, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise _explain(self._expression, error) from error
        if self.next_after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
            raise _never(expression)

    def slots_after(self, moment: datetime) -> Iterator[datetime]:
        """The slots later than `moment`, in UTC; ends when none comes within 50 years."""
        for slot in CronSim(self._expression, moment.astimezone(self._zone)):
            yield slot.astimezone(UTC)

    def next_after(self, moment: datetime) -> datetime | None:
        """The first slot later than `moment`."""
        return next(self.slots_after(moment), None)

    def slots_between(self, after: datetime, until: datetime) -> tuple[int, list[datetime]]:
        """How many slots there are in (after, until], counted up to MAX_COUNTED, and the newest of them."""
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
    return None if spec.schedule is None else Schedule(spec.schedule, spec.time_zone)


def scheduled_expression(spec: BackupPolicySpec) -> str | None:
    """What a slot depends on, as text to be kept in the status; None while nothing is scheduled."""
    return None if spec.schedule is None or spec.suspend else f"{spec.schedule} {spec.time_zone}"


def due(schedule: Schedule, spec: BackupPolicySpec, since: datetime, now: datetime) -> Due:
    """What is to be done for the slots in (since, now].

    Of several slots only the newest can start: on time when it is not older than startingDeadline, else when
    catchUp is Latest. The others are missed.
    """
    count, slots = schedule.slots_between(since, now)
    if not slots:
        return Due()
    newest = slots[-1]
    late = now - newest > timedelta(seconds=spec.starting_deadline.seconds)
    starts = not late or spec.catch_up == "Latest"
    missed = slots[:-1] if starts else slots
    return Due(
        newest=newest,
        starts=starts,
        catches_up=starts and late,
        missed=tuple(reversed(missed[-MAX_MISSED_RUNS:])),
        missed_count=count - 1 if starts else count,
    )


def _explain(expression: str, error: CronSimError) -> ScheduleError:
    minute, hour, day, _, weekday = expression.split()
    try:
        CronSim(f"{minute} {hour} {day} * {weekday}", datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return ScheduleError("ScheduleInvalid", f"schedule {expression!r}: {error}; such as '0 2 * * *'")
    return _never(expression)


def _never(expression: str) -> ScheduleError:
    message = f"schedule {expression!r} never comes: no such day is in the months named"
    return ScheduleError("ScheduleNeverDue", message)
