"""When the copies of a request are put in place, and when they are taken back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.api.restore import RestoreRequest, RestoreTargetStatus
from holdfast.api.run import Failure
from holdfast.domain import restoration
from holdfast.domain.recovery_set import (
    Course,
    SetFacts,
    Wish,
    course_of,
    former_copies,
    to_discard,
    wish_of,
)
from holdfast.domain.targets import JobFacts
from holdfast.domain.tasks import discard_task, swap_task
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import (
    Check,
    DiscardResult,
    FailedResult,
    Note,
    Omission,
    RestoreResult,
    RestoreTask,
    SwapResult,
)

NOW = datetime(2026, 11, 27, tzinfo=UTC)
PATIENCE = timedelta(minutes=2)


def target(name: str, **fields: Any) -> RestoreTargetStatus:
    basis = {"name": name, "engine": "redis", "phase": "Running", "job": name, "startTime": NOW}
    return RestoreTargetStatus.model_validate(basis | {"address": "redis:6379"} | fields)


def staged(name: str, **fields: Any) -> RestoreTargetStatus:
    return target(name, **{"copyState": "Staged", "staged": (f"copy of {name}",)} | fields)


def failed(name: str, reason: str = "Broken", **fields: Any) -> RestoreTargetStatus:
    failure = {"reason": reason, "message": "broken"}
    return target(name, **{"phase": "Failed", "failure": failure, "completionTime": NOW} | fields)


def placed(name: str) -> RestoreTargetStatus:
    return target(name, phase="Succeeded", copyState="InPlace")


def request(*targets: RestoreTargetStatus, phase: str = "Running", **spec: Any) -> RestoreRequest:
    status = {"phase": phase, "targets": [one.to_json() for one in targets]}
    return RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "uid": "uid"},
            "spec": {"source": {"runRef": {"name": "r"}}} | spec,
            "status": status,
        }
    )


def job(name: str, **seen: Any) -> Observation:
    return Observation(Job(name, "rag", name, "uid", name, "Restore", "", "", NOW), **{"attempts": 1} | seen)


def facts(**jobs: Any) -> SetFacts:
    kinds = {"restores": {}, "swaps": {}, "discards": {}} | jobs
    return SetFacts(**kinds, start_deadline=PATIENCE)


@pytest.mark.parametrize(
    ("targets", "course"),
    [
        ([target("a"), staged("b")], Course.STAGING),
        ([target("a", phase="Pending", startTime=None), staged("b")], Course.STAGING),
        ([staged("a"), staged("b")], Course.SWAPPING),
        ([placed("a"), staged("b")], Course.SWAPPING),
        ([placed("a"), placed("b")], Course.DONE),
        ([target("a", phase="Succeeded")], Course.DONE),  # of an earlier release
        ([target("a"), failed("b")], Course.TAKING_BACK),
        ([placed("a"), failed("b")], Course.TAKING_BACK),
        ([staged("a", phase="Cancelled"), staged("b", phase="Cancelled")], Course.TAKING_BACK),
        ([target("a"), staged("b", phase="Failed")], Course.STAGING),
        ([staged("a"), staged("b", phase="Failed")], Course.KEPT),
        ([failed("a"), staged("b", phase="Failed")], Course.TAKING_BACK),
    ],
)
def test_the_targets_alone_say_what_is_next(targets: list[RestoreTargetStatus], course: Course) -> None:
    assert course_of(targets, NOW) is course


def test_a_refused_target_waits_a_while_for_the_checks_of_the_others() -> None:
    refused = failed("b", failure={"reason": "PreflightBlocked", "message": "x", "exitCode": 2})
    targets = [target("a"), refused]
    assert course_of(targets, NOW + timedelta(seconds=19)) is Course.STAGING
    assert course_of(targets, NOW + timedelta(seconds=20)) is Course.TAKING_BACK
    assert course_of([staged("a"), refused], NOW) is Course.TAKING_BACK
    assert course_of([failed("a"), *targets], NOW) is Course.TAKING_BACK


def test_only_what_may_have_loaded_something_is_discarded() -> None:
    refusal = FailedResult(exit_code=2, failure=Failure(reason="TargetNotEmpty"), refused=True)
    seen = {
        name: job(name, failure=Failure(reason="TargetNotEmpty"), said=refusal) for name in ("first", "later")
    }
    targets = [
        staged("staged"),
        placed("placed"),
        failed("began"),
        failed("never", startTime=None),
        failed("first", attempts=1),
        failed("later", attempts=2),
        failed("gone", copyState="Discarded"),
        failed("left", copyState="Left"),
    ]
    assert to_discard(targets, seen) == ("staged", "placed", "began", "later")


def result(**fields: Any) -> RestoreResult:
    basis = {
        "snapshot_time": NOW,
        "restore_seconds": 1,
        "address": "redis:6379",
        "compared": 3,
        "contents": {},
    }
    return RestoreResult.model_validate(basis | fields)


def test_a_staged_target_waits_for_the_others_and_keeps_what_it_found() -> None:
    subject = request(target("a"), target("b"))
    seen = {
        "a": job("a", result=result(in_place=False, staged=("copy of a",))),
        "b": job("b", running_pod="p"),
    }
    step = restoration.advance(subject, JobFacts(seen, PATIENCE), NOW)
    first, second = step.status.targets
    assert (first.phase, first.copy_state, first.staged) == ("Running", "Staged", ("copy of a",))
    assert (second.phase, second.copy_state) == ("Running", None)
    assert [notice.reason for notice in step.notices] == ["TargetStaged"]
    again = restoration.advance(request(first, second), JobFacts(seen, PATIENCE), NOW)
    assert again.notices == ()


def test_all_in_place_is_the_end_and_says_what_a_later_attempt_finished() -> None:
    subject = request(staged("a"), staged("b"))
    earlier = Failure(reason="TargetUnreachable", message="no route")
    seen = {"a": job("a", result=SwapResult(), attempt_failure=earlier), "b": job("b", result=SwapResult())}
    status = restoration.swap(subject, facts(swaps=seen), NOW).status
    assert (status.phase, status.rollback) == (
        "Succeeded",
        "target a was put in place by a later attempt; the one before failed: TargetUnreachable: no route",
    )


def test_what_a_swap_says_is_told() -> None:
    note = Note(reason="RowsMovedAside", message="rows are kept in x", warning=True)
    swapped = {"a": job("a", result=SwapResult(notes=(note,)), notes=(note,))}
    step = restoration.swap(request(staged("a")), facts(swaps=swapped), NOW)
    assert step.status.targets[0].warnings == ("rows are kept in x",)
    told = {notice.reason: notice for notice in step.notices}
    assert told["RowsMovedAside"].warning
    assert "target a: rows are kept in x" in told["RowsMovedAside"].message


def test_nothing_is_discarded_while_something_is_loaded_or_put_in_place() -> None:
    subject = request(staged("a"), failed("b"))
    loading = SetFacts({}, {}, {}, PATIENCE, lost_pods=None)
    swapping = facts(swaps={"a": job("a")})
    for busy in (loading, swapping):
        status = restoration.take_back(subject, busy, NOW).status
        assert (status.phase, status.reason) == ("Running", "TakingBack")
        assert (status.message or "").endswith("waits until nothing more is loaded")


def test_what_was_swapped_meanwhile_is_undone() -> None:
    subject = request(staged("a"), failed("b"))
    swaps = {"a": job("a", result=SwapResult())}
    status = restoration.take_back(subject, facts(swaps=swaps), NOW).status
    assert status.targets[0].copy_state == "InPlace"
    gone = {name: job(name, result=DiscardResult()) for name in "ab"}
    step = restoration.take_back(request(*status.targets), facts(swaps=swaps, discards=gone), NOW)
    assert (step.status.phase, step.status.reason) == ("Failed", "Broken")
    assert (step.status.rollback or "").startswith("undone: what target a had in place")


def test_what_cannot_be_dropped_is_named() -> None:
    subject = request(staged("a"), failed("b", startTime=None))
    refused = {"a": job("a", failure=Failure(reason="PermissionDenied", message="must be owner"))}
    step = restoration.take_back(subject, facts(discards=refused), NOW)
    assert (step.status.phase, step.status.targets[0].copy_state) == ("Failed", "Left")
    assert "copy of a" in (step.status.rollback or "")
    assert [notice.reason for notice in step.notices] == ["CopyLeft", "Failed"]


def test_checks_and_objects_are_listed_the_worst_first_and_counted() -> None:
    checks = tuple(Check(check=f"C{number}", state="Passed") for number in range(25))
    blocked = Check(check="Room", state="Blocked", message="full", remedy="make room")
    lacking = tuple(Omission(what=f"index {number}", reason="ObjectFailed") for number in range(25))
    said = {
        "a": job("a", result=result(preflight=checks, preflight_omitted=2, omissions=lacking)),
        "b": job("b", failure=Failure(reason="PreflightBlocked"), said=FailedResult(
            exit_code=2, failure=Failure(reason="PreflightBlocked"), preflight=(blocked,))),
    }  # fmt: skip
    status = restoration.with_said(request(target("a"), target("b")).status, said)
    assert (len(status.preflight), status.preflight_omitted) == (20, 8)
    assert (status.preflight[0].target, status.preflight[0].remedy) == ("b", "make room")
    assert (len(status.omissions), status.omissions_omitted) == (20, 5)
    assert restoration.with_said(status, said) == status


@pytest.mark.parametrize(
    ("targets", "spec", "wish"),
    [
        ([staged("a")], {}, None),
        ([staged("a")], {"promote": "Swap"}, Wish.SWAP),
        ([staged("a")], {"promote": "Merge"}, None),
        ([staged("a")], {"promote": "Swap", "discard": True}, Wish.DISCARD),
        ([target("a", copyState="Left")], {"discard": True}, Wish.DISCARD),
        ([target("a", copyState="Left")], {"promote": "Swap"}, None),
        ([placed("a")], {"promote": "Swap", "discard": True}, None),
    ],
)
def test_what_is_wished_for_copies_that_are_there(
    targets: list[RestoreTargetStatus], spec: dict[str, Any], wish: Wish | None
) -> None:
    assert wish_of(request(*targets, phase="Failed", **spec)) is wish


def test_the_later_jobs_go_where_the_restore_job_went() -> None:
    stored = {"destination": {"name": "one", "s3": {"bucket": "backups"}}, "path": "rag/chatbot/r"}
    made = RestoreTask.model_validate(
        {
            "namespace": "rag", "request": "back", "request_uid": "uid", "mode": "New", "source": stored,
            "target": "a", "engine": "redis", "spec": {"service": {"name": "redis"}},
            "override": {"databases": [1]}, "swaps": False,
        }
    )  # fmt: skip
    text = made.model_dump_json(by_alias=True, exclude_none=True)
    swap, undo = swap_task(text), discard_task(text, {"a"})
    assert (swap.target, swap.override, swap.source) == ("a", {"databases": [1]}, made.source)
    assert (undo.swapped, discard_task(text).swapped) == (True, False)


def test_what_former_requests_hold_of_the_same_targets_is_told() -> None:
    def named(name: str, *targets: RestoreTargetStatus, phase: str = "Failed") -> RestoreRequest:
        one = request(*targets, phase=phase)
        return one.model_copy(
            update={"metadata": one.metadata.model_copy(update={"name": name, "uid": name})}
        )

    subject = named("new", target("a"), phase="Running")
    others = [
        subject,
        named("kept", staged("a"), staged("b")),
        named("left", target("a", copyState="Left")),
        named("done", placed("a")),
        named("loading", staged("a"), phase="Running"),
    ]
    assert [notice.message for notice in former_copies(subject, others)] == [
        "request kept has ended, and what it has loaded of a is still on a server (copy of a): "
        "its deletion drops that",
        "request left has ended, and what it has loaded of a is still on a server: its deletion drops that",
    ]


def test_a_copy_that_cannot_be_put_in_place_yet_is_kept_and_retried() -> None:
    kept = request(staged("a", phase="Failed"), staged("b", phase="Failed"), phase="Failed", promote="Swap")
    refused = {name: Failure(reason="JobRefused", message="quota") for name in "ab"}
    seen = facts(swaps={}, creation_failures=refused)
    step = restoration.promote(kept, seen, NOW)
    assert [notice.reason for notice in step.notices] == ["PromoteFailed"]
    assert wish_of(request(*step.status.targets, phase="Failed", promote="Swap")) is Wish.SWAP
