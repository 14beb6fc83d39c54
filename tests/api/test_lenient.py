"""What the cluster holds is read, whoever wrote it: nothing raises that the API server takes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.api.base import Duration, format_time, moment_of
from holdfast.api.lenient import NotUnderstoodError, rewritten
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import BackupRun, RunPhase
from holdfast.domain.rows import row_of

FIRST, LAST = "1000-01-01T00:00:00Z", "9000-01-01T00:00:00Z"
ODD_CONDITION = {
    "type": "A",
    "status": "Perhaps",
    "reason": "B",
    "lastTransitionTime": "2026-01-31T02:00:00Z",
}


def body(spec: dict[str, Any] | None = None, status: Any = None) -> dict[str, Any]:
    """A BackupRun as the API server gives it."""
    return {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "BackupRun",
        "metadata": {"name": "r", "namespace": "ns", "uid": "u"},
        "spec": {"policyRef": {"name": "p"}} | (spec or {}),
        "status": {} if status is None else status,
    }


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-01-31T02:00:00.999999999Z", "2026-01-31T02:00:00Z"),
        ("2026-01-31t02:00:00z", "2026-01-31T02:00:00Z"),
        ("2026-01-31T02:00:00,5+07:00", "2026-01-30T19:00:00Z"),
        ("2026-01-31T02:00:00+99:99", "2026-01-26T21:21:00Z"),
        ("0001-01-01T00:00:00+07:00", FIRST),
        ("0001-01-01T00:00:00Z", FIRST),
        ("0000-02-29T00:00:00-99:99", FIRST),
        ("9999-12-31T23:59:59Z", LAST),
        ("9999-12-31T23:59:59-09:00", LAST),
        ("9999-12-31T23:59:59-99:99", LAST),
    ],
)
def test_every_time_that_the_api_server_takes_is_read_and_can_be_reckoned_with(text: str, read: str) -> None:
    run = BackupRun.from_object(body({"scheduledTime": text}, {"startTime": text}))
    assert not run.problem
    assert run.spec.scheduled_time == run.status.start_time == datetime.fromisoformat(read)
    assert format_time(moment_of(text)) == read
    century = timedelta(seconds=Duration("9999999999d").seconds)
    assert run.spec.scheduled_time is not None
    assert run.spec.scheduled_time - 3 * century < datetime(2026, 1, 1, tzinfo=UTC) + 70 * century
    assert run.spec.scheduled_time + 3 * century


def test_what_is_no_time_is_named() -> None:
    with pytest.raises(ValueError, match="'yesterday' is no time; such as 2026-01-31T02:00:00Z"):
        moment_of("yesterday")


def test_fields_of_a_newer_release_change_nothing() -> None:
    newer = {"engine": "redis", "name": "a", "phase": "Running", "sharding": {"of": 3}}
    run = BackupRun.from_object(
        body({"priority": 7}, {"phase": "Running", "shards": [1], "targets": [newer]})
    )
    assert not run.problem
    assert (run.status.phase, row_of(run).targets_under_way) == (RunPhase.RUNNING, 1)


def test_a_policy_with_sections_of_a_newer_release_is_read() -> None:
    policy = body() | {
        "kind": "BackupPolicy",
        "spec": {
            "targets": [{"name": "a", "redis": {"service": {"name": "redis", "port": 1, "zone": "x"}}}],
            "destinations": [{"name": "one", "s3": {"bucket": "backups", "accelerate": True}}],
            "throttle": {"perHour": 1},
        },
    }
    assert not BackupPolicy.from_object(policy).problem


@pytest.mark.parametrize(
    ("spec", "status", "problem"),
    [
        ({"trigger": "Event"}, {}, "spec.trigger: Input should be 'Schedule',"),
        ({}, {"phase": "Verifying"}, "status.phase: Input should be 'Pending',"),
        ({}, [], "status: Input should be a valid dictionary"),
        ({}, {"targets": [{"name": "a"}]}, "status.targets.0.engine: Field required"),
        ({}, {"targets": [{"name": "a"}, {"name": "b"}]}, "status.targets.0.engine: Field required, "),
        ({}, {"targets": 7, "conditions": "x"}, "status.targets: Input should be a valid tuple, status.cond"),
        ({}, {"targets": [{"name": f"a{n}", "engine": "e"} for n in range(30)]}, "status.targets: Tuple sh"),
        ({}, {"conditions": [ODD_CONDITION]}, "status.conditions.0.status: "),
        ({}, {"overQuota": {"one": 5}}, "status.overQuota.one: Input should be a valid string"),
        ({}, {"startTime": "2026-02-30T00:00:00Z"}, "status.startTime: Input should be a valid datetime"),
    ],
)
def test_a_value_that_is_not_understood_is_left_out_and_named(
    spec: dict[str, Any], status: Any, problem: str
) -> None:
    run = BackupRun.from_object(body(spec, status))
    assert run.problem.startswith(problem)
    assert row_of(run).problem == run.problem
    assert run.spec.policy_ref.name == "p"


def test_the_rest_of_an_object_stays_as_it_is() -> None:
    targets = [
        {"name": "a", "engine": "e", "phase": "Odd"},
        {"name": "b", "phase": "Odd"},
        {"name": "c", "engine": "e", "phase": "Running"},
        {"name": "d", "engine": "e", "attempts": -1},
    ]
    given = body(status={"targets": targets, "sizeBytes": 7})
    run = BackupRun.from_object(given, keep_body=True)
    assert [target.name for target in run.status.targets] == ["a", "c", "d"]
    assert run.status.size_bytes == 7
    assert run.body == body(status={"targets": targets, "sizeBytes": 7})


def test_an_object_of_which_nothing_can_be_made_says_why() -> None:
    with pytest.raises(NotUnderstoodError, match=r"^spec\.policyRef: Field required$"):
        BackupRun.from_object(body() | {"spec": {}})


def test_a_run_in_a_phase_of_a_newer_release_is_under_way() -> None:
    status: dict[str, Any] = {
        "phase": "Sealing",
        "startTime": FIRST,
        "targets": [{"name": "a", "engine": "e"}],
    }
    assert row_of(BackupRun.from_object(body(status=status))).is_under_way
    ended = status | {"completionTime": LAST}
    assert not row_of(BackupRun.from_object(body(status=ended))).is_under_way


def test_a_status_is_rewritten_without_what_a_newer_release_has_put_there_being_lost() -> None:
    stored = {
        "phase": "Running",
        "shards": [1],
        "message": "m",
        "startTime": "2026-01-31T02:00:00.5Z",
        "targets": [{"name": "a", "phase": "Running", "lane": 1}, {"name": "b", "lane": 2}],
    }
    before = {
        "phase": "Running",
        "message": "m",
        "startTime": "2026-01-31T02:00:00Z",
        "targets": [{"name": "a", "phase": "Running"}, {"name": "b", "phase": "Pending"}],
    }
    after = {
        "phase": "Committing",
        "startTime": "2026-01-31T02:00:00Z",
        "targetsSucceeded": "1/2",
        "targets": [{"name": "b", "phase": "Pending"}, {"name": "a", "phase": "Failed"}, {"name": "c"}],
    }
    assert rewritten(stored, before, after) == {
        "phase": "Committing",
        "shards": [1],
        "startTime": "2026-01-31T02:00:00.5Z",
        "targetsSucceeded": "1/2",
        "targets": [
            {"name": "b", "lane": 2, "phase": "Pending"},
            {"name": "a", "phase": "Failed", "lane": 1},
            {"name": "c"},
        ],
    }
    assert rewritten({}, {}, after) == after


def test_what_follows_from_a_problem_is_none() -> None:
    policy = body() | {
        "kind": "BackupPolicy",
        "spec": {
            "targets": [{"name": "lake", "iceberg": {}}],
            "destinations": [{"name": "one", "s3": {"bucket": "backups"}}],
        },
    }
    with pytest.raises(NotUnderstoodError) as error:
        BackupPolicy.from_object(policy)
    assert str(error.value).startswith("spec.targets.0: exactly one of postgres, chroma, redis")
    assert "Field required" not in str(error.value)
