"""Quotas: how full, what is said of it and how often, and whether a run is written there."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests import factories

from holdfast.api.conditions import Condition, find_condition
from holdfast.api.policy import (
    BackupPolicy,
    BackupPolicyStatus,
    DestinationPlan,
    DestinationState,
    RetentionPlan,
)
from holdfast.api.run import RunPhase
from holdfast.domain.plan.quota import conditions_of, fills, full_destinations, refusal
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
GIB = 1 << 30


def status(*, freed: int = 0, dry_run: bool = False, **stored: int) -> BackupPolicyStatus:
    plans = [DestinationPlan(destination=name, dry_run=dry_run, delete_bytes=freed) for name in stored]
    return BackupPolicyStatus(
        destinations=tuple(DestinationState(name=name, stored_bytes=size) for name, size in stored.items()),
        observed_generation=1,
        retention_plan=RetentionPlan(destinations=tuple(plans)),
    )


def policy(state: BackupPolicyStatus | None = None, **quotas: Any) -> BackupPolicy:
    """With an optional destination for every quota whose name begins with `optional`."""
    destinations = [
        {"name": name, "s3": {"bucket": f"backups-{name}"}, "required": not name.startswith("optional")}
        | ({"quota": quota} if quota else {})
        for name, quota in quotas.items()
    ]
    return factories.policy(
        status=state or BackupPolicyStatus(), targets=factories.targets("t"), destinations=destinations
    )


TEN = {"size": "10Gi"}


@pytest.mark.parametrize(
    ("size", "amount"),
    [("0", 0), ("1000", 1000), ("1k", 1000), ("1.5T", 1_500_000_000_000), ("1P", 10**15),
     ("500Gi", 500 * GIB), ("0.5Ki", 512), ("2Mi", 2 << 20), ("3Ti", 3 << 40), ("1Pi", 1 << 50)],
)  # fmt: skip
def test_sizes_are_kubernetes_quantities(size: str, amount: int) -> None:
    (fill,) = fills(policy(one={"size": size}).spec.destinations, BackupPolicyStatus())
    assert fill.size == amount


def test_only_what_has_a_quota_counts() -> None:
    subject = policy(one=None, two=TEN)
    assert [each.destination for each in fills(subject.spec.destinations, status(one=1, two=2))] == ["two"]
    assert conditions_of(policy(one=None), status(one=1), NOW) == ((), [])


@pytest.mark.parametrize(
    ("stored", "condition", "reason", "refuses"),
    [
        (0, "True", "WithinQuota", False),
        (8 * GIB - 1, "True", "WithinQuota", False),
        (8 * GIB, "False", "QuotaWarning", False),
        (10 * GIB - 1, "False", "QuotaWarning", False),
        (10 * GIB, "False", "QuotaExceeded", True),
        (30 * GIB, "False", "QuotaExceeded", True),
    ],
)
def test_the_condition_and_the_refusal_at_every_level(
    stored: int, condition: str, reason: str, refuses: bool
) -> None:
    conditions, _ = conditions_of(policy(one=TEN), status(one=stored), NOW)
    found = find_condition(conditions, "WithinQuota")
    assert found is not None
    assert (found.status, found.reason) == (condition, reason)
    assert found.message.startswith("destination one holds ")
    assert bool(full_destinations(policy(status(one=stored), one=TEN))) is refuses


def test_the_share_that_warns_is_the_policys() -> None:
    subject = policy(one=TEN | {"warnAtPercent": 50})
    (condition,), notices = conditions_of(subject, status(one=6 * GIB), NOW)
    assert condition.reason == "QuotaWarning"
    assert condition.message == "destination one holds 6.0GiB of its quota of 10GiB (60 %)"
    assert [notice.reason for notice in notices] == ["QuotaWarning"]


def test_a_quota_that_is_taken_away_takes_its_condition_along() -> None:
    (condition,), _ = conditions_of(policy(one=TEN), status(one=9 * GIB), NOW)
    other = Condition(type="Ready", status="True", reason="Scheduled", last_transition_time=NOW)
    both = status(one=9 * GIB).model_copy(update={"conditions": (other, condition)})
    assert conditions_of(policy(one=None), both, NOW)[0] == (other,)


def told(before: int, after: int, **more: Any) -> list[str]:
    _, notices = conditions_of(policy(status(one=before), one=TEN), status(one=after, **more), NOW)
    assert all(notice.warning for notice in notices)
    return [notice.reason for notice in notices]


def test_an_event_tells_of_a_level_when_it_is_reached_and_not_again() -> None:
    assert told(0, 7 * GIB) == []
    assert told(7 * GIB, 9 * GIB) == ["QuotaWarning"]
    assert told(9 * GIB, 9 * GIB + 1) == []
    assert told(9 * GIB, 11 * GIB) == ["QuotaExceeded"]
    assert told(7 * GIB, 11 * GIB) == ["QuotaExceeded"]
    assert told(11 * GIB, 9 * GIB) == []
    assert told(9 * GIB, 1) == []


def test_a_level_reached_a_second_time_is_another_event() -> None:
    subjects = set()
    for stored in (9 * GIB, 9 * GIB + 5):
        _, (notice,) = conditions_of(policy(status(one=1), one=TEN), status(one=stored), NOW)
        subjects.add(notice.subject)
    assert len(subjects) == 2


def test_a_quota_that_is_lowered_is_told_at_once() -> None:
    before = status(one=9 * GIB)
    subject = policy(before, one={"size": "5Gi"})
    subject = subject.model_copy(update={"metadata": subject.metadata.model_copy(update={"generation": 2})})
    assert [notice.reason for notice in conditions_of(subject, before, NOW)[1]] == ["QuotaExceeded"]


def test_what_retention_is_about_to_delete_makes_room() -> None:
    def refused(**more: Any) -> dict[str, str]:
        return full_destinations(policy(status(one=12 * GIB, **more), one=TEN))

    assert refused(freed=3 * GIB) == {}
    assert refused(freed=3 * GIB, dry_run=True) != {}
    assert refused()["one"] == (
        "destination one holds 12GiB of its quota of 10GiB (120 %), and retention has nothing to delete "
        "there: raise destinations[one].quota.size, or keep fewer runs"
    )
    assert "what retention deletes next (2.0GiB) does not make room" in refused(freed=2 * GIB)["one"]


def test_which_destinations_must_have_room() -> None:
    def says(subject: BackupPolicy) -> str | None:
        return refusal(subject.spec.destinations, full_destinations(subject))

    full, room = 20 * GIB, 1
    assert says(policy(status(one=room, optional=room), one=TEN, optional=TEN)) is None
    assert says(policy(status(one=room, optional=full), one=TEN, optional=TEN)) is None
    assert (says(policy(status(one=full, optional=room), one=TEN, optional=TEN)) or "").startswith(
        "destination one holds 20Gi"
    )
    both = policy(status(optional=full, optional2=full), optional=TEN, optional2=TEN)
    assert (says(both) or "").startswith("no destination is left to write to: destination optional holds")


RUN = factories.run()


def test_a_run_starts_without_an_optional_destination_that_is_full() -> None:
    subject = policy(status(one=1, optional=20 * GIB), one=TEN, optional=TEN)
    step = lifecycle.admit(RUN, subject, Standing(), NOW)
    assert step.status.phase is RunPhase.RUNNING
    assert list(step.status.over_quota or {}) == ["optional"]
    assert [(notice.reason, notice.warning) for notice in step.notices] == [
        ("Started", False), ("QuotaExceeded", True),
    ]  # fmt: skip
    assert step.notices[0].message == "backing up t to one"


def test_a_run_whose_required_destination_is_full_fails_before_it_starts() -> None:
    subject = policy(status(one=20 * GIB), one=TEN)
    step = lifecycle.admit(RUN, subject, Standing(), NOW)
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "QuotaExceeded")
    assert step.status.targets == ()
    assert "raise destinations[one].quota.size" in (step.status.message or "")
