"""A BackupPolicy's slots, conditions and history, by the real operator on a real API server."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from tests.controller.client import Namespace, wait_for

pytestmark = pytest.mark.usefixtures("operator")

YEARLY = "0 0 1 1 *"


def _handled_until(namespace: Namespace, schedule: str, moment: str) -> None:
    """As if the operator had last looked at the policy then."""
    status = {"observedGeneration": 1, "scheduled": f"{schedule} UTC", "scheduledSince": moment}
    namespace.patch("BackupPolicy", "chatbot", {"status": status}, subresource="/status")


def test_schedule_that_never_comes_is_not_ready(namespace: Namespace) -> None:
    namespace.policy(schedule="0 0 30 2 *")

    def reason() -> str | None:
        conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
        return next(
            (c["reason"] for c in conditions if c["type"] == "Ready" and c["status"] == "False"), None
        )

    assert wait_for("Ready to be False", reason) == "ScheduleNeverDue"
    assert "ScheduleNeverDue" in namespace.events("BackupPolicy", "chatbot")


def test_a_run_by_hand_fails_without_a_job_when_two_destinations_are_one_place(namespace: Namespace) -> None:
    place = {"s3": {"bucket": "backups", "endpoint": "http://s3:7070"}}
    namespace.policy(destinations=[{"name": "primary"} | place, {"name": "second"} | place])
    namespace.run("now")
    status = namespace.wait_phase("BackupRun", "now", "Failed", "Succeeded")
    assert (status["phase"], status["reason"]) == ("Failed", "SamePlace")
    assert "destinations[second] is the same place as destinations[primary]" in status["message"]
    assert namespace.items("Job") == []


def test_next_slot_is_shown(namespace: Namespace) -> None:
    namespace.policy(schedule="0 2 1 1 *", timeZone="Asia/Ho_Chi_Minh")
    shown = wait_for("it", lambda: namespace.status("BackupPolicy", "chatbot").get("nextScheduleTime"))
    assert shown[5:] == "12-31T19:00:00Z"


def test_slots_of_a_downtime(namespace: Namespace) -> None:
    """The newest starts as CatchUp, ten before it are Missed runs, and all of them are counted."""
    six_hours_ago = datetime.now(UTC) - timedelta(hours=6)
    schedule = f"0 {six_hours_ago.hour} * * *"
    namespace.policy(schedule=schedule, history={"failed": 50})
    _handled_until(namespace, schedule, f"{six_hours_ago - timedelta(days=300):%Y-%m-%dT%H:%M:%SZ}")
    wait_for("the status", lambda: namespace.status("BackupPolicy", "chatbot").get("lastScheduleTime"))
    wait_for("the runs", lambda: len(namespace.items("BackupRun")) >= 11)
    runs = {run["metadata"]["name"]: run for run in namespace.items("BackupRun")}
    newest = runs.pop(max(runs))
    assert newest["spec"]["trigger"] == "CatchUp"
    assert len(runs) == 10
    for name in runs:
        namespace.wait_phase("BackupRun", name, "Missed")
    assert namespace.status("BackupPolicy", "chatbot")["missedRuns"] in (299, 300)
    namespace.wait_phase("BackupRun", newest["metadata"]["name"], "Succeeded")


def test_edited_schedule_fires_no_past_slot(namespace: Namespace) -> None:
    namespace.policy(schedule=YEARLY)
    first = wait_for("it", lambda: namespace.status("BackupPolicy", "chatbot").get("nextScheduleTime"))
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"schedule": "* * 1 2 *"}})

    def changed() -> bool:
        return bool(namespace.status("BackupPolicy", "chatbot").get("nextScheduleTime") != first)

    wait_for("the next slot to change", changed)
    assert namespace.items("BackupRun") == []


def test_a_policy_that_is_resumed_accounts_for_the_slots_of_its_suspension(namespace: Namespace) -> None:
    namespace.policy(schedule="0 2 * * *", suspend=True)

    def suspended() -> bool:
        return "suspendedSince" in namespace.status("BackupPolicy", "chatbot")

    wait_for("the suspension to be known", suspended)
    since = {"suspendedSince": f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"}
    namespace.patch("BackupPolicy", "chatbot", {"status": since}, subresource="/status")
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"suspend": False}})
    run = wait_for("the run that speaks for them", lambda: next(iter(namespace.items("BackupRun")), None))
    status = namespace.wait_phase("BackupRun", run["metadata"]["name"], "Skipped")
    assert status["reason"] == "Suspended"
    assert "3 slots from" in status["message"]
    wait_for("the suspension to be forgotten", lambda: not suspended())
    assert len(namespace.items("BackupRun")) == 1
    assert namespace.items("Job") == []


def test_due_slot_starts_a_run(namespace: Namespace) -> None:
    """The slot of the next whole minute, as it comes."""
    namespace.policy(schedule="* * * * *")
    run = wait_for("a run", lambda: next(iter(namespace.items("BackupRun")), None), 70)
    assert run["spec"]["trigger"] == "Schedule"
    slot, created = run["spec"]["scheduledTime"], run["metadata"]["creationTimestamp"]
    assert slot[:16] == created[:16], "made in the minute that it is for"
    assert int(created[17:19]) <= 3
    namespace.wait_phase("BackupRun", run["metadata"]["name"], "Running", "Committing", "Succeeded")
    namespace.patch("BackupPolicy", "chatbot", {"spec": {"suspend": True}})
    namespace.wait_phase("BackupRun", run["metadata"]["name"], "Succeeded")


def _ended(namespace: Namespace, name: str) -> bool:
    run = namespace.get("BackupRun", name)
    return not run or "completionTime" in run.get("status", {})


def test_failed_runs_beyond_history_are_deleted(namespace: Namespace) -> None:
    namespace.policy(history={"failed": 2})
    for number in range(4):
        namespace.run(f"r{number}", cancel=True)
        wait_for("it to end", partial(_ended, namespace, f"r{number}"))
    namespace.run("good")
    namespace.wait_phase("BackupRun", "good", "Succeeded")
    wait_for("the oldest to go", lambda: len(namespace.items("BackupRun")) == 3)
    assert "good" in {run["metadata"]["name"] for run in namespace.items("BackupRun")}
