"""The schedules that are there to be copied: a real API server takes them, and they mean what they say."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tests.api.objects import try_create
from tests.apiserver import ApiServer
from tests.machine import REPOSITORY

from holdfast.api.policy import BackupPolicy
from holdfast.domain.plan.readiness import readiness

FOLDER = REPOSITORY / "examples/schedules"
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
"""Seven in the morning in Ho Chi Minh City, a Thursday."""
NEXT = {
    "hourly": "2026-01-01T01:00",
    "every-four-hours": "2026-01-01T03:00",
    "daily": "2026-01-01T19:00",
    "weekly": "2026-01-03T18:00",
    "monthly": "2026-01-31T17:00",
    "vectors-every-six-hours": "2026-01-01T05:30",
}


def example(name: str) -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return body


def test_the_examples_store_where_the_sample_application_does() -> None:
    sample = yaml.safe_load((REPOSITORY / "examples/knowledge-base/policy.yaml").read_text())
    for name in NEXT:
        assert example(name)["spec"]["destinations"] == sample["spec"]["destinations"], name


def test_every_example_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*")} == NEXT.keys()


@pytest.mark.parametrize("name", NEXT)
def test_the_server_accepts_it_and_its_schedule_is_understood(apiserver: ApiServer, name: str) -> None:
    body = example(name)
    body["metadata"]["namespace"] = "default"
    status, answer = try_create(apiserver, body)
    assert status == 201, answer["message"]
    state = readiness(BackupPolicy.from_object(answer))
    assert (state.is_ready, state.reason) == (True, "Scheduled"), state.message
    assert state.schedule is not None
    found = state.schedule.next_after(NEW_YEAR)
    assert f"{found:%Y-%m-%dT%H:%M}" == NEXT[name]
