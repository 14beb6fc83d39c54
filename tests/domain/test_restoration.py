"""Which run a restore by its policy means."""

from typing import Any

import pytest
from tests import factories
from tests.factories import rows

from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun
from holdfast.domain.restoration import RefusedError, choose_run


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
