"""Which run a restore by its policy means, and how a restore ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import factories
from tests.factories import rows

from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun, Failure
from holdfast.domain import restoration
from holdfast.domain.restoration import RefusedError, choose_run
from holdfast.domain.targets import JobFacts
from holdfast.domain.workload import Job, Observation

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def request(**wanted: Any) -> RestoreRequest:
    return RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag"},
            "spec": {"source": {"policyRef": {"name": "chatbot", **wanted}}},
        }
    )


def run(day: int, verified: str | None = None) -> BackupRun:
    time = f"2026-11-{day:02}T02:00:00Z"
    condition = {"type": "Verified", "status": verified, "reason": "x", "lastTransitionTime": time}
    status = {
        "phase": "Succeeded",
        "recoveryPoint": time,
        "targets": [{"name": "kb", "engine": "postgres", "phase": "Succeeded"}],
        "conditions": [condition] if verified else [],
    }
    return factories.run(f"chatbot-{day}", policy="chatbot", status=status)


RUNS = [run(1, "True"), run(2, "True"), run(3, "False"), run(4, "Unknown"), run(5)]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({}, "chatbot-5"),
        ({"select": "LatestVerified"}, "chatbot-2"),
        ({"select": "LatestVerified", "notAfter": "2026-11-01T12:00:00Z"}, "chatbot-1"),
    ],
)
def test_the_newest_run_that_is_asked_for_is_taken(wanted: dict[str, str], name: str) -> None:
    assert choose_run(request(**wanted), rows(RUNS)).name == name


def test_a_policy_without_a_verified_run_says_how_to_have_one() -> None:
    with pytest.raises(RefusedError, match=r"annotate backuprun NAME holdfast\.dev/verify=1") as refused:
        choose_run(request(select="LatestVerified"), rows(RUNS[2:]))
    assert refused.value.reason == "NoRunVerified"


@pytest.mark.parametrize(("exit_code", "differs"), [(5, True), (3, False)])
def test_what_differs_is_told_by_the_exit_code_whatever_its_reason_is_called(
    exit_code: int, differs: bool
) -> None:
    target = {"name": "sessions", "engine": "redis", "phase": "Running", "job": "job"}
    request = RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "uid": "uid"},
            "spec": {"source": {"runRef": {"name": "r"}}},
            "status": {"phase": "Running", "targets": [target]},
        }
    )
    failure = Failure(reason="TargetEvicted", message="it evicted 3 keys", exit_code=exit_code)
    job = Job(
        name="job", namespace="rag", uid="job", owner_uid="uid", target="sessions", component="Restore",
        task="", settings="", created=NOW,
    )  # fmt: skip
    seen = {"sessions": Observation(job, attempts=1, failed=True, failure=failure)}
    status = restoration.advance(request, JobFacts(seen, timedelta(minutes=2)), NOW).status
    assert status.verification is not None
    assert status.verification.mismatched == differs
    assert status.verification.details == (("target sessions: it evicted 3 keys",) if differs else ())
