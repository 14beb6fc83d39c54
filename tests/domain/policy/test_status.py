"""What a policy's slots come to, with a clock that the test holds: downtimes, jumps, edits, missing zones."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest
from tests import factories
from tests.factories import next_status

from holdfast.api.conditions import find_condition
from holdfast.api.policy import BackupPolicy, BackupPolicySpec, BackupPolicyStatus, Catalogue
from holdfast.api.run import BackupRun
from holdfast.domain.backup.catalogue import places_of
from holdfast.domain.plan import schedule
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.plan.schedule import MAX_MISSED_RUNS, delay_of
from holdfast.domain.policy.status import (
    PolicySituation,
    record_slots,
    report_newest_runs,
    report_recovery_windows,
    slots_due,
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spec(**fields: Any) -> BackupPolicySpec:
    return factories.spec(**{"schedule": "0 2 * * *"} | fields)


@dataclass
class Kept:
    """A policy, and what became of its slots; `look` is one reconcile at a moment."""

    policy: BackupPolicy
    started: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    why: str = ""

    def look(self, moment: str) -> "Kept":
        now = at(moment)
        state = readiness(self.policy)
        due = slots_due(self.policy, state, now)
        slots = due.due
        if slots.starts:
            assert slots.newest is not None
            self.started.append(f"{slots.newest:%m-%d %H:%M}")
        self.missed += [f"{slot:%m-%d %H:%M}" for slot in reversed(slots.missed)]
        self.why = slots.why if slots.missed else self.why
        status = next_status(PolicySituation(self.policy, state, (), now), due).status
        self.policy = self.policy.model_copy(update={"status": status})
        return self

    def skipped(self, moment: str) -> str:
        """What the run says that speaks for the slots of a suspension; nothing without one."""
        slots = slots_due(self.policy, readiness(self.policy), at(moment)).due
        return f"{slots.newest:%m-%d %H:%M} {slots.why}" if slots.skipped else ""

    def edit(self, **fields: Any) -> "Kept":
        generation = {"generation": (self.policy.metadata.generation or 0) + 1}
        metadata = self.policy.metadata.model_copy(update=generation)
        self.policy = self.policy.model_copy(update={"spec": spec(**fields), "metadata": metadata})
        return self

    @property
    def next(self) -> str:
        moment = self.policy.status.next_schedule_time
        return f"{moment:%m-%d %H:%M}" if moment else ""

    @property
    def ready(self) -> tuple[str, str, str]:
        condition = find_condition(self.policy.status.conditions, "Ready")
        assert condition is not None
        return condition.status, condition.reason, condition.message


def kept(created: str = "2026-01-01T12:00", **fields: Any) -> Kept:
    metadata = {"uid": "u", "creationTimestamp": at(created)}
    policy = factories.policy(metadata=metadata).model_copy(update={"spec": spec(**fields)})
    return Kept(policy).look(created)


def test_a_slot_starts_once_however_often_one_looks() -> None:
    policy = kept().look("2026-01-02T01:59").look("2026-01-02T02:00").look("2026-01-02T02:01")
    assert (policy.started, policy.missed, policy.next) == (["01-02 02:00"], [], "01-03 02:00")
    assert policy.policy.status.last_schedule_time == at("2026-01-02T02:00")


@pytest.mark.parametrize(
    ("back", "catch_up", "started", "missed"),
    [
        ("2026-01-02T02:01", "Latest", ["01-02 02:00"], []),
        ("2026-01-02T02:01", "None", ["01-02 02:00"], []),
        ("2026-01-03T12:00", "Latest", ["01-03 02:00"], ["01-02 02:00"]),
        ("2026-01-03T12:00", "None", [], ["01-02 02:00", "01-03 02:00"]),
    ],
    ids=["minute", "minute, no catch-up", "days", "days, no catch-up"],
)
def test_operator_was_down(back: str, catch_up: str, started: list[str], missed: list[str]) -> None:
    policy = kept(catchUp=catch_up).look(back)
    assert (policy.started, policy.missed) == (started, missed)
    assert policy.policy.status.missed_runs == len(missed)


def test_operator_was_down_for_a_year() -> None:
    policy = kept(schedule="0 * * * *").look("2027-01-01T12:30")
    assert policy.started == ["01-01 12:00"]
    assert len(policy.missed) == MAX_MISSED_RUNS
    assert policy.policy.status.missed_runs == 365 * 24 - 1
    assert policy.look("2027-01-01T12:31").started == ["01-01 12:00"]


def test_clock_that_jumps_forward_and_back_runs_no_slot_twice() -> None:
    policy = kept(schedule="0 * * * *").look("2026-01-01T13:00").look("2026-01-01T18:30")
    assert (policy.started, policy.missed) == (
        ["01-01 13:00", "01-01 18:00"], ["01-01 14:00", "01-01 15:00", "01-01 16:00", "01-01 17:00"],
    )  # fmt: skip
    policy.look("2026-01-01T13:31")
    assert policy.next == "01-01 19:00"
    for hour in (14, 16, 18):
        policy.look(f"2026-01-01T{hour}:00")
    assert len(policy.started) == 2
    assert policy.look("2026-01-01T19:00").started[2:] == ["01-01 19:00"]


def test_clock_that_jumps_back_repeats_nothing() -> None:
    policy = kept().look("2026-01-02T02:00").look("2026-01-01T22:00").look("2026-01-02T02:00")
    assert (policy.started, policy.missed, policy.next) == (["01-02 02:00"], [], "01-03 02:00")


def test_clocks_go_forward_and_back() -> None:
    policy = kept("2026-03-28T12:00", schedule="30 2 * * *", timeZone="Europe/Berlin")
    assert policy.next == "03-29 01:00"
    policy.look("2026-03-29T01:00").look("2026-03-29T01:30")
    assert (policy.started, policy.next) == (["03-29 01:00"], "03-30 00:30")
    policy = kept("2026-10-24T12:00", schedule="30 2 * * *", timeZone="Europe/Berlin")
    policy.look("2026-10-25T00:30").look("2026-10-25T01:10").look("2026-10-25T01:30")
    assert (policy.started, policy.next) == (["10-25 00:30"], "10-26 01:30")


def test_leap_day() -> None:
    policy = kept("2026-03-01T00:00", schedule="0 0 29 2 *")
    assert policy.policy.status.next_schedule_time == at("2028-02-29T00:00")
    assert policy.look("2028-02-29T00:00").started == ["02-29 00:00"]


def test_edited_schedule_fires_no_past_slot_and_loses_none() -> None:
    """The slot of the old schedule that had not been started is missed; slots count from the edit on."""
    policy = kept().look("2026-01-02T01:00").edit(schedule="0 1,5 * * *").look("2026-01-02T03:00")
    assert (policy.started, policy.missed, policy.next) == ([], ["01-02 02:00"], "01-02 05:00")
    assert "when the schedule was changed" in policy.why
    assert policy.look("2026-01-02T05:00").started == ["01-02 05:00"]


def test_other_time_zone_fires_no_past_slot() -> None:
    policy = kept().look("2026-01-02T12:00").edit(timeZone="Asia/Tokyo").look("2026-01-02T20:00")
    assert (policy.started, policy.next) == (["01-02 02:00"], "01-03 17:00")


def test_slots_while_suspended_are_none() -> None:
    policy = kept().edit(suspend=True).look("2026-01-01T13:00").look("2026-01-05T12:00")
    assert (policy.started, policy.missed, policy.next) == ([], [], "")
    policy.edit().look("2026-01-05T12:00")
    assert (policy.started, policy.missed, policy.next) == ([], [], "01-06 02:00")
    assert policy.look("2026-01-06T02:00").started == ["01-06 02:00"]


def test_slots_while_suspended_are_accounted_for_by_one_run_when_it_is_resumed() -> None:
    policy = kept().look("2026-01-01T12:00").edit(suspend=True).look("2026-01-01T13:00")
    policy.look("2026-01-03T13:00")
    assert policy.skipped("2026-01-05T12:00") == ""
    resumed = policy.edit(suspend=False)
    assert resumed.skipped("2026-01-05T12:00") == (
        "01-05 02:00 the policy was suspended: "
        "4 slots from 2026-01-02T02:00Z to 2026-01-05T02:00Z did not start"
    )
    assert resumed.look("2026-01-05T12:00").skipped("2026-01-05T12:01") == "", "once"
    assert resumed.policy.status.last_schedule_time == at("2026-01-05T02:00")
    assert (resumed.started, resumed.missed) == ([], [])
    assert resumed.look("2026-01-06T02:00").started == ["01-06 02:00"]


def test_a_suspension_without_a_slot_makes_no_run() -> None:
    policy = kept().look("2026-01-01T12:00").edit(suspend=True).look("2026-01-01T13:00").edit(suspend=False)
    assert policy.skipped("2026-01-01T14:00") == ""
    assert policy.look("2026-01-01T14:00").policy.status.suspended is None


def test_jitter_puts_off_the_next_start_and_keeps_the_slot() -> None:
    later = delay_of(spec(jitter="45m"), "u")
    assert later > timedelta()
    policy = kept(jitter="45m")
    assert policy.policy.status.next_schedule_time == at("2026-01-02T02:00") + later
    assert policy.look("2026-01-02T02:00").started == []
    assert policy.look("2026-01-02T02:45").started == ["01-02 02:00"]
    assert policy.policy.status.last_schedule_time == at("2026-01-02T02:00")


def test_policy_made_between_slot_and_jitter_does_not_start_that_slot() -> None:
    policy = kept("2026-01-02T02:00:01", jitter="45m").look("2026-01-02T02:50")
    assert policy.started == []
    assert policy.next.startswith("01-03 02:")


def test_jitter_taken_away_doubles_and_loses_nothing() -> None:
    policy = kept(jitter="45m").look("2026-01-02T02:00").edit().look("2026-01-02T02:00")
    assert (policy.started, policy.next) == (["01-02 02:00"], "01-03 02:00")
    policy.edit(jitter="45m").look("2026-01-02T02:50")
    assert policy.started == ["01-02 02:00"]


def test_missing_time_zone_data_is_a_condition_and_loses_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = kept(timeZone="Asia/Tokyo")

    def missing(name: str) -> None:
        raise ZoneInfoNotFoundError(f"No time zone found with key {name}")

    with monkeypatch.context() as patched:
        patched.setattr(schedule, "ZoneInfo", missing)
        schedule._schedule.cache_clear()
        policy.look("2026-01-03T12:00")
    status, reason, message = policy.ready
    assert (status, reason) == ("False", "TimeZoneUnknown")
    assert "timeZone Asia/Tokyo" in message
    assert (policy.started, policy.missed, policy.next) == ([], [], "")
    policy.look("2026-01-04T12:00")
    assert policy.ready[:2] == ("True", "Scheduled")
    assert (policy.started, policy.missed) == (["01-03 17:00"], ["01-01 17:00", "01-02 17:00"])


@pytest.mark.parametrize("name", ["Mars/Olympus", "America", "Asia/No_Such"])
def test_unknown_time_zone_is_a_condition(name: str) -> None:
    assert kept(timeZone=name).ready[:2] == ("False", "TimeZoneUnknown")


def fresh(*runs: BackupRun) -> tuple[str, str]:
    """The status and the message of BackupFresh with these runs."""
    subject = factories.policy()
    situation = PolicySituation(subject, readiness(subject), factories.rows(runs), at("2026-01-02T03:00"))
    condition = find_condition(report_newest_runs(situation, subject.status).status.conditions, "BackupFresh")
    assert condition is not None
    return condition.status, condition.message


def test_a_backup_says_how_many_targets_it_has_when_some_are_missing() -> None:
    failed = [{"name": name, "engine": "redis", "phase": "Failed"} for name in ("b", "c")]
    targets = [factories.stored_target("one"), *failed]
    partial = factories.run(status={"phase": "PartiallySucceeded", "targets": targets})
    assert fresh(partial) == ("True", "run r holds 1 of 3 targets")
    whole = factories.run(status={"phase": "Succeeded", "targets": targets[:1]})
    assert fresh(whole) == ("True", "run r holds a backup")


def test_a_backup_that_an_optional_destination_lacks_says_why() -> None:
    why = "not in every destination: two: pod postgres-0 mounts claim data"
    held = {"targets": [factories.stored_target("one")], "message": why}
    lacking = factories.run(status={"phase": "PartiallySucceeded", **held})
    assert fresh(lacking) == ("True", f"run r holds a backup; {why}")


def test_a_policy_without_runs_says_where_the_survey_found_none() -> None:
    subject = factories.policy()
    places = places_of(subject.spec.destinations)
    catalogue = Catalogue(time=at("2026-01-01T00:00"), runs=0, places=places)
    surveyed = factories.policy(status=BackupPolicyStatus(catalogue=catalogue))
    for which, text in ((subject, ""), (surveyed, "; s3://backups/ns/p/catalogue holds no run: ")):
        situation = PolicySituation(which, readiness(which), (), at("2026-01-02T03:00"))
        conditions = report_newest_runs(situation, which.status).status.conditions
        condition = find_condition(conditions, "BackupFresh")
        assert condition is not None
        assert condition.message.startswith(f"no run of all targets has ended yet{text}")
        assert (condition.message == "no run of all targets has ended yet") == (which is subject)


def test_one_missed_slot_is_one() -> None:
    policy = kept(catchUp="None")
    now = at("2026-01-03T01:00")
    state = readiness(policy.policy)
    slots = slots_due(policy.policy, state, now)
    notices = record_slots(
        PolicySituation(policy.policy, state, (), now), policy.policy.status, slots
    ).notices
    assert [notice.message for notice in notices] == ["1 slot up to 2026-01-02T02:00Z was missed"]


def test_what_is_stored_in_another_place_of_the_name_is_not_in_the_destination() -> None:
    bucket = {"name": "one", "s3": {"bucket": "full"}}
    stored = factories.run(
        status={
            "phase": "Succeeded",
            "recoveryPoint": "2026-01-01T00:00:00Z",
            "destinations": [bucket],
            "targets": [factories.stored_target("one")],
        }
    )
    for place, is_there in (("full", True), ("empty", False)):
        subject = factories.policy(destinations=[bucket | {"s3": {"bucket": place}}])
        situation = PolicySituation(
            subject, readiness(subject), factories.rows([stored]), at("2026-01-02T03:00")
        )
        status = report_recovery_windows(situation, subject.status).status
        held = [(one.name, one.stored_bytes, one.recovery_window is not None) for one in status.destinations]
        assert held == ([("one", 1, True)] if is_there else [])


def test_a_run_of_a_part_counts_for_the_policy_in_nothing_but_its_bytes() -> None:
    """The newest run of all targets has failed; then a part was backed up by hand."""
    skipped = {"name": "b", "engine": "redis", "phase": "Skipped"}
    destinations = [factories.ONE]
    common = {"phase": "Succeeded", "destinations": destinations}
    part = factories.run(
        "part",
        targets=["a"],
        metadata={"creationTimestamp": "2026-01-02T02:00:00Z"},
        status=common
        | {
            "recoveryPoint": "2026-01-02T02:00:00Z",
            "completionTime": "2026-01-02T02:10:00Z",
            "targets": [factories.stored_target("one"), skipped],
        },
    )
    failed = factories.run(
        "failed",
        metadata={"creationTimestamp": "2026-01-02T01:00:00Z"},
        status={"phase": "Failed", "message": "broken"},
    )
    assert fresh(part, failed) == ("False", "run failed: broken")
    assert fresh(part) == ("Unknown", "no run of all targets has ended yet")
    subject = factories.policy(targets=factories.targets("a", "b"), destinations=destinations)
    situation = PolicySituation(subject, readiness(subject), factories.rows([part]), at("2026-01-02T03:00"))
    status = report_newest_runs(situation, subject.status).status
    assert (status.last_successful_time, status.last_run) == (None, "part")
    (held,) = report_recovery_windows(situation, status).status.destinations
    assert (held.recovery_window, held.stored_bytes) == (None, 1)
