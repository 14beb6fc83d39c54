"""What the models add to their fields: parsing, units, times, conditions, and text that always fits."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter, ValidationError

from holdfast.api.base import Duration, Quantity, ServerAddress, Time, format_time
from holdfast.api.conditions import Verdict, find_condition, set_condition
from holdfast.api.run import (
    BackupRun,
    BackupRunSpec,
    BackupRunStatus,
    Failure,
    RunPhase,
    TargetPhase,
    TargetStatus,
)
from holdfast.api.target import Target
from holdfast.api.text import MAX_WARNINGS, counted, human_bytes, human_seconds, sized
from holdfast.engines.redis.spec import RedisTarget

NOW = datetime(2026, 2, 28, 1, 15, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
RUN = {
    "apiVersion": "holdfast.dev/v1alpha1",
    "kind": "BackupRun",
    "metadata": {
        "name": "chatbot-1",
        "namespace": "rag",
        "uid": "u",
        "generation": 2,
        "resourceVersion": "7",
        "creationTimestamp": "2026-02-28T01:15:00Z",
        "managedFields": [{"manager": "kubectl"}],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b"}],
    },
    "spec": {"policyRef": {"name": "chatbot"}, "scheduledTime": "2026-02-28T08:15:00+07:00"},
}


def test_an_object_is_parsed_and_written_back() -> None:
    run = BackupRun.from_object(RUN)
    assert run.metadata.creation_timestamp == NOW
    assert run.metadata.owner_references[0].kind == "ConfigMap"
    assert run.spec.scheduled_time == NOW
    assert run.status.phase is None
    assert BackupRun.from_object(run.to_json()) == run
    assert run.to_json()["spec"]["scheduledTime"] == "2026-02-28T01:15:00Z"


def test_a_spec_with_an_unknown_field_is_refused() -> None:
    """By the model itself; what the cluster holds already is read leniently."""
    with pytest.raises(ValidationError, match="unheardOf"):
        BackupRunSpec.model_validate({"policyRef": {"name": "a"}, "unheardOf": []})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("30d", 2592000), ("0s", 0), ("1d1h1m1s", 90061), ("2592000s", 2592000)],
)
def test_durations(text: str, seconds: int) -> None:
    assert TypeAdapter(Duration).validate_python(text).seconds == seconds


def test_a_duration_beyond_any_date_is_a_hundred_years() -> None:
    duration = TypeAdapter(Duration).validate_python("99999999999999d")
    assert NOW + timedelta(seconds=duration.seconds) > datetime(2125, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "1", "1.5h", "-1s", "1 h", "1w", "h"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python(text)


def test_times_are_written_as_kubernetes_does() -> None:
    moment = datetime(2026, 2, 28, 8, 15, 0, 999_999, tzinfo=timezone(timedelta(hours=7)))
    assert format_time(moment) == "2026-02-28T01:15:00Z"
    assert TypeAdapter(Time).validate_python(moment) == NOW
    with pytest.raises(ValidationError, match="timezone"):
        TypeAdapter(Time).validate_python(datetime(2026, 2, 28))  # noqa: DTZ001 is the point


def test_quantities_may_be_numbers() -> None:
    assert TypeAdapter(Quantity).validate_python(1024) == "1024"
    with pytest.raises(ValidationError):
        TypeAdapter(Quantity).validate_python(True)


def test_an_address() -> None:
    service = ServerAddress.model_validate({"service": {"name": "db", "port": 5432}})
    assert service.address("rag") == ("db.rag.svc", 5432)
    host = ServerAddress.model_validate({"host": {"name": "192.0.2.1", "port": 1}})
    assert host.address("rag") == ("192.0.2.1", 1)
    redis = RedisTarget.model_validate({"service": {"name": "cache"}})
    assert redis.address("rag") == ("cache.rag.svc", 6379)
    assert RedisTarget.model_validate({"host": {"name": "a", "port": 1}}).address("rag") == ("a", 1)
    for wrong in ({}, service.to_json() | host.to_json()):
        with pytest.raises(ValidationError, match="exactly one of service, host must be set"):
            ServerAddress.model_validate(wrong)


def test_a_target_names_its_engine() -> None:
    target = Target.model_validate({"name": "a", "redis": {"service": {"name": "redis", "port": 6379}}})
    assert target.engine == "redis"
    assert target.engine_spec.to_json()["service"] == {"name": "redis", "port": 6379}
    with pytest.raises(ValidationError, match="exactly one of postgres, chroma, redis"):
        Target.model_validate({"name": "a"})


def test_a_condition_keeps_its_transition_time_while_its_status_is_the_same() -> None:
    first = set_condition((), Verdict("Ready", "True", "AsWanted", ""), NOW, 1)
    again = set_condition(first, Verdict("Ready", "True", "StillAsWanted", "Fine."), LATER, 2)
    (condition,) = again
    assert (condition.last_transition_time, condition.reason) == (NOW, "StillAsWanted")
    assert condition.observed_generation == 2
    changed = set_condition(again, Verdict("Ready", "False", "Broken", ""), LATER, 2)
    assert changed[0].last_transition_time == LATER


def test_a_condition_leaves_the_others_in_their_order() -> None:
    conditions = set_condition((), Verdict("Complete", "False", "Running", ""), NOW)
    conditions = set_condition(conditions, Verdict("Verified", "Unknown", "NotTried", ""), NOW)
    conditions = set_condition(conditions, Verdict("Complete", "True", "Done", ""), LATER)
    assert [condition.type for condition in conditions] == ["Complete", "Verified"]
    verified = find_condition(conditions, "Verified")
    assert verified is not None
    assert verified.last_transition_time == NOW
    assert find_condition(conditions, "Ready") is None


def test_text_is_cut_rather_than_refused() -> None:
    failure = Failure(reason="Broken", message="m" * 5000, log_tail="first" + "l" * 5000 + "last")
    assert len(failure.message.encode()) == 2048
    assert failure.message.endswith("…")
    assert len(failure.log_tail) == 4096
    assert failure.log_tail.endswith("last")
    target = TargetStatus(name="a", engine="redis", warnings=tuple(f"w{i}" for i in range(50)))
    assert len(target.warnings) == MAX_WARNINGS
    assert target.warnings[-2:] == ("w18", "and 31 more")


@pytest.mark.parametrize("sign", ["é", "<", "\u0001", "\n"])
def test_text_is_cut_by_the_bytes_that_the_api_server_stores(sign: str) -> None:
    stored = {"é": 2, "<": 6, "\u0001": 6, "\n": 2}[sign]
    failure = Failure(reason=sign * 300, message=sign * 5000, log_tail="first" + sign * 5000)
    assert failure.reason == sign * (250 // stored) + "…"
    assert failure.message == sign * (2045 // stored) + "…"
    assert failure.log_tail == sign * (4096 // stored)
    target = TargetStatus(name="a", engine="redis", warnings=("few", *[sign * 600] * 9))
    kept = len(target.warnings) - 1
    assert sum(len(warning) * stored for warning in target.warnings[1:kept]) <= 6144
    assert target.warnings[-1] == f"and {10 - kept} more"
    assert TargetStatus.model_validate(target.to_json()) == target, "what was cut stays as it is"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0Ki"),
        (1536, "1.5Ki"),
        (10 * 1024, "10Ki"),
        (1024**2 - 1, "1.0Mi"),
        (3 * 1024**3, "3.0Gi"),
        (2**63 - 1, "8192Pi"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "plural", "text"),
    [
        (1, "targets", "1 target"),
        (0, "targets", "0 targets"),
        (2, "databases", "2 databases"),
        (1, "databases", "1 database"),
        (3, "largeObjects", "3 large objects"),
        (1, "largeObjects", "1 large object"),
        (1, "entries", "1 entry"),
    ],
)
def test_counts_for_people(count: int, plural: str, text: str) -> None:
    assert counted(count, plural) == text


def test_sizes_in_a_sentence_have_a_unit() -> None:
    assert (sized(171), sized(1536)) == ("171B", "1.5KiB")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (65, "1m5s"), (7260, "2h1m")])
def test_seconds_for_people(seconds: int, text: str) -> None:
    assert human_seconds(seconds) == text


def test_columns_are_computed_from_the_facts() -> None:
    targets = tuple(
        TargetStatus(name=name, engine="redis", phase=phase)
        for name, phase in (("a", TargetPhase.SUCCEEDED), ("b", TargetPhase.FAILED))
    )
    status = BackupRunStatus(targets=targets, size_bytes=2048, duration_seconds=61)
    written = status.to_json()
    assert (written["targetsSucceeded"], written["size"], written["duration"]) == ("1/2", "2.0Ki", "1m1s")
    empty = BackupRunStatus().to_json()
    assert {"targetsSucceeded", "size", "duration"} & empty.keys() == set()


def test_phases_that_end_a_run() -> None:
    going = {phase for phase in RunPhase if not phase.has_ended}
    assert going == {RunPhase.PENDING, RunPhase.RUNNING, RunPhase.COMMITTING}
