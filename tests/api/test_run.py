"""The contract of a BackupRun, as a real API server keeps it."""

import pytest
from tests.api.objects import ABSENT, EXAMPLES, Case, changed, collection, judge, try_create
from tests.apiserver import ApiServer

NEEDS_TIME = "scheduledTime is needed with trigger Schedule or CatchUp"

CASES = [
    Case("run", "metadata/name", "a" * 63),
    Case("run", "metadata/name", "a" * 64, "metadata.name must have at most 63 characters"),
    Case("run", "metadata/name", "catalogue", "metadata.name must not be catalogue or wal"),
    Case("run", "metadata/name", "wal", "metadata.name must not be catalogue or wal"),
    Case("run", "metadata/name", "wal-2026"),
    *[Case("run", "spec/trigger", value) for value in ("Schedule", "CatchUp", "Manual", "Safety", ABSENT)],
    Case("run", "spec/trigger", "Cron", "Unsupported value"),
    Case("run", "spec/scheduledTime", ABSENT, NEEDS_TIME),
    Case("run", "spec", {"policyRef": {"name": "a"}, "trigger": "Schedule"}, NEEDS_TIME),
    Case("run", "spec", {"policyRef": {"name": "a"}}),
    Case("run", "spec", {"policyRef": {"name": "a"}, "trigger": "Safety"}),
    Case("run", "spec/scheduledTime", "2026-02-28T08:15:00+07:00"),
    Case("run", "spec/scheduledTime", "2026-02-30T08:15:00Z", "Invalid value"),
    Case("run", "spec/scheduledTime", "yesterday", "Invalid value"),
    Case("run", "spec/policyRef", ABSENT, "Required value"),
    Case("run", "spec/policyRef/name", "Support_Desk", "should match"),
    Case("run", "spec/policyRef/namespace", "other", "unknown field"),
    Case("run", "spec", ABSENT, "Required value"),
    Case("run", "spec/targets", ABSENT),
    Case("run", "spec/targets", [], "should have at least 1 items"),
    Case("run", "spec/targets", [f"t{number}" for number in range(20)]),
    Case("run", "spec/targets", [f"t{number}" for number in range(21)], "must have at most 20 items"),
    Case("run", "spec/targets", ["tickets", "tickets"], "Duplicate value"),
    Case("run", "spec/targets", ["Tickets"], "should match"),
]

UPDATES = [
    ("spec/policyRef/name", "other", "policyRef is immutable"),
    ("spec/scheduledTime", "2026-02-28T01:16:00Z", "scheduledTime is immutable"),
    ("spec/trigger", "Manual", "trigger is immutable"),
    ("spec", {"policyRef": {"name": "support-desk"}, "trigger": "Manual"}, "scheduledTime is immutable"),
    ("spec/targets", ["tickets", "queue"], "targets is immutable"),
    ("spec/targets", ABSENT, "targets is immutable"),
    ("spec/cancel", True, None),
    ("metadata/labels", {"a": "b"}, None),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(apiserver: ApiServer, case: Case) -> None:
    judge(apiserver, case)


def test_defaults(apiserver: ApiServer) -> None:
    status, answer = try_create(apiserver, changed(EXAMPLES["run"], "spec", {"policyRef": {"name": "a"}}))
    assert status == 201
    assert answer["spec"] == {"policyRef": {"name": "a"}, "trigger": "Manual", "cancel": False}


@pytest.mark.parametrize(("path", "value", "refusal"), UPDATES)
def test_update(apiserver: ApiServer, path: str, value: object, refusal: str | None) -> None:
    namespace = apiserver.create_namespace("run")
    runs = collection("BackupRun", namespace)
    created = apiserver.must("POST", runs, EXAMPLES["run"])
    address = f"{runs}/{created['metadata']['name']}"
    status, answer = apiserver.request("PUT", address, changed(created, path, value))
    if refusal is None:
        assert status == 200, answer
    else:
        assert status == 422
        assert refusal in answer["message"]


def test_a_time_cannot_be_added(apiserver: ApiServer) -> None:
    runs = collection("BackupRun", apiserver.create_namespace("run"))
    manual = changed(EXAMPLES["run"], "spec", {"policyRef": {"name": "a"}})
    created = apiserver.must("POST", runs, manual)
    added = changed(created, "spec/scheduledTime", "2026-02-28T01:15:00Z")
    status, answer = apiserver.request("PUT", f"{runs}/{created['metadata']['name']}", added)
    assert status == 422
    assert "scheduledTime is immutable" in answer["message"]


def test_cancel_is_not_taken_back(apiserver: ApiServer) -> None:
    runs = collection("BackupRun", apiserver.create_namespace("run"))
    created = apiserver.must("POST", runs, changed(EXAMPLES["run"], "spec/cancel", True))
    for value in (False, ABSENT):
        back = changed(created, "spec/cancel", value)
        status, answer = apiserver.request("PUT", f"{runs}/{created['metadata']['name']}", back)
        assert status == 422
        assert "cancel cannot be taken back" in answer["message"]
