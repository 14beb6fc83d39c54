"""Which run is verified when, with a clock that the test holds, and what a run says of it."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import factories
from tests.domain.plan.calendar import MINUTE, Calendar, utc
from tests.factories import ONE, SHA, TWO, rows, stored_target, with_status

from holdfast.api.conditions import find_condition
from holdfast.api.policy import BackupPolicy, BackupPolicySpec
from holdfast.api.run import BackupRun, BackupRunStatus, ExpiringCopy, Failure, VerificationPhase
from holdfast.destinations.s3 import S3
from holdfast.domain.backup import verification
from holdfast.domain.backup.retention import backup_of
from holdfast.domain.complaints import Complaint
from holdfast.domain.labels import VERIFY
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.plan.schedule import delay_of
from holdfast.domain.rows import request_of, row_of
from holdfast.domain.tasks import verify_task
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import VerifiedCopy, VerifyResult

NOW = datetime(2026, 1, 4, 5, tzinfo=UTC)
START = timedelta(minutes=2)
JOB = Job("j", "ns", "ju", "ru", "", "Verify", "", "", NOW)
PLACES: list[dict[str, Any]] = [ONE, TWO]
COPY = VerifiedCopy(destination="one", objects=3, bytes_read=3 << 20, seconds=1.5)
GOOD = Observation(JOB, 1, NOW, NOW, result=VerifyResult(copies=(COPY,)))


def spec(**fields: Any) -> BackupPolicySpec:
    minimal = {"destinations": PLACES, "verification": {"schedule": "0 5 * * 0", "mode": "Checksum"}}
    return factories.spec(**minimal | fields)


def policy(**fields: Any) -> BackupPolicy:
    return factories.policy().model_copy(update={"spec": spec(**fields)})


def stored(name: str, point: datetime, *places: str, phase: str = "Succeeded", **more: Any) -> BackupRun:
    """A run with a copy of its only target in each of `places`."""
    metadata = {"uid": name, "annotations": more.pop("annotations", {})}
    status = {
        "phase": phase,
        "recoveryPoint": point,
        "destinations": PLACES,
        "targets": [stored_target(*places, manifestSha256=SHA)],
    }
    return factories.run(name, metadata=metadata, status=status | more)


@dataclass
class World:
    """A policy and its runs. `look` is a reconcile of the policy; Jobs end when the test says so."""

    policy: BackupPolicy
    runs: dict[str, BackupRun] = field(default_factory=dict)
    begun: list[tuple[str, datetime]] = field(default_factory=list)
    """Run and slot of every verification that was begun."""

    def store(self, name: str, point: datetime, *places: str, **more: Any) -> None:
        self.runs[name] = stored(name, point, *(places or ("one", "two")), **more)

    def look(self, now: datetime, *, killed: bool = False) -> "World":
        """With `killed` the operator dies before it has written the policy's status."""
        state = readiness(self.policy)
        runs = rows(self.runs.values())
        decision = verification.decide(self.policy, self.policy.status, state, runs, now)
        if decision.row is not None:
            assert decision.slot is not None
            name = decision.row.name
            mark = verification.with_verification_marked(self.runs[name], slot=decision.slot)
            self.runs[name] = with_status(self.runs[name], mark)
            self.begun.append((name, decision.slot))
        if not killed:
            self.policy = self.policy.model_copy(update={"status": decision.status})
        return self

    def end(self, now: datetime, seen: Observation = GOOD) -> None:
        """The Job of the verification that is under way ends."""
        for name, run in self.runs.items():
            if verification.is_active(run):
                seen = dataclasses.replace(seen, ended=now)
                self.runs[name] = with_status(run, verification.advance(run, seen, START, now).status)

    def edit(self, **fields: Any) -> "World":
        self.policy = self.policy.model_copy(update={"spec": spec(**fields)})
        return self

    @property
    def verified(self) -> tuple[str, str, str]:
        condition = find_condition(self.policy.status.conditions, "RecoveryVerified")
        assert condition is not None
        return condition.status, condition.reason, condition.message

    @property
    def next(self) -> datetime | None:
        return self.policy.status.next_verification_time


