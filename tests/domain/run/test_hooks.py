"""Which hook is due, where it is run, and what its end makes of the run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import factories
from tests.factories import targets, with_status

from holdfast.api.run import BackupRun, Failure, RunPhase, Source, TargetPhase
from holdfast.domain.labels import PAUSED
from holdfast.domain.run import deadline, hooks, lifecycle
from holdfast.domain.run.admission import Standing
from holdfast.domain.run.hooks import Candidate, CommandEnd, DueHook
from holdfast.domain.step import updated
from holdfast.domain.targets import JobFacts
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import BackupResult, CommitResult

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMIT = timedelta(hours=1)
NOTHING = JobFacts({}, LIMIT)
JOB = Job("j", "ns", "ju", "ru", "t", "Backup", "", "", NOW)
BROKEN = CommandEnd(Failure(reason="HookFailed", message="pod app-1: exit code 3: no disk"), "app-1", 3)
GOOD = CommandEnd(pod="app-1", exit_code=0)


def hook(name: str, on_error: str = "Fail") -> dict[str, Any]:
    return {
        "name": name,
        "podSelector": {"matchLabels": {"app": "chatbot"}},
        "command": ["x"],
        "onError": on_error,
    }


def started(
    before: tuple[dict[str, Any], ...] = (), after: tuple[dict[str, Any], ...] = (), **spec: Any
) -> BackupRun:
    policy = factories.policy(
        metadata={"generation": None},
        targets=targets("a", "b"),
        activeDeadline="1h",
        hooks={"before": before, "after": after},
    )
    run = factories.run(metadata={"generation": None}, **spec)
    return with_status(run, lifecycle.admit(run, policy, Standing(), NOW).status)


def name(due: DueHook | None) -> str:
    return f"{due.when}/{due.hook.name}" if due else ""


def begin(run: BackupRun) -> BackupRun:
    due = hooks.due(run.status)
    assert due is not None
    return with_status(run, hooks.with_hook_started(run.status, due, NOW))


def finish(run: BackupRun, outcome: CommandEnd = GOOD) -> BackupRun:
    due = hooks.due(run.status)
    assert due is not None
    return with_status(run, hooks.end_hook(run.status, due, outcome, NOW).status)


def do(run: BackupRun, outcome: CommandEnd = GOOD) -> BackupRun:
    return finish(begin(run), outcome)


def seen(run: BackupRun, result: BackupResult | None) -> BackupRun:
    """The run once all its Jobs have ended, well or not."""
    found = Observation(JOB, 1, NOW, NOW, result=result, failure=None if result else Failure(reason="Bad"))
    jobs = {t.name: found for t in run.status.targets if t.phase is not TargetPhase.SKIPPED}
    return with_status(run, lifecycle.advance(run, JobFacts(jobs, LIMIT), NOW).status)


STORED = BackupResult(
    snapshot_time=NOW, source=Source(address="redis:1"), contents={}, plain_bytes=1, size_bytes=1,
    artifacts=(), manifest_sha256="a" * 64, destinations=("one",),
)  # fmt: skip
COMMITTED = CommitResult(
    verified_bytes=1, recovery_point=NOW, skew_seconds=0, size_bytes=1, destinations=("one",)
)


def test_hooks_are_due_one_after_the_other_around_the_targets() -> None:
    run = started((hook("pause"), hook("flush")), (hook("flush"), hook("go-on")))
    assert name(hooks.due(run.status)) == "Before/pause"
    run = begin(run)
    assert name(hooks.due(run.status)) == "Before/pause", "it is due until it has ended"
    run = do(finish(run))
    assert hooks.due(run.status) is None, "now the targets are backed up"
    run = seen(run, STORED)
    assert run.status.phase is RunPhase.RUNNING, "the commit waits until the application goes on"
    assert name(hooks.due(run.status)) == "After/flush"
    run = do(do(run))
    assert hooks.due(run.status) is None
    assert [(each.when, each.name, each.phase.value) for each in run.status.hooks] == [
        ("Before", "pause", "Succeeded"), ("Before", "flush", "Succeeded"),
        ("After", "flush", "Succeeded"), ("After", "go-on", "Succeeded"),
    ]  # fmt: skip
    assert seen(run, STORED).status.phase is RunPhase.COMMITTING


def test_a_run_of_a_part_has_the_same_hooks_around_its_targets() -> None:
    run = started((hook("pause"),), (hook("go-on"),), targets=["a"])
    assert name(hooks.due(run.status)) == "Before/pause"
    failed = do(run, BROKEN)
    assert name(hooks.due(failed.status)) == "After/go-on"
    run = do(run)
    assert hooks.due(run.status) is None, "now the target is backed up"
    run = seen(run, STORED)
    assert run.status.phase is RunPhase.RUNNING
    assert name(hooks.due(run.status)) == "After/go-on"
    assert seen(do(run), STORED).status.phase is RunPhase.COMMITTING


def test_a_hook_before_that_fails_makes_no_job_and_the_application_goes_on() -> None:
    run = do(started((hook("pause"), hook("flush")), (hook("go-on"),)), BROKEN)
    assert {target.phase for target in run.status.targets} == {TargetPhase.SKIPPED}
    assert name(hooks.due(run.status)) == "After/go-on", "flush is not run"
    run = do(run)
    step = lifecycle.advance(run, JobFacts({}, LIMIT), NOW)
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "HookFailed")
    assert step.status.message == "before the backup: hook pause: HookFailed: pod app-1: exit code 3: no disk"
    (entry,) = [each for each in step.status.hooks if each.name == "pause"]
    assert (entry.pod, entry.exit_code, entry.completion_time) == ("app-1", 3, NOW)


def test_a_hook_that_may_fail_is_told_and_nothing_else() -> None:
    run = begin(started((hook("pause", "Continue"), hook("flush"))))
    due = hooks.due(run.status)
    assert due is not None
    step = hooks.end_hook(run.status, due, BROKEN, NOW)
    (notice,) = step.notices
    assert (notice.reason, notice.warning) == ("HookFailed", True)
    assert notice.message.endswith("; the run goes on")
    assert name(hooks.due(step.status)) == "Before/flush"
    assert not any(target.phase.has_ended for target in step.status.targets)


@pytest.mark.parametrize(("on_error", "phase", "reason"), [
    ("Fail", RunPhase.PARTIALLY_SUCCEEDED, "HookFailed"),
    ("Continue", RunPhase.SUCCEEDED, None),
])  # fmt: skip
def test_a_hook_after_that_fails_leaves_a_backup_that_is_whole(
    on_error: str, phase: RunPhase, reason: str | None
) -> None:
    run = seen(started(after=(hook("go-on", on_error), hook("tell"))), STORED)
    run = do(do(run, BROKEN))
    assert [each.name for each in run.status.hooks] == ["go-on", "tell"], "the others are run all the same"
    run = seen(run, STORED)
    step = lifecycle.advance_commit(run, Observation(JOB, 1, result=COMMITTED), LIMIT, NOW)
    assert (step.status.phase, step.status.reason) == (phase, reason)


def test_a_run_that_fails_lets_the_application_go_on_first() -> None:
    run = seen(do(started((hook("pause"),), (hook("go-on"),))), None)
    assert run.status.phase is RunPhase.RUNNING
    assert name(hooks.due(run.status)) == "After/go-on"
    run = seen(do(run), None)
    assert (run.status.phase, run.status.reason) == (RunPhase.FAILED, "Bad")


def test_an_overdue_run_gives_the_hook_up_and_ends_after_the_application_goes_on() -> None:
    run = begin(started((hook("pause"),), (hook("go-on"),)))
    step = deadline.check(run, NOTHING, None, NOW + LIMIT)
    assert step is not None
    assert step.status.phase is RunPhase.RUNNING
    run = with_status(run, step.status)
    assert run.status.hooks[0].message == (
        "given up: not done within activeDeadline (1h); it waited for this: RunningHook: runs hook pause"
    )
    assert name(hooks.due(run.status)) == "After/go-on"
    step = deadline.check(do(run), NOTHING, None, NOW + LIMIT)
    assert step is not None
    assert (step.status.phase, step.status.reason) == (RunPhase.FAILED, "DeadlineExceeded")


def test_nothing_is_owed_to_an_application_that_was_not_paused() -> None:
    run = started((hook("pause"),), (hook("go-on"),))
    assert hooks.next_after(run.status) is None
    assert name(hooks.next_after(begin(run).status)) == "After/go-on"
    assert name(hooks.next_after(started(after=(hook("go-on"),)).status)) == "After/go-on"
    assert hooks.next_after(updated(run.status, hook_plan=None)) is None


@pytest.mark.parametrize(("finalizers", "created", "expected"), [
    ((PAUSED,), NOW, True),
    ((PAUSED,), NOW + timedelta(seconds=30), True),
    ((PAUSED,), NOW + timedelta(days=1), False),
    ((), NOW, False),
])  # fmt: skip
def test_a_run_whose_own_hook_has_started_is_not_one_with_a_copied_status(
    finalizers: tuple[str, ...], created: datetime, expected: bool
) -> None:
    run = begin(started((hook("pause"),)))
    changed = {"finalizers": finalizers, "creation_timestamp": created}
    metadata = run.metadata.model_copy(update=changed)
    assert hooks.has_paused(run.model_copy(update={"metadata": metadata})) is expected
    assert not hooks.has_paused(started((hook("pause"),)))


def pod(name: str, age: int = 0, **facts: Any) -> Candidate:
    return Candidate(
        name,
        NOW - timedelta(minutes=age),
        ("app", "proxy"),
        **({"is_running": True, "is_ready": True} | facts),
    )


@pytest.mark.parametrize(("pods", "paused", "chosen"), [
    ([], (), None),
    ([pod("young", 1), pod("old", 9)], (), "old"),
    ([pod("b"), pod("a")], (), "a"),
    ([pod("old", 9, is_ready=False), pod("young")], (), "young"),
    ([pod("old", 9, is_running=False), pod("young")], (), "young"),
    ([pod("old", 9, is_being_deleted=True), pod("young")], (), "young"),
    ([pod("old", 9), pod("young")], ("young",), "young"),
    ([pod("old", 9), pod("young", is_ready=False)], ("young",), "young"),
    ([pod("old", 9), pod("young", is_being_deleted=True)], ("young",), "old"),
    ([pod("only", is_ready=False)], ("gone",), None),
])  # fmt: skip
def test_the_oldest_ready_pod_is_chosen_but_first_one_that_was_paused(
    pods: list[Candidate], paused: tuple[str, ...], chosen: str | None
) -> None:
    found = hooks.choose_pod(pods, paused)
    assert (found.name if found else None) == chosen


def test_the_container_is_the_hooks_or_the_pods_default() -> None:
    run = started(({**hook("a"), "container": "tools"}, hook("b")))
    assert run.status.hook_plan is not None
    named, unnamed = run.status.hook_plan.before
    assert hooks.container_of(pod("p"), named) == "tools"
    assert hooks.container_of(pod("p"), unnamed) == "app"
    assert hooks.container_of(pod("p", default_container="proxy"), unnamed) == "proxy"
