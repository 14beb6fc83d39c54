"""Which run a restore by its policy means, and how a restore ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests import factories
from tests.factories import ONE, rows, stored_target

from holdfast.api.restore import LocationSource, RestoreRequest
from holdfast.api.run import BackupRun, Failure, Progress
from holdfast.domain import restoration
from holdfast.domain.restoration import (
    LocationOrigin,
    RefusedError,
    RestoreOrigin,
    RunOrigin,
    choose_run,
    unknown_policy,
)
from holdfast.domain.targets import JobFacts
from holdfast.domain.turns import Place
from holdfast.domain.workload import Job, Observation
from holdfast.protocol import ListedTarget, LookupResult, RestoreResult

NOW = datetime(2026, 11, 27, tzinfo=UTC)
RECIPIENT = "age1" + "q" * 58
ONE_LOCATION = {"s3": ONE["s3"], "path": "ns/p/r"}


def request(**wanted: Any) -> RestoreRequest:
    return RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag"},
            "spec": {"source": {"policyRef": {"name": "chatbot", **wanted}}},
        }
    )


def run(day: int, verified: str | None = None) -> BackupRun:
    time = f"2026-11-{day:02}T02:00:00Z"
    condition = {"type": "Verified", "status": verified, "reason": "x", "lastTransitionTime": time}
    status = {
        "phase": "Succeeded",
        "recoveryPoint": time,
        "targets": [{"name": "kb", "engine": "postgres", "phase": "Succeeded"}],
        "conditions": [condition] if verified else [],
    }
    return factories.run(f"chatbot-{day}", policy="chatbot", status=status)


RUNS = [run(1, "True"), run(2, "True"), run(3, "False"), run(4, "Unknown"), run(5)]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({}, "chatbot-5"),
        ({"select": "LatestVerified"}, "chatbot-2"),
        ({"select": "LatestVerified", "notAfter": "2026-11-01T12:00:00Z"}, "chatbot-1"),
    ],
)
def test_the_newest_run_that_is_asked_for_is_taken(wanted: dict[str, str], name: str) -> None:
    assert choose_run(request(**wanted), rows(RUNS)).name == name


def test_a_policy_without_a_verified_run_says_how_to_have_one() -> None:
    with pytest.raises(RefusedError, match=r"holdfast\.dev/verify=\$\(date \+%s\) --overwrite") as refused:
        choose_run(request(select="LatestVerified"), rows(RUNS[2:]))
    assert refused.value.reason == "NoRunVerified"


def partial(day: int, *succeeded: str) -> BackupRun:
    """A run of the targets kb and sessions of which these succeeded."""
    time = f"2026-11-{day:02}T02:00:00Z"
    targets = [
        {"name": name, "engine": "redis", "phase": "Succeeded" if name in succeeded else "Failed"}
        for name in ("kb", "sessions", "swapped")
    ]
    status = {"phase": "PartiallySucceeded", "recoveryPoint": time, "targets": targets}
    return factories.run(f"chatbot-{day}", policy="chatbot", status=status)


@pytest.mark.parametrize(
    ("asked", "runs", "reason", "message"),
    [
        (
            ("session",),
            [partial(1, "sessions"), partial(2, "kb")],
            "TargetNotFound",
            "no run of policy chatbot holds target session; the targets that its runs hold: kb, sessions",
        ),
        (
            (),
            [partial(1, "kb", "sessions"), partial(2, "swapped")],
            "NoRun",
            "no run of policy chatbot holds every target; the newest, chatbot-2, holds only swapped: "
            "name it in spec.targets",
        ),
        (
            ("kb", "sessions"),
            [partial(1, "sessions"), partial(2, "kb")],
            "NoRun",
            "no run of policy chatbot holds all of kb, sessions; the newest, chatbot-2, holds only kb: "
            "create one RestoreRequest for each target",
        ),
    ],
    ids=["misspelt", "no names", "in two runs"],
)
def test_targets_that_no_run_holds_are_named_with_those_that_runs_hold(
    asked: tuple[str, ...], runs: list[BackupRun], reason: str, message: str
) -> None:
    wanted = request()
    targets = [{"name": name, "redis": {}} for name in asked]
    wanted = RestoreRequest.model_validate(
        {"metadata": wanted.metadata, "spec": {"source": wanted.spec.source, "targets": targets}}
    )
    with pytest.raises(RefusedError) as refused:
        choose_run(wanted, rows(runs))
    assert (refused.value.reason, refused.value.message) == (reason, message)


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [
        ({"select": "LatestVerified"}, "is verified"),
        ({"notAfter": "2026-11-05T00:00:00Z"}, "has a recovery point until 2026-11-05T00:00:00Z"),
    ],
    ids=["verified", "until"],
)
def test_a_run_that_only_the_request_rules_out_is_named(wanted: dict[str, Any], limit: str) -> None:
    condition = {
        "type": "Verified",
        "status": "True",
        "reason": "D",
        "lastTransitionTime": "2026-11-02T00:00:00Z",
    }
    old = partial(1, "kb")
    old = BackupRun.model_validate(
        old.to_json() | {"status": old.status.to_json() | {"conditions": [condition]}}
    )
    asked = request(**wanted)
    targets = [{"name": "sessions", "redis": {}}]
    asked = RestoreRequest.model_validate(
        {"metadata": asked.metadata, "spec": {"source": asked.spec.source, "targets": targets}}
    )
    with pytest.raises(RefusedError) as refused:
        choose_run(asked, rows([old, partial(9, "kb", "sessions")]))
    assert refused.value.reason == "NoRun"
    assert refused.value.message == (
        f"no run of policy chatbot that {limit} holds sessions; "
        "chatbot-9, with the recovery point 2026-11-09T02:00:00Z, does"
    )


def test_a_policy_that_nothing_knows_is_refused_with_those_that_have_runs() -> None:
    start = "spec.source.policyRef: this namespace has no BackupPolicy and no BackupRun of nosuch; "
    runs = [factories.run("a", policy="cop"), factories.run("b", policy="chatbot"), run(1)]
    assert unknown_policy("nosuch", rows(runs)).message == f"{start}it has runs of: chatbot, cop"
    assert unknown_policy("nosuch", ()).reason == "PolicyNotFound"
    assert unknown_policy("nosuch", ()).message == f"{start}it has no runs at all"


def origin(generation: int = 1, created: str = "2026-11-01T00:00:00Z", **age: Any) -> RunOrigin:
    """A run that started on the 2nd with generation 1 of the policy, and the policy as it is now."""
    status = {
        "phase": "Succeeded",
        "startTime": "2026-11-02T02:00:00Z",
        "recoveryPoint": "2026-11-02T02:00:00Z",
        "policyGeneration": 1,
        "destinations": [ONE],
        "targets": [stored_target("one")],
    }
    encryption: dict[str, Any] = {"encryption": {"age": {"recipients": [RECIPIENT], **age}}} if age else {}
    policy = factories.policy(metadata={"generation": generation, "creationTimestamp": created}, **encryption)
    return RunOrigin(factories.run(status=status), policy)


def test_the_policy_that_was_run_says_what_is_restored_and_from_where() -> None:
    plan = origin(identitySecret={"name": "key"}).plan(request())
    assert plan is not None
    assert plan.stored.destination.name == "one"
    assert [(target.name, target.recipients) for target in plan.targets] == [("a", (RECIPIENT,))]
    assert plan.identity_secret == "key"


@pytest.mark.parametrize(
    "changed",
    [
        origin(generation=2),
        origin(created="2026-11-03T00:00:00Z"),
        RunOrigin(origin().run, None),
        LocationOrigin(LocationSource.model_validate(ONE_LOCATION)),
    ],
    ids=["edited", "made later", "gone", "location"],
)
def test_otherwise_the_catalogue_says_it(changed: RestoreOrigin) -> None:
    assert changed.plan(request()) is None


@pytest.mark.parametrize(
    ("encrypted", "field"),
    [
        (origin(), "encryption.age.identitySecret of the policy"),
        (LocationOrigin(LocationSource.model_validate(ONE_LOCATION)), "set source.location.identitySecret"),
    ],
    ids=["run", "location"],
)
def test_an_encrypted_run_without_an_identity_is_refused(encrypted: RestoreOrigin, field: str) -> None:
    target = ListedTarget(name="a", engine="redis", spec={}, recipients=(RECIPIENT,))
    found = LookupResult(policy="p", run="r", recovery_point=NOW, targets=(target,))
    plan = restoration.plan_from_lookup(request(), encrypted, found)
    with pytest.raises(RefusedError, match=field) as refused:
        restoration.start(request(), encrypted, plan, NOW)
    assert refused.value.reason == "IdentityMissing"


@pytest.mark.parametrize(("exit_code", "differs"), [(5, True), (3, False)])
def test_what_differs_is_told_by_the_exit_code_whatever_its_reason_is_called(
    exit_code: int, differs: bool
) -> None:
    target = {"name": "sessions", "engine": "redis", "phase": "Running", "job": "job"}
    request = RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "uid": "uid"},
            "spec": {"source": {"runRef": {"name": "r"}}},
            "status": {"phase": "Running", "targets": [target]},
        }
    )
    failure = Failure(reason="TargetEvicted", message="it evicted 3 keys", exit_code=exit_code)
    job = Job(
        name="job", namespace="rag", uid="job", owner_uid="uid", target="sessions", component="Restore",
        task="", settings="", created=NOW,
    )  # fmt: skip
    seen = {"sessions": Observation(job, attempts=1, failure=failure)}
    status = restoration.advance(request, JobFacts(seen, timedelta(minutes=2)), NOW).status
    assert status.verification is not None
    assert status.verification.mismatched == differs
    assert status.verification.details == (("target sessions: it evicted 3 keys",) if differs else ())


def test_a_target_that_is_restored_is_in_no_phase_of_its_work_any_more() -> None:
    progress = {"bytes": 9, "rows": 3, "phase": "restoring passages"}
    target = {"name": "a", "engine": "redis", "phase": "Running", "job": "job", "progress": progress}
    subject = RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "uid": "uid"},
            "spec": {"source": {"runRef": {"name": "r"}}},
            "status": {"phase": "Running", "targets": [target]},
        }
    )
    result = RestoreResult(
        snapshot_time=NOW, restore_seconds=1, address="redis:6379", compared=1, contents={}
    )
    job = Job("job", "rag", "job", "uid", "a", "Restore", "", "", NOW)
    seen = {"a": Observation(job, attempts=1, result=result)}
    status = restoration.advance(subject, JobFacts(seen, timedelta(minutes=2)), NOW).status
    assert status.targets[0].progress == Progress(bytes=9)
    assert status.to_json()["progress"] == "1/1 9B"


@pytest.mark.parametrize(
    ("compared", "message"),
    [
        (0, "1 target restored; no count was compared"),
        (1, "1 target restored; 1 count compared, all equal"),
        (3, "1 target restored; 3 counts compared, all equal"),
    ],
)
def test_the_end_of_a_restore_says_what_was_compared(compared: int, message: str) -> None:
    target = {"name": "a", "engine": "redis", "phase": "Succeeded", "job": "job"}
    verified = {"verification": {"compared": compared, "mismatched": 0}}
    subject = RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "uid": "uid"},
            "spec": {"source": {"runRef": {"name": "r"}}},
            "status": {"phase": "Running", "targets": [target | verified]},
        }
    )
    assert restoration.advance(subject, JobFacts({}, timedelta(minutes=2)), NOW).status.message == message


@pytest.mark.parametrize(
    ("namespace", "phase", "source", "resolved", "runs"),
    [
        ("rag", None, {"policyRef": {"name": "chatbot"}}, None, set()),
        ("rag", "Pending", {"policyRef": {"name": "chatbot"}}, "a", {"a"}),
        ("rag", None, {"runRef": {"name": "b"}}, None, {"b"}),
        ("rag", "Failed", {"runRef": {"name": "b"}}, "b", set()),
        ("other", "Running", {"runRef": {"name": "b"}}, "b", set()),
        ("rag", None, {"location": {"path": "rag/chatbot/c"}}, None, {"c"}),
        ("rag", "Running", {"location": {"path": "rag/chatbot/c"}}, "rag/chatbot/c", {"c"}),
        ("rag", "Running", {"location": {"path": "rag/other/c"}}, "rag/other/c", set()),
        ("rag", None, {"location": {"path": "no-run"}}, None, set()),
        ("rag", None, {"location": {"path": "rag/chatbot/c", "s3": {"bucket": "other"}}}, None, set()),
        ("other", "Pending", {"location": {"path": "rag/chatbot/c"}}, "rag/chatbot/c", set()),
        ("other", "Running", {"location": {"path": "rag/chatbot/c"}}, "rag/chatbot/c", {"c"}),
    ],
)
def test_a_run_is_in_use_whichever_way_a_request_names_it(
    namespace: str, phase: str | None, source: dict[str, Any], resolved: str | None, runs: set[str]
) -> None:
    if "location" in source:
        source = {"location": {"s3": ONE["s3"]} | source["location"]}
    status = {name: value for name, value in (("phase", phase), ("source", resolved)) if value}
    reader = RestoreRequest.model_validate(
        {"metadata": {"name": "back", "namespace": namespace}, "spec": {"source": source}, "status": status}
    )
    policy = factories.policy(destinations=[ONE])
    policy = policy.model_copy(
        update={"metadata": policy.metadata.model_copy(update={"namespace": "rag", "name": "chatbot"})}
    )
    assert restoration.runs_read_by([reader], policy) == runs


GOING = Observation(Job("job", "rag", "job", "uid", "a", "Restore", "", "", NOW), attempts=1, running_pod="p")
HOUR = timedelta(hours=1)


def under_way(phase: str, *done: str, **fields: Any) -> RestoreRequest:
    """A request with a deadline in an hour whose targets are a and b; these are restored."""
    targets = [
        {"name": name, "engine": "redis", "phase": "Succeeded" if name in done else "Running", "job": "job"}
        for name in "ab"
    ]
    settings = {"activeDeadline": "1h"}
    status = {"phase": phase, "startTime": NOW, "deadline": NOW + HOUR, "settings": settings}
    return RestoreRequest.model_validate(
        {
            "metadata": {"name": "back", "namespace": "rag", "uid": "uid"},
            "spec": {"source": {"runRef": {"name": "r"}}},
            "status": status | {"targets": targets if phase == "Running" else []} | fields,
        }
    )


def test_a_request_writes_down_its_deadline_and_its_settings_when_it_starts() -> None:
    policy = factories.policy(activeDeadline="2h", retries=5)
    status = restoration.resolve(request(), "r", policy, NOW).status
    assert status.settings is not None
    assert (status.settings.active_deadline, status.settings.retries) == ("2h", 5)
    assert (status.start_time, status.deadline) == (NOW, NOW + 2 * HOUR)
    assert restoration.resolve(request(), "r", None, NOW).status.deadline == NOW + 6 * HOUR
    frozen = {"name": "one", "s3": {"bucket": "backups", "storageClass": "DEEP_ARCHIVE"}}
    there = origin()
    stored = there.run.model_copy(
        update={
            "status": factories.run(status=there.run.status.to_json() | {"destinations": [frozen]}).status
        }
    )
    of_archive = RunOrigin(stored, None)
    target = ListedTarget(name="a", engine="redis", spec={})
    found = LookupResult(policy="p", run="r", recovery_point=NOW, targets=(target,))
    plan = restoration.plan_from_lookup(request(), of_archive, found)
    resolved = request().model_copy(update={"status": status})
    started = restoration.start(resolved, of_archive, plan, NOW + HOUR).status
    assert (started.deadline, started.settings) == (NOW + 51 * HOUR, status.settings)


@pytest.mark.parametrize(
    ("reason", "ends_as"), [(None, "DeadlineExceeded"), ("JobNotCreated", "JobNotCreated")]
)
def test_a_request_ends_at_the_second_of_its_deadline(reason: str | None, ends_as: str) -> None:
    facts = JobFacts({"b": GOING}, timedelta(minutes=2))
    subject = under_way("Running", "a", **({"reason": reason, "message": "no"} if reason else {}))
    assert restoration.overdue(subject, facts, None, NOW + HOUR - timedelta(seconds=1)) is None
    step = restoration.overdue(subject, facts, None, NOW + HOUR)
    assert step is not None
    assert (step.status.phase, step.status.reason) == ("Failed", ends_as)
    assert "not done within activeDeadline (1h)" in (step.status.message or "")
    assert [target.phase for target in step.status.targets] == ["Succeeded", "Failed"]


def test_what_is_restored_counts_though_the_operator_was_down_at_the_deadline() -> None:
    facts = JobFacts({}, timedelta(minutes=2))
    assert restoration.overdue(under_way("Running", "a", "b"), facts, None, NOW + 2 * HOUR) is None


def test_a_lookup_has_a_deadline_and_counts_if_it_has_ended() -> None:
    facts, late = JobFacts({}, timedelta(minutes=2)), NOW + HOUR
    ended = Observation(GOING.job, attempts=1, started=NOW, ended=NOW, result=LookupResult(
        policy="p", run="r", recovery_point=NOW, targets=(),
    ))  # fmt: skip
    assert restoration.overdue(under_way("Pending"), facts, ended, late) is None
    for lookup in (None, GOING):
        step = restoration.overdue(under_way("Pending"), facts, lookup, late)
        assert step is not None
        assert (step.status.phase, step.status.reason) == ("Failed", "DeadlineExceeded")


def test_a_request_of_an_earlier_release_has_no_deadline() -> None:
    old = under_way("Running", deadline=None, settings=None)
    assert restoration.overdue(old, JobFacts({}, timedelta(minutes=2)), None, NOW + 99 * HOUR) is None


def test_a_restore_that_waits_for_permits_says_its_place() -> None:
    pending = [{"name": name, "engine": "redis", "phase": "Pending", "job": "job"} for name in "ab"]
    subject, none = under_way("Running", targets=pending), JobFacts({}, timedelta(minutes=2))
    place = Place(permits=0, position=7, line_length=500, limit=50, share=25)
    waiting = restoration.advance(subject, none, NOW + HOUR, place).status
    assert waiting.reason == "WaitingForCapacity"
    assert "as number 7 of 500: at most 50 Jobs of restores run at once" in (waiting.message or "")
    assert waiting.deadline == NOW + 2 * HOUR, "the time before its first Job does not count"
    lookup = restoration.wait(under_way("Pending"), place, NOW + HOUR).status
    assert (lookup.reason, lookup.deadline) == ("WaitingForCapacity", NOW + 2 * HOUR)
    free = Place(permits=2, position=0, line_length=0, limit=50, share=25)
    assert restoration.advance(subject, none, NOW, free).status.reason is None


def test_the_first_jobs_after_a_wait_have_all_their_time_and_that_of_thawing() -> None:
    pending = [{"name": name, "engine": "redis", "phase": "Pending", "job": "job"} for name in "ab"]
    waited = under_way("Running", targets=pending, reason="WaitingForCapacity", message="waits")
    free, none = Place(2, 0, 0, 50, 25), JobFacts({}, timedelta(minutes=2))
    resumed = restoration.advance(waited, none, NOW + HOUR / 2, free).status
    assert (resumed.reason, resumed.deadline) == (None, NOW + 1.5 * HOUR)
    thawing = restoration.advance(waited, none, NOW + HOUR / 2, free, 48 * HOUR).status
    assert thawing.deadline == NOW + 49.5 * HOUR
    behind = Place(1, 1, 1, 50, 25)
    assert restoration.advance(waited, none, NOW, behind, 48 * HOUR).status.deadline == NOW + 49 * HOUR
    at_once = restoration.advance(under_way("Running", targets=pending), none, NOW + HOUR / 2, free).status
    assert at_once.deadline == NOW + HOUR


def test_the_deadline_counts_while_only_some_targets_wait() -> None:
    place = Place(permits=0, position=1, line_length=1, limit=50, share=25)
    targets = [
        {"name": "a", "engine": "redis", "phase": "Succeeded", "job": "job"},
        {"name": "b", "engine": "redis", "phase": "Pending", "job": "job"},
    ]
    subject = under_way("Running", targets=targets)
    status = restoration.advance(subject, JobFacts({}, timedelta(minutes=2)), NOW + HOUR / 2, place).status
    assert (status.reason, status.deadline) == ("WaitingForCapacity", NOW + HOUR)


def test_a_newer_run_that_lacks_a_target_is_passed_over_and_named() -> None:
    skipped = [{"name": name, "engine": "redis", "phase": "Skipped"} for name in ("kb", "swapped")]
    status = partial(6, "sessions").status.to_json() | {"phase": "Succeeded"}
    held = [target for target in status["targets"] if target["name"] == "sessions"]
    newer = factories.run(
        "chatbot-6", policy="chatbot", targets=["sessions"], status=status | {"targets": held + skipped}
    )
    known = rows([run(5), newer])
    chosen = choose_run(request(), known)
    assert chosen.name == "chatbot-5"
    (notice,) = restoration.passed_over(request(), known, chosen)
    assert notice.message == (
        "run chatbot-6, with the recovery point 2026-11-06T02:00:00Z, is newer, but holds only sessions; "
        "chatbot-5, with the recovery point 2026-11-05T02:00:00Z, is the newest that holds every target"
    )
    assert restoration.passed_over(request(notAfter="2026-11-05T12:00:00Z"), known, chosen) == ()
    targets = [{"name": "sessions", "redis": {}}]
    source = {"policyRef": {"name": "chatbot"}}
    wanted = RestoreRequest.model_validate(
        {"metadata": request().metadata, "spec": {"source": source, "targets": targets}}
    )
    of_target = choose_run(wanted, known)
    assert of_target.name == "chatbot-6"
    assert restoration.passed_over(wanted, known, of_target) == ()
