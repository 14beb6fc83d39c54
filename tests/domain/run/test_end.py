"""How a stored run ends, and that Complete says the same as the status."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.factories import complete, hook_failed_after, run, stored_target

from holdfast.api.run import RunPhase
from holdfast.domain.run.end import end_of_stored, with_end
from holdfast.domain.step import End

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOST = {"name": "b", "engine": "redis", "phase": "Failed", "failure": {"reason": "Broken"}}
AWAY = {"two": "it is away", "three": "it is full"}
NOT_EVERYWHERE = "not in every destination: two: it is away; three: it is full"
PART = {"targets": [stored_target("one"), {"name": "c", "engine": "redis", "phase": "Skipped"}]}
WHOLE = "1 target, 5B in 1/1 destinations"


@pytest.mark.parametrize(
    ("fields", "missing", "reason", "message"),
    [
        ({}, {}, None, WHOLE),
        (PART, {}, None, f"{WHOLE}; spec.targets leaves out c"),
        (PART | {"targets": [*PART["targets"], LOST]}, {}, "Broken", "target b: Broken"),
        (hook_failed_after("Continue"), {}, None, WHOLE),
        (hook_failed_after(), {}, "HookFailed", "after the backup: hook go-on: no pod"),
        (hook_failed_after(), AWAY, "CopyMissing", NOT_EVERYWHERE),
        (hook_failed_after() | {"targets": [stored_target("one"), LOST]}, AWAY, "Broken", "target b: Broken"),
    ],
)
def test_a_target_that_failed_comes_first_then_a_missing_copy_then_a_hook(
    fields: dict[str, Any], missing: dict[str, str], reason: str | None, message: str
) -> None:
    status = run(
        status={"phase": "Committing", "copies": "1/1", "sizeBytes": 5, "targets": [stored_target("one")]}
        | fields
    ).status
    phase = RunPhase.SUCCEEDED if reason is None else RunPhase.PARTIALLY_SUCCEEDED
    assert end_of_stored(status, missing) == End(phase, reason, message)


def test_a_warning_of_a_backup_is_the_reason_of_a_success() -> None:
    warned = stored_target("one") | {
        "warningReason": "StandbyUnreachable", "warnings": ["no standby; reading from the primary"],
    }  # fmt: skip
    status = run(status={"phase": "Committing", "copies": "1/1", "sizeBytes": 5, "targets": [warned]}).status
    name = warned["name"]
    message = f"{WHOLE}; target {name}: no standby; reading from the primary"
    assert end_of_stored(status, {}) == End(RunPhase.SUCCEEDED, "StandbyUnreachable", message)


@pytest.mark.parametrize("phase", [phase for phase in RunPhase if phase.has_ended])
@pytest.mark.parametrize("reason", [None, "Broken"])
def test_complete_says_what_the_status_says(phase: RunPhase, reason: str | None) -> None:
    status = with_end(run().status, End(phase, reason, "because"), 7, NOW)
    assert (status.phase, status.reason, status.message) == (phase, reason, "because")
    is_stored = phase in (RunPhase.SUCCEEDED, RunPhase.PARTIALLY_SUCCEEDED)
    assert complete(status) == (str(is_stored), reason or phase, "because")
    assert status.observed_generation == 7
    later = with_end(status, End(phase, "Other", "else"), 7, NOW + timedelta(hours=1))
    assert complete(later)[1:] == ("Other", "else")
    assert later.conditions[0].last_transition_time == NOW, "its status is the same"


@pytest.mark.parametrize("phase", [phase for phase in RunPhase if phase.has_ended])
def test_one_of_complete_and_failed_is_true_but_of_an_expired_run(phase: RunPhase) -> None:
    status = with_end(run().status, End(phase, None, "because"), 7, NOW)
    true = [condition.type for condition in status.conditions if condition.status == "True"]
    is_stored = phase in (RunPhase.SUCCEEDED, RunPhase.PARTIALLY_SUCCEEDED)
    assert true == (["Complete"] if is_stored else [] if phase is RunPhase.EXPIRED else ["Failed"])
    assert [condition.reason for condition in status.conditions] == [phase, phase]
