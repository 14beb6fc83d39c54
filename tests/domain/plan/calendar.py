"""Which slots a cron expression has, told minute by minute: what the scheduler is held against.

It shares nothing with the scheduler: a table of a period's minutes in a zone, and a matcher of plain fields.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_MACROS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class Calendar:
    """The minutes of [start, end) in UTC."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start, self.end = start, end
        self._zones: dict[str, _Zone] = {}
        self.slots = cache(self._slots)
        """The slots of an expression in a zone, in UTC and in their order."""

    def _slots(self, expression: str, zone: str) -> list[datetime]:
        if zone not in self._zones:
            self._zones[zone] = _Zone(self.start, self.end, zone)
        fields = _MACROS.get(expression, expression).split()
        minutes, hours, days, months, weekdays = map(_parse, fields, _RANGES)
        # As Debian's cron: a job at fixed times is moved out of a gap and not repeated in an overlap.
        fixed = not fields[0].startswith("*") and not fields[1].startswith("*")
        both = fields[2].startswith("*") or fields[4].startswith("*")
        found = set()
        for local, moment in self._zones[zone].at(hours, minutes, fixed):
            of_month, of_week = (
                local.day in days,
                local.isoweekday() in weekdays or local.isoweekday() % 7 in weekdays,
            )
            if local.month in months and (of_month and of_week if both else of_month or of_week):
                found.add(moment)
        return sorted(found)


class _Zone:
    def __init__(self, start: datetime, end: datetime, name: str) -> None:
        self._real: dict[tuple[int, int], list[tuple[datetime, datetime]]] = defaultdict(list)
        """By hour and minute on the wall: local time and moment, of every minute that there is."""
        self._shown: dict[tuple[int, int], list[tuple[datetime, datetime]]] = defaultdict(list)
        """By hour and minute: every local time once, also one that the clocks skip, and when it is due."""
        zone, moment, seen = ZoneInfo(name), start, None
        while moment < end:
            local = moment.astimezone(zone).replace(tzinfo=None)
            self._real[local.hour, local.minute].append((local, moment))
            following = local if seen is None else seen + MINUTE
            while following <= local:
                self._shown[following.hour, following.minute].append((following, moment))
                seen, following = following, following + MINUTE
            moment += MINUTE

    def at(self, hours: set[int], minutes: set[int], fixed: bool) -> Iterator[tuple[datetime, datetime]]:
        table = self._shown if fixed else self._real
        for hour in hours:
            for minute in minutes:
                yield from table[hour, minute]


def _parse(field: str, limits: tuple[int, int]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        first, last = limits if span == "*" else (int(low), int(high or low))
        found.update(range(first, last + 1, int(step or 1)))
    return found


def utc(text: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
