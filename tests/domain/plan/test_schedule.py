"""DueSlots slots: daylight saving both ways, leap days, downtime, and what never comes."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import factories
from tests.domain.plan.calendar import Calendar

from holdfast.api.policy import BackupPolicySpec
from holdfast.domain.plan.schedule import MAX_COUNTED, MAX_MISSED_RUNS, Schedule, ScheduleError, delay_of, due


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spec(**fields: Any) -> BackupPolicySpec:
    return factories.spec(**fields)


def slots(expression: str, zone: str, after: str, until: str) -> list[str]:
    _, found = Schedule(expression, zone).slots_between(at(after), at(until))
    return [f"{slot:%m-%d %H:%M}" for slot in found]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "until", "wanted"),
    [
        # Berlin's clocks go from 02:00 to 03:00 on 29 March 2026: 02:30 does not exist, and runs at 03:00.
        ("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", "2026-03-30T12:00",
         ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
        # They go from 03:00 back to 02:00 on 25 October: 02:30 comes twice, and runs once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T12:00",
         ["10-25 00:30", "10-26 01:30"]),
        # Every hour stays every hour, whatever the clocks do.
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T03:30",
         ["10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 03:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", "2033-01-01T00:00", ["02-29 00:00", "02-29 00:00"]),
        ("0 2 * * 7", "UTC", "2026-11-20T00:00", "2026-11-30T00:00", ["11-22 02:00", "11-29 02:00"]),
        ("0 2 * JAN MON", "UTC", "2026-01-01T00:00", "2026-01-13T00:00", ["01-05 02:00", "01-12 02:00"]),
        ("@weekly", "Asia/Ho_Chi_Minh", "2026-11-20T00:00", "2026-11-27T00:00", ["11-21 17:00"]),
        ("0 2 * * *", "UTC", "2026-01-01T02:00", "2026-01-02T02:00", ["01-02 02:00"]),
    ],
    ids=["gap", "overlap", "hourly", "leap", "sunday", "names", "macro", "bounds"],
)  # fmt: skip
def test_slots(expression: str, zone: str, after: str, until: str, wanted: list[str]) -> None:
    assert slots(expression, zone, after, until) == wanted


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 4,6 *"])
def test_never_due(expression: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule(expression, "UTC")
    assert caught.value.reason == "ScheduleNeverDue"


def test_backward_range_is_invalid() -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule("0 20-5 * * *", "UTC")
    assert caught.value.reason == "ScheduleInvalid"


def test_nothing_is_due_between_slots() -> None:
    daily = Schedule("0 2 * * *", "UTC")
    found = due(daily, spec(), at("2026-01-01T02:00"), at("2026-01-02T01:59"))
    assert (found.newest, found.starts, found.missed_count) == (None, False, 0)


@pytest.mark.parametrize(
    ("catch_up", "late", "starts", "catches_up", "missed"),
    [
        ("Latest", timedelta(minutes=1), True, False, 2),
        ("Latest", timedelta(hours=2), True, True, 2),
        ("None", timedelta(minutes=1), True, False, 2),
        ("None", timedelta(hours=2), False, False, 3),
    ],
)
def test_newest_slot_starts(
    catch_up: str, late: timedelta, starts: bool, catches_up: bool, missed: int
) -> None:
    daily = Schedule("0 2 * * *", "UTC")
    now = at("2026-01-03T02:00") + late
    found = due(daily, spec(catchUp=catch_up), at("2025-12-31T12:00"), now)
    assert found.newest == at("2026-01-03T02:00")
    assert (found.starts, found.catches_up, found.missed_count) == (starts, catches_up, missed)
    assert (at("2026-01-03T02:00") in found.missed) is not starts


def test_year_of_downtime_makes_few_objects_and_little_work() -> None:
    every_minute = Schedule("* * * * *", "UTC")
    began = time.process_time()
    found = due(every_minute, spec(), at("2025-01-01T00:00"), at("2026-01-01T00:00"))
    assert time.process_time() - began < 1
    assert found.newest == at("2026-01-01T00:00")
    assert len(found.missed) == MAX_MISSED_RUNS
    assert found.missed[0] == at("2025-12-31T23:59")
    assert found.missed_count == MAX_COUNTED - 1


@settings(deadline=None, max_examples=40)
@given(
    expression=st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15 1-3 * * MON", "0 0 1 * *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    start=st.integers(0, 500_000),
    cuts=st.lists(st.integers(1, 20_000), min_size=1, max_size=6),
)
def test_no_slot_is_lost_or_doubled_however_often_one_looks(
    expression: str, zone: str, start: int, cuts: list[int]
) -> None:
    schedule = Schedule(expression, zone)
    began = at("2026-01-01T00:00") + timedelta(minutes=start)
    moments = [began]
    for minutes in cuts:
        moments.append(moments[-1] + timedelta(minutes=minutes))
    piecewise = [s for a, b in pairwise(moments) for s in schedule.slots_between(a, b)[1]]
    assert piecewise == schedule.slots_between(moments[0], moments[-1])[1]
    assert len(set(piecewise)) == len(piecewise)


def test_asked_in_the_second_of_two_equal_hours_a_slot_of_the_first_is_over() -> None:
    nightly = Schedule("30 2 * * *", "Europe/Berlin")
    assert nightly.next_after(at("2026-10-25T01:10")) == at("2026-10-26T01:30")


SPRING = Calendar(at("2026-03-01T00:00"), at("2026-04-10T00:00"))
AUTUMN = Calendar(at("2026-09-20T00:00"), at("2026-11-05T00:00"))


@settings(deadline=None, max_examples=60)
@given(
    calendar=st.sampled_from([SPRING, AUTUMN]),
    # Lord Howe's clocks move by half an hour, Cairo's and Beirut's at midnight.
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago",
         "Asia/Beirut"]
    ),
    minute=st.sampled_from(["0", "30", "7", "*/15", "*/40", "10-40/15"]),
    hour=st.sampled_from(["*", "*/4", "*/5", "0", "1", "2", "3", "1-3", "23"]),
    day=st.sampled_from(["* * *", "* * *", "1,8,29 * *", "* * 7", "* * 0-3", "5 * 6"]),
)  # fmt: skip
def test_the_slots_are_those_that_a_plain_calendar_finds(
    calendar: Calendar, zone: str, minute: str, hour: str, day: str
) -> None:
    expression = f"{minute} {hour} {day}"
    wanted = calendar.slots(expression, zone)
    after = calendar.start - timedelta(minutes=1)
    _, found = Schedule(expression, zone).slots_between(after, calendar.end - timedelta(minutes=1))
    assert found == wanted


def test_jitter_is_the_same_for_one_policy_and_spread_over_many() -> None:
    spread = [delay_of(spec(jitter="5m"), f"uid-{n}") for n in range(300)]
    assert spread == [delay_of(spec(jitter="5m"), f"uid-{n}") for n in range(300)]
    assert min(spread) < timedelta(seconds=10)
    assert timedelta(seconds=290) < max(spread) <= timedelta(minutes=5)
    assert delay_of(spec(), "uid") == delay_of(spec(jitter="0s"), "uid") == timedelta()


def test_jitter_moves_the_start_and_not_the_slot() -> None:
    daily = Schedule("0 2 * * *", "UTC")
    later, since = timedelta(minutes=4), at("2026-01-01T12:00")
    assert due(daily, spec(), since, at("2026-01-02T02:03"), later).newest is None
    found = due(daily, spec(startingDeadline="1m"), since, at("2026-01-02T02:05"), later)
    assert (found.newest, found.starts, found.catches_up) == (at("2026-01-02T02:00"), True, False)
