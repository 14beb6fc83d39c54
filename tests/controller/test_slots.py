"""What is in the way of a slot's run: a quota, another object of its name, a clock that was ahead."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.controller.client import Client, Namespace, wait_for

pytestmark = pytest.mark.usefixtures("operator")

RUN = "chatbot-202601010000"
COUNT = "count/backupruns.holdfast.dev"


def _come_due(namespace: Namespace, **status: Any) -> None:
    """A policy whose slot came while no operator ran."""
    namespace.policy(schedule="0 0 1 1 *", history={"failed": 0})
    since = {"observedGeneration": 1, "scheduled": "0 0 1 1 * UTC", "scheduledSince": "2025-12-31T12:00:00Z"}
    namespace.patch("BackupPolicy", "chatbot", {"status": since | status}, subresource="/status")


def _condition(namespace: Namespace, name: str, status: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        conditions = namespace.status("BackupPolicy", "chatbot").get("conditions", [])
        return next((each for each in conditions if (each["type"], each["status"]) == (name, status)), None)

    return wait_for(f"{name} to be {status}", found)


def test_a_refused_run_is_named_and_all_else_goes_on(client: Client, namespace: Namespace) -> None:
    namespace.run("failed", "chatbot")  # of no policy: the history of the policy to come keeps none such
    namespace.wait_phase("BackupRun", "failed", "Failed")
    path = f"/api/v1/namespaces/{namespace.name}/resourcequotas"
    client.must("POST", path, {"metadata": {"name": "few-runs"}, "spec": {"hard": {COUNT: "1"}}})
    used = {"status": {"hard": {COUNT: "1"}, "used": {COUNT: "1"}}}
    client.must("PATCH", f"{path}/few-runs/status", used)
    _come_due(namespace)
    ready = _condition(namespace, "Ready", "False")
    assert ready["reason"] == "RunRefused"
    assert "exceeded quota: few-runs" in ready["message"]
    status = namespace.status("BackupPolicy", "chatbot")
    assert status["nextScheduleTime"] > f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    wait_for("the history to be pruned", lambda: not namespace.get("BackupRun", "failed"))
    client.must("DELETE", f"{path}/few-runs")
    namespace.patch("BackupPolicy", "chatbot", {"metadata": {"labels": {"look": "again"}}})
    namespace.wait_phase("BackupRun", RUN, "Succeeded")
    _condition(namespace, "Ready", "True")


def test_a_slot_has_its_run_though_something_else_has_its_name(namespace: Namespace) -> None:
    namespace.run(RUN, "other")
    _come_due(namespace)
    assert namespace.wait_phase("BackupRun", f"{RUN}-slot", "Succeeded", "Failed")["phase"] == "Succeeded"
    condition = _condition(namespace, "OnSchedule", "False")
    assert condition["reason"] == "RunNameTaken"
    assert condition["message"] == (
        f"BackupRun {RUN} is not the run of the slot 2026-01-01T00:00Z: it belongs to policy other, "
        f"its run is {RUN}-slot"
    )


def test_a_clock_that_was_ahead_is_said_and_silences_nothing(namespace: Namespace) -> None:
    _come_due(namespace, lastScheduleTime="2199-01-01T00:00:00Z", nextScheduleTime="2200-01-01T00:00:00Z")
    condition = _condition(namespace, "OnSchedule", "False")
    assert condition["reason"] == "ClockWasAhead"
    assert "2199-01-01T00:00:00Z, which is still to come" in condition["message"]
    status = namespace.status("BackupPolicy", "chatbot")
    assert status["nextScheduleTime"] == f"{datetime.now(UTC).year + 1}-01-01T00:00:00Z"
    assert "lastScheduleTime" not in status