SUNDAY = utc("2026-01-04T05:00")
WEEK = timedelta(days=7)


def world(**fields: Any) -> World:
    """On Saturday, with an older and a newer run."""
    made = World(policy(**fields))
    made.store("old", SUNDAY - timedelta(days=2))
    made.store("new", SUNDAY - timedelta(days=1))
    return made.look(SUNDAY - timedelta(hours=20))


def test_the_newest_run_is_verified_at_the_slot_and_once() -> None:
    at = world()
    assert (at.begun, at.next) == ([], SUNDAY)
    assert at.verified[:2] == ("Unknown", "NotVerifiedYet")
    for minutes in (-1, 0, 0, 1, 60):
        at.look(SUNDAY + timedelta(minutes=minutes))
    assert (at.begun, at.next) == ([("new", SUNDAY)], SUNDAY + WEEK)
    at.end(SUNDAY + timedelta(minutes=70))
    at.look(SUNDAY + timedelta(minutes=71)).look(SUNDAY + timedelta(days=1))
    assert len(at.begun) == 1
    assert at.policy.status.last_verified_time == SUNDAY + timedelta(minutes=70)
    status, reason, message = at.verified
    assert (status, reason) == ("True", "ChecksumsMatch")
    assert message.startswith("run new: every stored byte was read back")
    assert message.endswith("3 objects of 3.0MiB in one (2 s); it was not restored")
    at.look(SUNDAY + WEEK)
    assert at.begun[1:] == [("new", SUNDAY + WEEK)]
    assert at.verified[0] == "True"


def test_killed_between_mark_and_status_a_slot_verifies_no_second_run() -> None:
    at = world().look(SUNDAY, killed=True)
    at.end(SUNDAY + MINUTE)
    at.store("newer", SUNDAY + MINUTE)
    at.look(SUNDAY + 2 * MINUTE, killed=True).look(SUNDAY + 3 * MINUTE).look(SUNDAY + 4 * MINUTE)
    assert at.begun == [("new", SUNDAY)]
    assert at.policy.status.last_verified_time == SUNDAY + MINUTE


def test_after_a_downtime_the_newest_slot_is_made_up_for() -> None:
    at = world().look(SUNDAY + 3 * WEEK + timedelta(days=3)).look(SUNDAY + 3 * WEEK + timedelta(days=4))
    assert (at.begun, at.next) == ([("new", SUNDAY + 3 * WEEK)], SUNDAY + 4 * WEEK)


def test_a_slot_waits_for_the_verification_before_it() -> None:
    at = world(verification={"schedule": "@hourly", "mode": "Checksum"})
    first = at.next
    assert first is not None
    hour = timedelta(hours=1)
    at.look(first)
    at.store("newer", first)
    at.look(first + hour).look(first + 2 * hour + MINUTE)
    assert (at.begun, at.next) == ([("new", first)], first + 3 * hour)
    at.end(first + 2 * hour + 2 * MINUTE)
    at.look(first + 2 * hour + 2 * MINUTE)
    assert at.begun[1:] == [("newer", first + 2 * hour)]


def test_runs_without_a_whole_copy_are_passed_over() -> None:
    at = world()
    at.store("failed", SUNDAY, phase="Failed")
    going = [ExpiringCopy(destination=name, begun=True).to_json() for name in ("one", "two")]
    at.store("going", SUNDAY, expiring=going)
    at.store("half", SUNDAY - MINUTE, expiring=going[:1], phase="PartiallySucceeded")
    at.look(SUNDAY)
    assert at.begun == [("half", SUNDAY)]
    task = verify_task(at.runs["half"], at.policy)
    assert task is not None
    assert [each.name for each in task.destinations] == ["two"]
    assert [(each.name, each.manifest_sha256) for each in task.targets] == [("a", SHA)]
    assert verify_task(at.runs["going"], at.policy) is None


