"""What becomes of objects that a backup tool creates from those that had started."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import factories
from tests.factories import rows

from holdfast.api.run import RunPhase
from holdfast.domain.duplicates import mark_of, own_mark, started_uid
from holdfast.domain.labels import IMPORTED, POLICY, STARTED
from holdfast.domain.policy.status import PolicySituation, report_newest_runs
from holdfast.domain.rows import row_of
from holdfast.domain.run import lifecycle
from holdfast.domain.run.admission import Standing, is_waiting

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FREE = Standing()


def run(started: str, **fields: Any) -> Any:
    return factories.run(metadata={"annotations": {STARTED: started}}, **fields)


def test_an_object_is_marked_once_and_an_imported_run_never() -> None:
    bare = factories.run()
    assert mark_of(bare) == {STARTED: "r-uid"}
    assert started_uid(bare) is None
    assert mark_of(run("r-uid")) == {}
    assert mark_of(run("another")) == {}
    assert own_mark(run("another")) == {STARTED: "r-uid"}
    assert mark_of(factories.run(metadata={"annotations": {IMPORTED: "u"}})) == {}


def test_a_run_of_a_person_that_ended_under_the_former_release_is_still_to_be_marked() -> None:
    """It has no label of its policy, and gets the annotation in the same request."""
    ended = {"phase": "Succeeded", "startTime": NOW, "completionTime": NOW}
    former = factories.run(metadata={"labels": {}}, status=ended)
    assert not row_of(former).is_settled
    assert mark_of(former) == {STARTED: "r-uid"}
    metadata = {"labels": {POLICY: former.spec.policy_ref.name}, "annotations": mark_of(former)}
    assert row_of(factories.run(metadata=metadata, status=ended)).is_settled


def test_a_run_whose_first_status_was_lost_goes_on() -> None:
    own = run("r-uid")
    assert is_waiting(row_of(own))
    assert lifecycle.admit(own, factories.policy(), FREE, NOW).status.phase is RunPhase.RUNNING


@pytest.mark.parametrize("fields", [{}, {"cancel": True}, {"trigger": "CatchUp", "scheduledTime": NOW}])
def test_a_duplicate_of_a_run_never_starts(fields: dict[str, Any]) -> None:
    duplicate = run("before", **fields)
    assert not is_waiting(row_of(duplicate))
    step = lifecycle.admit(duplicate, factories.policy(), FREE, NOW)
    assert (step.status.phase, step.status.reason) == (RunPhase.EXPIRED, "StartedBefore")
    assert step.status.completion_time == NOW
    assert "BackupRun with the UID before, which may have started:" in (step.status.message or "")
    assert [notice.reason for notice in step.notices] == ["StartedBefore"]


def test_a_duplicate_without_data_is_not_the_newest_try_at_a_backup() -> None:
    stored = {"phase": "Succeeded", "startTime": NOW, "completionTime": NOW}
    good = factories.run("good", metadata={"creationTimestamp": NOW}, status=stored)
    made = {"annotations": {STARTED: "before"}, "creationTimestamp": NOW + timedelta(days=1)}
    duplicate = factories.run("old", metadata=made)
    ended = factories.with_status(duplicate, lifecycle.end_duplicate(duplicate, NOW).status)
    policy = factories.policy()
    situation = PolicySituation(policy, None, rows([good, ended]), NOW)  # type: ignore[arg-type]
    status = report_newest_runs(situation, policy.status).status
    assert status.last_run == "good"
    (fresh,) = status.conditions
    assert (fresh.type, fresh.status) == ("BackupFresh", "True")


@pytest.mark.parametrize(
    ("created", "phase"),
    [(timedelta(0), RunPhase.RUNNING), (timedelta(hours=1, minutes=59), RunPhase.RUNNING),
     (timedelta(hours=2, seconds=1), RunPhase.MISSED), (timedelta(days=40), RunPhase.MISSED)],
)  # fmt: skip
def test_a_run_of_a_slot_that_is_created_long_after_the_slot_is_missed(
    created: timedelta, phase: RunPhase
) -> None:
    """With catchUp Latest: 1 h of startingDeadline, and 1 h by which clocks may differ."""
    metadata = {"creationTimestamp": NOW + created}
    old = factories.run(metadata=metadata, trigger="Schedule", scheduledTime=NOW)
    status = lifecycle.admit(old, factories.policy(), FREE, NOW + created).status
    assert status.phase is phase
    if phase is RunPhase.MISSED:
        assert status.reason == "StartingDeadlineExceeded"
        assert "created after that, from a backup or a file" in (status.message or "")
