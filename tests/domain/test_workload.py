"""What a Job has come to, told from its condition, its pods and their Results."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.api.base import format_time
from holdfast.api.run import Failure, Source
from holdfast.domain.complaints import Complaint
from holdfast.domain.step import Notice
from holdfast.domain.workload import (
    Job,
    Observation,
    Pod,
    Termination,
    end_failure,
    lost,
    notices_of,
    observe,
    obstacle_of,
    to_be_explained,
)
from holdfast.protocol import (
    BACKUP,
    DISCARD,
    RESTORE,
    SWAP,
    BackupResult,
    CommitResult,
    FailedResult,
    Note,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHA = "a" * 64
GOOD = BackupResult(
    snapshot_time=NOW, source=Source(address="db:1"), contents={}, plain_bytes=1, size_bytes=1, artifacts=(),
    manifest_sha256=SHA, destinations=("primary",),
).model_dump_json(by_alias=True)  # fmt: skip
BAD = FailedResult(exit_code=3, failure=Failure(reason="Unreachable", message="no route")).model_dump_json(
    by_alias=True
)


def job(**fields: Any) -> Job:
    settled: dict[str, Any] = {
        "target": "t",
        "component": "Backup",
        "task": "",
        "settings": "",
        "created": NOW,
    }
    return Job(name="job", namespace="ns", uid="job-uid", owner_uid="run-uid", **(settled | fields))


def pod(name: str = "p", minute: int = 0, **fields: Any) -> Pod:
    created = NOW + timedelta(minutes=minute)
    return Pod(name=name, uid=f"{name}-uid", job="job", created=created, **({"phase": "Pending"} | fields))


def ended(name: str, code: int, message: str, reason: str = "Error", minute: int = 0, **fields: Any) -> Pod:
    termination = Termination(code, reason, message, NOW, NOW + timedelta(minutes=minute + 1))
    phase = "Succeeded" if code == 0 else "Failed"
    return pod(name, minute, phase=phase, termination=termination, **fields)


def seen(job: Job, *pods: Pod, complaints: dict[str, Complaint] | None = None) -> Observation:
    return observe(job, pods, BACKUP, complaints or {})


def test_complete_job_has_the_result_of_the_pod_that_succeeded() -> None:
    found = seen(
        job(end_condition="Complete", failed=1, succeeded=1),
        ended("b", 0, GOOD, minute=2),
        ended("a", 3, BAD),
    )
    assert isinstance(found.result, BackupResult)
    assert found.attempts == 2
    assert found.failure is None
    assert found.attempt_failure is not None, "the attempt that failed is not forgotten"
    assert found.started == NOW
    assert found.ended == NOW + timedelta(minutes=3)


def test_complete_job_is_failed_without_a_result_that_can_be_understood() -> None:
    commit = CommitResult(verified_bytes=0, recovery_point=NOW, skew_seconds=0, size_bytes=0, destinations=())
    cases = {
        "pod gone": ((), "ResultMissing"),
        "cut short": ((ended("a", 0, GOOD[:-5]),), "ResultMissing"),
        "newer version": ((ended("a", 0, GOOD.replace('"version":1', '"version":2')),), "ResultMissing"),
        "log instead": ((ended("a", 0, "all went well"),), "ResultMissing"),
        "another kind": ((ended("a", 0, commit.model_dump_json(by_alias=True)),), "ResultUnexpected"),
    }
    for case, (pods, reason) in cases.items():
        found = seen(job(end_condition="Complete", succeeded=1), *pods)
        assert found.result is None, case
        assert found.failure is not None, case
        assert found.failure.reason == reason, case


@pytest.mark.parametrize(
    ("retries", "pods", "said"),
    [
        (2, (ended("a", 3, BAD),), "attempt 1 failed: Unreachable: no route; the next one starts at {10}"),
        (2, (ended("a", 3, BAD), ended("b", 3, BAD)),
         "attempt 2 failed: Unreachable: no route; the next one starts at {20}"),
        (9, tuple(ended(name, 3, BAD) for name in "abcdefgh"),
         "attempt 8 failed: Unreachable: no route; the next one starts at {600}"),
        (2, (ended("a", 3, BAD), pod("b", phase="Running", minute=5)),
         "attempt 1 failed: Unreachable: no route; the next one has started"),
        (0, (ended("a", 3, BAD),), None),
        (2, (ended("a", 2, BAD),), None),
        (2, (), None),
    ],
)  # fmt: skip
def test_each_attempt_that_failed_is_reported_with_the_time_of_the_next(
    retries: int, pods: tuple[Pod, ...], said: str | None
) -> None:
    notices = notices_of(seen(job(active=1, retries=retries), *pods), "target db")
    if said is None:
        assert notices == ()
        return
    (notice,) = notices
    end = max(pod.termination.ended for pod in pods if pod.termination and pod.termination.ended)
    time = re.sub(r"{(\d+)}", lambda match: format_time(end + timedelta(seconds=int(match[1]))), said)
    assert (notice.reason, notice.warning, notice.message) == ("Retrying", True, f"target db: {time}")


def test_job_that_is_not_complete_has_no_result_though_its_pod_ended_well() -> None:
    found = seen(job(active=1), ended("a", 0, GOOD))
    assert not found.has_ended


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (ended("a", 3, BAD), "Unreachable"),
        (ended("a", 137, "log", "OOMKilled"), "OOMKilled"),
        (ended("a", 137, "log"), "PodKilled"),
        (ended("a", 143, "log"), "PodKilled"),
        (ended("a", 1, "Traceback"), "RunnerFailed"),
        (replace(ended("a", 137, ""), reason="Evicted"), "Evicted"),
        (pod("a", phase="Failed"), "PodLost"),
    ],
    ids=["result", "oom", "kill", "term", "defect", "evicted", "lost"],
)  # fmt: skip
def test_reason_of_a_failed_job(last: Pod, reason: str) -> None:
    found = seen(job(end_condition="Failed", reason="BackoffLimitExceeded", failed=1), last)
    assert found.failure is not None
    assert found.failure.reason == reason
    assert found.failure.exit_code == (3 if reason == "Unreachable" else None), "what the Result says"


def test_deadline_of_a_job_is_its_reason_whatever_its_pods_say() -> None:
    found = seen(job(end_condition="Failed", reason="DeadlineExceeded"), ended("a", 143, "log"))
    assert found.failure is not None
    assert found.failure.reason == "DeadlineExceeded"


@pytest.mark.parametrize(
    ("fields", "complaints", "reason"),
    [
        ({"waiting_reason": "ImagePullBackOff"}, {}, "ImagePullBackOff"),
        ({"unschedulable": "no node"}, {}, "Unschedulable"),
        ({"waiting_reason": "ContainerCreating"}, {"p-uid": Complaint("FailedMount", "none")}, "FailedMount"),
        ({"waiting_reason": "ContainerCreating"}, {}, None),
        ({"running_since": NOW}, {"p-uid": Complaint("FailedMount", "once, before it started")}, None),
    ],
    ids=["image", "unschedulable", "mount", "pulling", "running"],
)  # fmt: skip
def test_complaint_of_a_pod_that_does_not_start(
    fields: dict[str, Any], complaints: dict[str, Complaint], reason: str | None
) -> None:
    found = seen(job(active=1), pod(**fields), complaints=complaints)
    assert (found.complaint.reason if found.complaint else None) == reason
    late = NOW + timedelta(minutes=2)
    failure = end_failure(found, late, timedelta(minutes=2))
    assert (failure and failure.reason) == reason
    assert not end_failure(found, late - timedelta(seconds=1), timedelta(minutes=2))


def test_a_job_has_an_end_only_when_it_failed() -> None:
    start_deadline = timedelta(minutes=2)
    failed = seen(job(end_condition="Failed", failed=1), ended("a", 3, BAD))
    assert end_failure(failed, NOW, start_deadline) == failed.failure
    retried = seen(job(active=1, failed=1), ended("a", 3, BAD), pod("b", 1, running_since=NOW))
    assert end_failure(retried, NOW, start_deadline) is None
    done = seen(job(end_condition="Complete", failed=1, succeeded=1), ended("a", 3, BAD), ended("b", 0, GOOD))
    assert end_failure(done, NOW, start_deadline) is None


def test_what_holds_a_job_up_is_its_pod_or_else_its_last_attempt() -> None:
    retried = seen(job(active=1, failed=1), ended("a", 3, BAD), pod("b", 1, running_since=NOW))
    assert obstacle_of(retried, "the commit Job") == (
        "Retrying",
        "the commit Job is retried: Unreachable: no route",
    )
    stuck = seen(job(active=1, failed=1), ended("a", 3, BAD), pod("b", 1, unschedulable="no node"))
    assert obstacle_of(stuck, "target a") == ("Unschedulable", "target a cannot start: no node")
    assert obstacle_of(seen(job(active=1), pod(running_since=NOW)), "target a") is None


@pytest.mark.parametrize("reason", ["PodFailurePolicy", "BackoffLimitExceeded"])
def test_a_job_that_is_about_to_fail_says_why_and_not_that_it_cannot_start(reason: str) -> None:
    """Kubernetes warns of the end before the Job has the condition Failed."""
    rule = Complaint(reason, "Container runner for pod ns/a failed with exit code 2 matching FailJob rule")
    failing = seen(job(failed=1), ended("a", 2, BAD), complaints={"job-uid": rule})
    assert obstacle_of(failing, "target a") == ("Unreachable", "target a has failed: Unreachable: no route")
    assert end_failure(failing, NOW + timedelta(hours=1), timedelta(minutes=2)) is None
    # A pod that the Job cannot make for another attempt is still a Job that cannot start.
    quota = Complaint("FailedCreate", "exceeded quota")
    stuck = seen(job(failed=1), ended("a", 3, BAD), complaints={"job-uid": quota})
    assert obstacle_of(stuck, "target a") == ("FailedCreate", "target a cannot start: exceeded quota")


def test_the_notes_of_a_job_are_notices_and_none_is_forgotten() -> None:
    note = Note(reason="ReadFromPrimary", message="no replica", warning=True)
    noted = replace(seen(job()), notes=(note,))
    own = Notice("ReadFromPrimary", "target a: no replica", "target a/no replica", warning=True)
    assert notices_of(noted, "target a", "its manifest") == (own,)
    more = replace(noted, more=2)
    rest = Notice("NotesOmitted", "target a: 2 more notes are in its manifest", "target a/more")
    assert notices_of(more, "target a", "its manifest") == (own, rest)
    assert notices_of(more, "target a")[1].message == "target a: 2 more notes are left out"


def test_only_what_says_nothing_itself_is_asked_about() -> None:
    creating = pod("creating", waiting_reason="ContainerCreating")
    pulling = pod("pulling", waiting_reason="ErrImagePull")
    running = pod("running", running_since=NOW)
    later = NOW + timedelta(minutes=5)
    assert to_be_explained([job()], [creating, pulling, running], later) == {"creating-uid": "Pod"}
    assert to_be_explained([job()], [ended("a", 3, BAD)], later) == {"job-uid": "Job"}
    assert to_be_explained([job(end_condition="Failed")], [], later) == {}


def test_what_is_new_is_not_asked_about_unless_by_a_clock_that_is_behind() -> None:
    creating = pod("creating", waiting_reason="ContainerCreating")
    asked = {"creating-uid": "Pod"}
    for seconds, expected in ((0, {}), (2.9, {}), (3, asked), (-1, asked)):
        assert to_be_explained([job()], [creating], creating.created + timedelta(seconds=seconds)) == expected
    assert to_be_explained([job(created=NOW)], [], NOW + timedelta(seconds=1)) == {}


def test_the_end_of_the_runner_counts_though_another_container_of_its_pod_runs_on() -> None:
    held = replace(ended("a", 0, GOOD), phase="Running")
    assert isinstance(seen(job(active=1), held).result, BackupResult)
    broken = seen(job(active=1), replace(ended("a", 3, BAD), phase="Running"))
    assert not broken.has_ended
    patience, since = timedelta(minutes=2), NOW + timedelta(minutes=1)
    assert end_failure(broken, since + timedelta(minutes=1), patience) is None, "it may end by itself"
    failure = end_failure(broken, since + patience, patience)
    assert failure is not None
    assert (failure.reason, failure.exit_code) == ("Unreachable", 3)
    assert "another container of the pod runs on" in failure.message


def test_a_warning_of_the_time_before_the_pod_had_a_node_is_old() -> None:
    old = {"p-uid": Complaint("FailedScheduling", "0/1 nodes are available")}
    placed = pod(scheduled_since=NOW + timedelta(seconds=90), waiting_reason="ContainerCreating")
    observed = seen(job(active=1), placed, complaints=old)
    assert observed.complaint is None
    mount = {"p-uid": Complaint("FailedMount", "timed out")}
    observed = seen(job(active=1), placed, complaints=mount)
    assert end_failure(observed, NOW + timedelta(seconds=120), timedelta(minutes=2)) is None
    assert end_failure(observed, NOW + timedelta(seconds=210), timedelta(minutes=2)) is not None


def test_a_deleted_pod_that_does_not_end_is_lost_after_a_while() -> None:
    patience = timedelta(minutes=2)
    lingering = pod(phase="Running", is_due=NOW)
    assert not lingering.is_lost(NOW + timedelta(seconds=119), patience)
    assert lingering.is_lost(NOW + patience, patience)
    assert not pod(phase="Running").is_lost(NOW + patience, patience), "nobody has deleted it"
    assert not pod(phase="Failed", is_due=NOW).is_lost(NOW + patience, patience)


def test_a_job_whose_only_pod_is_lost_will_not_end() -> None:
    patience = timedelta(minutes=2)
    lingering = pod(phase="Running", is_due=NOW, node="rack-1")
    failure = lost(job(active=1), [lingering], NOW + patience, patience)
    assert failure is not None
    assert failure.reason == "PodLost"
    assert failure.message == "pod p on node rack-1 did not end: the node is probably lost"
    assert lost(job(active=1), [lingering], NOW + timedelta(seconds=119), patience) is None
    other = pod("q", minute=1, phase="Running")
    assert lost(job(active=1), [lingering, other], NOW + patience, patience) is None
    assert lost(job(active=1), [], NOW + patience, patience) is None, "its pod is about to be made"
    retried = job(active=1, created=NOW + timedelta(minutes=1))
    assert lost(retried, [lingering], NOW + patience, patience) is None, "it is a former Job's"


def test_the_end_of_a_swap_or_discard_job_counts_though_its_pod_is_gone() -> None:
    complete = job(succeeded=1, end_condition="Complete")
    for kind in (SWAP, DISCARD):
        observation = observe(complete, (), kind, {})
        assert (observation.failure, type(observation.result)) == (None, kind.result)
    lost = observe(complete, (), RESTORE, {}).failure
    assert lost is not None
    assert lost.reason == "ResultMissing"
