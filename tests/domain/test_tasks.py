"""Tasks are made of a run and its policy, and are valid or not made at all."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from tests.factories import ONE, REDIS, SHA, TWO, policy, run, stored_target

from holdfast.api.run import BackupRun
from holdfast.domain.tasks import Upkeep, backup_task, commit_task
from holdfast.protocol import BackupTask, Expiry, ExpiryCandidate, Gap, Leftovers

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
STATUS: dict[str, Any] = {
    "phase": "Running",
    "startTime": "2026-01-01T12:00:00Z",
    "destinations": [ONE, TWO],
    "settings": {"recipients": [RECIPIENT]},
    "plan": [{"name": "b", "spec": '{"service":{"name":"redis","port":1}}'}],
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


def task_of(of: BackupRun, name: str) -> BackupTask | None:
    return backup_task(of, next(target for target in of.status.targets if target.name == name), None)


def test_a_target_is_backed_up_as_its_run_has_written_down_to_where_the_run_goes() -> None:
    task = task_of(run(status=STATUS), "b")
    assert task is not None
    assert task.spec == REDIS
    assert (task.target, task.engine, task.recipients) == ("b", "redis", (RECIPIENT,))
    assert [destination.name for destination in task.destinations] == ["one", "two"]
    full = task_of(run(status=STATUS | {"overQuota": {"two": "full"}, "settings": None}), "b")
    assert full is not None
    assert ([destination.name for destination in full.destinations], full.recipients) == (["one"], ())


def test_a_target_that_the_run_has_not_written_down_has_no_task() -> None:
    assert task_of(run(status=STATUS | {"plan": []}), "b") is None


def test_a_commit_is_given_the_targets_that_succeeded_and_all_upkeep() -> None:
    task = commit_task(run(status=STATUS), None, UPKEEP, 60.0)
    assert [(target.name, target.destinations) for target in task.targets] == [("a", ("one", "two"))]
    assert (task.failed_targets, task.recipients) == (("b",), (RECIPIENT,))
    assert Upkeep(task.retention, task.gaps, task.leftovers) == UPKEEP
    assert (task.started_time, task.retention_seconds) == (NOW, 60.0)
    assert commit_task(run(status=STATUS | {"settings": None}), None, Upkeep(), None).recipients == ()


def test_a_run_uses_the_secrets_of_the_policy_for_the_places_that_it_wrote_down() -> None:
    keys = {"s3": {"bucket": "backups", "credentialsSecret": {"name": "new"}}}
    now = policy(destinations=[TWO | {"s3": {"bucket": "elsewhere"}}, ONE | keys])
    subject = run(status=STATUS)
    target = next(target for target in subject.status.targets if target.name == "b")
    for task in (backup_task(subject, target, now), commit_task(subject, now, Upkeep(), None)):
        assert task is not None
        one, two = task.destinations
        assert one.spec.to_json()["credentialsSecret"] == {"name": "new"}
        assert one.place == subject.status.destinations[0].place
        assert two == subject.status.destinations[1]


def test_upkeep_that_no_job_could_read_makes_no_task() -> None:
    wrong: Any = ({"run": "older"},)
    for upkeep in (Upkeep(expiries=wrong), Upkeep(gaps=wrong), Upkeep(leftovers=wrong)):
        with pytest.raises(ValidationError):
            commit_task(run(status=STATUS), None, upkeep, None)
