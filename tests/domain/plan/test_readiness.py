"""A policy that would lose data or encrypt for nobody is not ready, and no run of it starts."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests import factories

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import RunPhase
from holdfast.domain.plan.readiness import readiness
from holdfast.domain.rows import row_of
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing, line_up, situation_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S3 = {"bucket": "backups", "prefix": "nc", "endpoint": "http://s3:7070"}
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def with_destinations(*sections: dict[str, Any]) -> BackupPolicy:
    names = ("primary", "second", "third")
    return factories.policy(
        destinations=[{"name": name} | section for name, section in zip(names, sections, strict=False)]
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            {"s3": S3, "retention": {"keepLast": 30}},
            {"s3": S3 | {"credentialsSecret": {"name": "other"}}, "retention": {"keepLast": 1}},
            "destinations[second] is the same place as destinations[primary] "
            "(s3://backups/nc at http://s3:7070): change bucket, prefix or endpoint",
        ),
        (
            {"s3": S3},
            {"s3": S3 | {"endpoint": "http://S3:7070/"}},
            "destinations[second] is the same place as destinations[primary] "
            "(s3://backups/nc at http://S3:7070/): change bucket, prefix or endpoint",
        ),
        (
            {"s3": {"bucket": "backups"}},
            {"s3": {"bucket": "backups", "region": "eu-west-1"}},
            "destinations[second] is the same place as destinations[primary] "
            "(s3://backups at Amazon S3): change bucket, prefix or endpoint",
        ),
        (
            {"volume": {"claimName": "backups", "path": "a"}},
            {"volume": {"claimName": "backups", "path": "a"}, "required": False},
            "destinations[second] is the same place as destinations[primary] "
            "(pvc://backups/a): change claimName or path",
        ),
    ],
)
def test_two_destinations_at_one_place_are_not_ready(
    first: dict[str, Any], second: dict[str, Any], message: str
) -> None:
    state = readiness(with_destinations(first, second))
    assert (state.is_ready, state.reason, state.message) == (False, "SamePlace", message)


def test_every_destination_that_repeats_a_place_is_named() -> None:
    message = readiness(with_destinations({"s3": S3}, {"s3": S3}, {"s3": S3})).message
    assert "destinations[second] is the same place as destinations[primary]" in message
    assert "destinations[third] is the same place as destinations[primary]" in message


def test_destinations_in_one_bucket_are_ready_when_their_prefixes_differ() -> None:
    assert readiness(with_destinations({"s3": S3}, {"s3": S3 | {"prefix": "nc/b"}})).is_ready


@pytest.mark.parametrize(
    ("policy", "reason", "text"),
    [
        (with_destinations({"s3": S3}, {"s3": S3}), "SamePlace", "destinations[second]"),
        (
            factories.policy(encryption={"age": {"recipients": [RECIPIENT[:-1] + "q"]}}),
            "RecipientInvalid",
            "encryption.age.recipients[0]",
        ),
        (
            factories.policy(runner={"annotations": {"sidecar.istio.io/proxyImage": "evil"}}),
            "AnnotationRefused",
            "sidecar.istio.io/proxyImage may choose what is injected",
        ),
        (factories.policy(objectives={"rpo": "1h"}), "NotSupportedYet", "objectives"),
    ],
)
def test_a_run_by_hand_of_a_policy_that_cannot_be_run_fails_at_once(
    policy: BackupPolicy, reason: str, text: str
) -> None:
    run = factories.run()
    step = lifecycle.admit(run, policy, Standing(), NOW)
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, reason)
    assert step.status.start_time is None
    assert f"policy p is not ready: {readiness(policy).message}" == step.status.message
    assert text in step.status.message
    # It gets no permit either, so that it keeps no other run from starting.
    assert line_up(situation_of([row_of(run)], [policy], 1), NOW).starters == ()


def test_a_switch_of_a_mesh_and_other_annotations_are_ready() -> None:
    annotations = {
        "sidecar.istio.io/inject": "false",
        "traffic.sidecar.istio.io/excludeOutboundPorts": "5432",
        "example.org/a": "$(b)",
    }
    assert readiness(factories.policy(runner={"annotations": annotations})).is_ready


def test_a_run_by_hand_needs_no_right_schedule() -> None:
    policy = factories.policy(schedule="0 0 30 2 *")
    assert not readiness(policy).is_ready
    assert lifecycle.admit(factories.run(), policy, Standing(), NOW).status.phase is RunPhase.RUNNING