def test_a_run_of_a_part_is_not_the_policys_newest_and_verifies_nothing_of_the_policy() -> None:
    part = {"name": "b", "engine": "redis", "phase": "Skipped"}
    verified = {"phase": "Succeeded", "time": NOW, "reason": "ChecksumsMatch", "message": "fine"}
    whole, newer = stored("whole", NOW - timedelta(days=2), "one"), stored("part", NOW, "one")
    newer = factories.run(
        "part",
        targets=["a"],
        status=newer.status.to_json()
        | {"targets": [stored_target("one", manifestSha256=SHA), part], "verification": verified},
    )
    subject = policy()
    known = rows([whole, newer])
    assert verification._newest(known) == known[0]
    status = verification.decide(subject, subject.status, readiness(subject), known, NOW).status
    assert status.last_verified_time is None
    condition = find_condition(status.conditions, "RecoveryVerified")
    assert condition is not None
    assert (condition.status, condition.reason) == ("Unknown", "NotVerifiedYet")


def test_without_a_run_the_slot_passes_and_the_condition_says_so() -> None:
    at = World(policy()).look(SUNDAY - MINUTE).look(SUNDAY)
    assert (at.begun, at.next) == ([], SUNDAY + WEEK)
    at.store("late", SUNDAY + MINUTE)
    assert at.look(SUNDAY + MINUTE).begun == []
    assert at.verified[:2] == ("Unknown", "NotVerifiedYet")


def test_an_edited_schedule_has_no_past_slots() -> None:
    at = world().edit(verification={"schedule": "0 2 * * *", "mode": "Checksum"})
    at.look(SUNDAY + timedelta(hours=1))
    assert (at.begun, at.next) == ([], utc("2026-01-05T02:00"))
    at.edit(timeZone="Asia/Tokyo", verification={"schedule": "0 2 * * *", "mode": "Checksum"})
    at.look(SUNDAY + timedelta(days=2))
    assert (at.begun, at.next) == ([], utc("2026-01-06T17:00"))


def test_without_verification_nothing_of_it_is_left_but_its_time() -> None:
    at = world().look(SUNDAY)
    at.end(SUNDAY + MINUTE)
    at.look(SUNDAY + MINUTE).edit(verification=None).look(SUNDAY + WEEK)
    status = at.policy.status
    assert find_condition(status.conditions, "RecoveryVerified") is None
    assert (status.next_verification_time, status.verification_scheduled) == (None, None)
    assert (len(at.begun), status.last_verified_time) == (1, SUNDAY + MINUTE)


def test_a_suspended_policy_is_verified() -> None:
    assert world(schedule="@daily", suspend=True).look(SUNDAY).begun == [("new", SUNDAY)]


def test_jitter_puts_it_off() -> None:
    later = delay_of(spec(jitter="45m"), "pu")
    at = world(jitter="45m")
    assert (at.next, later > timedelta()) == (SUNDAY + later, True)
    assert at.look(SUNDAY + later - MINUTE).begun == []
    assert at.look(SUNDAY + later).begun == [("new", SUNDAY)]


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        (
            {"verification": {"schedule": "0 0 30 2 *", "mode": "Checksum"}},
            "ScheduleNeverDue",
            "verification.schedule '0 0 30 2 *' is never due",
        ),
        ({"timeZone": "Mars/Olympus"}, "TimeZoneUnknown", "timeZone Mars/Olympus"),
        (
            {"verification": {"schedule": "@weekly"}},
            "NotSupportedYet",
            "not supported yet: verification.mode: Restore (the default; set verification.mode: Checksum)",
        ),
    ],
)
def test_what_cannot_be_is_a_condition_and_loses_no_slot(
    fields: dict[str, Any], reason: str, message: str
) -> None:
    at = world().edit(**fields).look(SUNDAY)
    state = readiness(at.policy)
    assert (state.is_ready, state.reason) == (False, reason)
    assert state.message.startswith(message)
    assert (at.begun, at.next) == ([], None)
    assert at.edit().look(SUNDAY + MINUTE).begun == [("new", SUNDAY)]


