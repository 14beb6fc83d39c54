"""Tasks are made of a run and its policy, and are valid or not made at all."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from tests.factories import ONE, SHA, TWO, policy, run, stored_target, targets

from holdfast.api.policy import BackupPolicy
from holdfast.domain.tasks import Upkeep, backup_task, commit_task
from holdfast.protocol import Expiry, ExpiryCandidate, Gap, Leftovers

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
STATUS: dict[str, Any] = {
    "phase": "Running",
    "startTime": "2026-01-01T12:00:00Z",
    "destinations": [ONE, TWO],
    "targets": [
        stored_target("one", "two", manifestSha256=SHA),
        {"name": "b", "engine": "redis", "phase": "Failed"},
    ],
}
HELD = ExpiryCandidate(run="old", recovery_point=NOW)
UPKEEP = Upkeep(
    (Expiry(destination="one", delete=(HELD,), keep=()),),
    (Gap(run="older", trigger="Manual", manifests={"a": SHA}, sources=("one",), lacking=("two",)),),
    (Leftovers(destination="two", runs=("lost",), held=False),),
)


def encrypted() -> BackupPolicy:
    return policy(targets=targets("a", "b"), encryption={"age": {"recipients": [RECIPIENT]}})


def test_a_target_is_backed_up_as_its_policy_says_to_where_the_run_goes() -> None:
    task = backup_task(run(status=STATUS), encrypted(), "b")
    assert task is not None
    assert (task.target, task.engine, task.recipients) == ("b", "redis", (RECIPIENT,))
    assert [destination.name for destination in task.destinations] == ["one", "two"]
    full = backup_task(run(status=STATUS | {"overQuota": {"two": "full"}}), policy(), "a")
    assert full is not None
    assert ([destination.name for destination in full.destinations], full.recipients) == (["one"], ())


@pytest.mark.parametrize("of", [None, policy(targets=targets("a"))])
def test_a_target_that_the_policy_does_not_have_has_no_task(of: BackupPolicy | None) -> None:
    assert backup_task(run(status=STATUS), of, "b") is None


def test_a_commit_is_given_the_targets_that_succeeded_and_all_upkeep() -> None:
    task = commit_task(run(status=STATUS), encrypted(), UPKEEP, 60.0)
    assert [(target.name, target.destinations) for target in task.targets] == [("a", ("one", "two"))]
    assert (task.failed_targets, task.recipients) == (("b",), (RECIPIENT,))
    assert Upkeep(task.retention, task.gaps, task.leftovers) == UPKEEP
    assert (task.started_time, task.retention_seconds) == (NOW, 60.0)
    assert commit_task(run(status=STATUS), None, Upkeep(), None).recipients == ()


def test_upkeep_that_no_job_could_read_makes_no_task() -> None:
    wrong: Any = ({"run": "older"},)
    for upkeep in (Upkeep(expiries=wrong), Upkeep(gaps=wrong), Upkeep(leftovers=wrong)):
        with pytest.raises(ValidationError):
            commit_task(run(status=STATUS), policy(), upkeep, None)