def test_what_was_known_stays_when_its_run_is_gone() -> None:
    at = world().look(SUNDAY)
    at.end(SUNDAY + MINUTE)
    at.look(SUNDAY + MINUTE)
    before = at.verified
    del at.runs["new"]
    at.look(SUNDAY + timedelta(days=1))
    assert (at.verified, at.policy.status.last_verified_time) == (before, SUNDAY + MINUTE)


# What a run says.


def begun(**more: Any) -> BackupRun:
    run = stored("r", NOW, "one", "two", **more)
    return with_status(run, verification.with_verification_marked(run, slot=NOW))


def broken(reason: str, message: str = "it broke") -> Observation:
    return Observation(JOB, 1, NOW, NOW, failure=Failure(reason=reason, message=message))


def condition(run: BackupRunStatus) -> tuple[str, str]:
    found = find_condition(run.conditions, "Verified")
    assert found is not None
    return found.status, found.reason


def phase(status: BackupRunStatus) -> VerificationPhase:
    assert status.verification is not None
    return status.verification.phase


def test_a_good_run_is_verified_for_retention() -> None:
    step = verification.advance(begun(), GOOD, START, NOW)
    assert (phase(step.status), condition(step.status)) == ("Succeeded", ("True", "ChecksumsMatch"))
    (notice,) = step.notices
    assert (notice.reason, notice.warning) == ("Verified", False)
    run = with_status(begun(), step.status)
    assert backup_of(row_of(run), run.status.destinations).is_verified


def test_a_bad_copy_takes_the_verdict_back() -> None:
    good = verification.advance(begun(), GOOD, START, NOW).status
    again = with_status(
        begun(), verification.with_verification_marked(with_status(begun(), good), slot=NOW + WEEK)
    )
    assert condition(again.status) == ("True", "ChecksumsMatch")
    step = verification.advance(again, broken("ChecksumMismatch", "s3://a is bad"), START, NOW)
    assert (phase(step.status), condition(step.status)) == ("Failed", ("False", "ChecksumMismatch"))
    (notice,) = step.notices
    assert (notice.reason, notice.message, notice.warning) == ("VerificationFailed", "s3://a is bad", True)
    run = with_status(again, step.status)
    assert not backup_of(row_of(run), run.status.destinations).is_verified


def test_one_that_could_not_be_carried_out_tells_nothing_of_the_bytes() -> None:
    unreachable = broken("DestinationUnreachable")
    step = verification.advance(begun(), unreachable, START, NOW)
    assert (phase(step.status), condition(step.status)) == ("Failed", ("Unknown", "VerificationFailed"))
    assert "DestinationUnreachable: it broke" in step.notices[0].message
    good = verification.advance(begun(), GOOD, START, NOW).status
    again = with_status(
        begun(), verification.with_verification_marked(with_status(begun(), good), slot=NOW + WEEK)
    )
    step = verification.advance(again, unreachable, START, NOW)
    assert (phase(step.status), condition(step.status)) == ("Failed", ("True", "ChecksumsMatch"))
    at = World(policy(), {"r": with_status(again, step.status)}).look(NOW)
    assert at.verified[:2] == ("False", "VerificationFailed")
    assert at.policy.status.last_verified_time is None


def test_a_job_that_goes_on_says_what_holds_it_up() -> None:
    run = begun()
    retried = Observation(JOB, 2, NOW, attempt_failure=Failure(reason="DestinationFailed", message="503"))
    held_up = Observation(JOB, 1, complaint=Complaint("Unschedulable", "no room"), waiting_since=NOW)
    found = []
    for seen in (Observation(JOB, 1, NOW, running_pod="p"), retried, held_up):
        status = verification.advance(run, seen, START, NOW).status
        assert status.verification is not None
        found.append((phase(status), status.verification.reason))
        assert status.verification.slot == NOW
    assert found == [("Running", None), ("Running", "Retrying"), ("Running", "Unschedulable")]
    step = verification.advance(run, held_up, START, NOW + START)
    assert (phase(step.status), condition(step.status)) == ("Failed", ("Unknown", "VerificationFailed"))


def test_asked_for_by_annotation_once_for_each_value() -> None:
    assert request_of(stored("r", NOW, "one")) is None
    run = stored("r", NOW, "one", annotations={VERIFY: "now"})
    assert request_of(run) == "now"
    by_hand = with_status(run, verification.with_verification_marked(run, requested="now"))
    assert request_of(by_hand) is None
    slot = with_status(by_hand, verification.with_verification_marked(by_hand, slot=NOW))
    assert request_of(slot) is None
    assert verification.job_part(slot) == "verify.202601040500"
    assert verification.job_part(by_hand) not in ("verify.", verification.job_part(slot))


def test_credentials_are_the_policys_as_they_are_now() -> None:
    newer = [PLACES[0] | {"s3": {"bucket": "backups", "credentialsSecret": {"name": "new"}}}, PLACES[1]]
    task = verify_task(begun(), policy(destinations=newer))
    assert task is not None
    spec = task.destinations[0].spec
    assert isinstance(spec, S3)
    assert spec.credentials_secret is not None
    elsewhere = verify_task(begun(), policy(destinations=[PLACES[0] | {"s3": {"bucket": "other"}}]))
    assert elsewhere is not None
    assert [isinstance(each.spec, S3) and each.spec.bucket for each in elsewhere.destinations] == [
        "backups",
        "more",
    ]


# Weeks of it, against the calendar.

FROM, UNTIL = utc("2026-03-20T00:00"), utc("2026-04-10T00:00")
CALENDAR = Calendar(FROM - timedelta(days=1), UNTIL + timedelta(days=1))
"""Berlin's clocks go forward on 29 March, those of Lord Howe half an hour back on 5 April."""


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["@hourly", "30 2 * * *", "0 5 * * 0", "*/40 1 * * *", "0 */6 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    st.lists(
        st.tuples(st.integers(1, 900), st.sampled_from(["look", "look", "killed", "end", "run", "down"])),
        max_size=120,
    ),
)
def test_weeks_of_slots_each_once_and_none_at_the_same_time(
    expression: str, zone: str, steps: list[tuple[int, str]]
) -> None:
    at = World(policy(timeZone=zone, verification={"schedule": expression, "mode": "Checksum"}))
    at.store("r000", FROM)
    at.look(FROM)
    now, slots = FROM, CALENDAR.slots(expression, zone)
    for number, (minutes, action) in enumerate(steps, 1):
        before = now
        now += timedelta(minutes=minutes)
        if now > UNTIL:
            break
        was_active = any(map(verification.is_active, at.runs.values()))
        if action == "down":
            continue
        if action == "run":
            at.store(f"r{number:03}", now)
        elif action == "end":
            at.end(now)
            was_active = False
        before_look = len(at.begun)
        at.look(now, killed=action == "killed")
        passed = [slot for slot in slots if FROM < slot <= now]
        dealt_with = {slot for _, slot in at.begun}
        assert len(at.begun) - before_look <= 1
        assert sum(map(verification.is_active, at.runs.values())) <= 1
        if passed and not was_active:
            assert passed[-1] in dealt_with, (before, now)
        if len(at.begun) > before_look:
            name, slot = at.begun[-1]
            assert (name, slot) == (max(at.runs), passed[-1])
            assert not was_active
        if action != "killed":
            following = next((slot for slot in slots if slot > now), None)
            assert following is None or at.next == following
    assert set(Counter(slot for _, slot in at.begun).values()) <= {1}
    assert {slot for _, slot in at.begun} <= set(slots)


def test_a_run_without_a_copy_says_whether_it_ever_had_one() -> None:
    never = verification.nothing_stored(factories.run("run-bad-pw", status={"phase": "Failed"}))
    assert (never.reason, never.message) == ("NothingStored", "run run-bad-pw is Failed and holds no backup")
    gone = verification.nothing_stored(stored("r", NOW))
    assert gone.message == "no destination holds all of run r"
