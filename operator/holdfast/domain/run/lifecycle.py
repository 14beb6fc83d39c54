"""How a BackupRun goes from phase to phase. Pure: facts and `now` come in, the next status goes out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from holdfast.api.policy import BackupPolicy
from holdfast.api.run import (
    Artifact,
    BackupRun,
    BackupRunStatus,
    Failure,
    PlannedTarget,
    RunPhase,
    TargetPhase,
    TargetStatus,
)
from holdfast.api.target import Target
from holdfast.api.text import counted, sized
from holdfast.domain.claims import CLAIM_MOUNTED
from holdfast.domain.duplicates import STARTED_BEFORE, explanation, started_uid
from holdfast.domain.labels import MISSED, SKIPPED
from holdfast.domain.naming import job_name, run_path
from holdfast.domain.plan import quota
from holdfast.domain.plan.readiness import refusal
from holdfast.domain.rows import row_of
from holdfast.domain.run import hooks, omissions
from holdfast.domain.run.admission import (
    MAX_QUEUED,
    Standing,
    is_created_late,
    is_scheduled,
    is_too_late,
    start_deadline,
)
from holdfast.domain.run.end import COPY_MISSING, end_of_stored, hook_failure, with_end
from holdfast.domain.step import End, Notice, Step, describe, seconds_between, updated
from holdfast.domain.stored import kept_in, report_uri
from holdfast.domain.targets import (
    JobFacts,
    Notices,
    advance_targets,
    cancel,
    failures,
    not_created,
    not_ended,
    obstacle,
)
from holdfast.domain.tasks import destinations_written
from holdfast.domain.too_late import answers
from holdfast.domain.turns import WAITING
from holdfast.domain.workload import Observation, end_failure, notices_of, obstacle_of
from holdfast.protocol import BackupResult, CommitResult

RunStep = Step[BackupRunStatus]


def admit(run: BackupRun, policy: BackupPolicy | None, standing: Standing, now: datetime) -> RunStep:
    """A Pending run starts, waits, or ends without a start."""
    missed = run.metadata.annotations.get(MISSED)
    name = run.spec.policy_ref.name
    if missed is not None:
        return end(run, run.status, End(RunPhase.MISSED, "Missed", missed), now)
    skipped = run.metadata.annotations.get(SKIPPED)
    if skipped is not None:
        return end(run, run.status, End(RunPhase.SKIPPED, "Suspended", skipped), now)
    if started_uid(run) is not None:
        return end_duplicate(run, now)
    if run.spec.cancel:
        return end(run, run.status, End(RunPhase.CANCELLED, "Cancelled", "cancelled before it started"), now)
    if policy is None:
        message = f"spec.policyRef: this namespace has no BackupPolicy {name}"
        return end(run, run.status, End(RunPhase.FAILED, "PolicyNotFound", message), now)
    if policy.metadata.deletion_timestamp is not None:
        return end(
            run, run.status, End(RunPhase.FAILED, "PolicyNotFound", f"policy {name} is being deleted"), now
        )
    refused = refusal(policy)
    if refused is not None:
        message = f"policy {name} is not ready: {refused.message}"
        return end(run, run.status, End(RunPhase.FAILED, refused.reason, message), now)
    unknown = _unknown_targets(run, policy)
    if unknown is not None:
        return end(run, run.status, End(RunPhase.FAILED, "TargetNotFound", unknown), now)
    dropped = _drop(run, policy, standing, now) if is_scheduled(row_of(run)) else None
    return dropped or _wait(run, standing) or _start(run, policy, standing, now)


def _unknown_targets(run: BackupRun, policy: BackupPolicy) -> str | None:
    """Why the run's spec.targets does not fit its policy; None if it does."""
    known = [target.name for target in policy.spec.targets]
    unknown = [name for name in run.spec.targets or () if name not in known]
    if not unknown:
        return None
    return (
        f"spec.targets: policy {policy.metadata.name} has no target {', '.join(unknown)}; "
        f"its targets: {', '.join(known)}"
    )


def _drop(run: BackupRun, policy: BackupPolicy, standing: Standing, now: datetime) -> RunStep | None:
    """The end of a scheduled run that does not start at all."""
    spec = policy.spec
    if spec.suspend:
        message = f"policy {policy.metadata.name} was suspended before it started"
        return end(run, run.status, End(RunPhase.SKIPPED, "Suspended", message), now)
    row = row_of(run)
    if is_too_late(row, policy, standing.is_overtaken, now):
        why = "a later slot is due" if standing.is_overtaken else "catchUp is None"
        limit = start_deadline(row, policy)
        if limit is not None and is_created_late(row, limit):
            why = "the BackupRun was created after that, from a backup or a file"
        message = f"it had not started at the end of startingDeadline ({spec.starting_deadline}), and {why}"
        return end(run, run.status, End(RunPhase.MISSED, "StartingDeadlineExceeded", message), now)
    if spec.concurrency_policy == "Forbid" and (standing.active_run or standing.runs_ahead):
        message = f"run {standing.active_run} of the same policy was still under way"
        if not standing.active_run:
            message = f"run {standing.runs_ahead[0]} of the same policy still waited to start"
        return end(run, run.status, End(RunPhase.SKIPPED, "ConcurrentRun", message), now)
    if len(standing.runs_ahead) >= MAX_QUEUED:
        names = ", ".join(standing.runs_ahead)
        message = f"{len(standing.runs_ahead)} runs of the same policy wait already: {names}"
        return end(run, run.status, End(RunPhase.SKIPPED, "QueueFull", message), now)
    return None


def _wait(run: BackupRun, standing: Standing) -> RunStep | None:
    """A run that starts later."""
    before = standing.active_run or next(iter(standing.runs_ahead), "")
    if before:
        reason, message = "WaitingForRun", f"waits for run {before} of the same policy to end"
    elif standing.position:
        reason = WAITING
        message = (
            f"waits for a permit, as number {standing.position} of {standing.line_length}: "
            f"at most {standing.limit} Jobs of backups run at once"
        )
    else:
        return None
    status = updated(run.status, phase=RunPhase.PENDING, reason=reason, message=message)
    return Step(status, (Notice(reason, message),))


def _start(run: BackupRun, policy: BackupPolicy, standing: Standing, now: datetime) -> RunStep:
    uid, mounted = run.metadata.uid, standing.mounted
    full = quota.full_destinations(policy) | dict(mounted)
    why_not = quota.refusal(policy.spec.destinations, full)
    if why_not is not None:
        is_by_claim = quota.refusal(policy.spec.destinations, mounted) is not None
        reason = CLAIM_MOUNTED if is_by_claim else "QuotaExceeded"
        return end(run, run.status, End(RunPhase.FAILED, reason, why_not), now)
    wanted = [t for t in policy.spec.targets if run.spec.targets is None or t.name in run.spec.targets]
    status = updated(
        run.status,
        phase=RunPhase.RUNNING,
        start_time=now,
        reason=None,
        message=None,
        policy_generation=policy.metadata.generation,
        deadline=policy.spec.settings.deadline_from(now),
        settings=policy.spec.settings,
        plan=planned_targets(wanted),
        retention_plan_time=policy.status.retention_plan.time if policy.status.retention_plan else None,
        jobs_at_once=standing.share,
        destinations=policy.spec.destinations,
        over_quota=full or None,
        hook_plan=policy.spec.hooks,
        targets=tuple(
            TargetStatus(name=t.name, engine=t.engine, job=job_name(run.metadata.name, uid, t.name))
            if t in wanted
            # So that nobody takes it for a run of all targets, an earlier release neither.
            else TargetStatus(name=t.name, engine=t.engine, phase=TargetPhase.SKIPPED)
            for t in policy.spec.targets
        ),
    )
    names = ", ".join(target.name for target in wanted)
    destinations = ", ".join(d.name for d in policy.spec.destinations if d.name not in full)
    notices = [Notice("Started", f"backing up {names} to {destinations}")]
    notices += [
        Notice(CLAIM_MOUNTED if name in mounted else "QuotaExceeded", why, name, warning=True)
        for name, why in full.items()
    ]
    return Step(status, tuple(notices))


def leave_out(run: BackupRun, mounted: Mapping[str, str]) -> RunStep:
    """From now on nothing is written to these optional destinations; `mounted` says why."""
    notices = tuple(Notice(CLAIM_MOUNTED, why, name, warning=True) for name, why in mounted.items())
    return Step(updated(run.status, over_quota=(run.status.over_quota or {}) | dict(mounted)), notices)


def no_destination_left(run: BackupRun) -> Failure | None:
    """Why nothing more can be backed up: all destinations were optional, and all are left out."""
    if destinations_written(run) or not run.status.over_quota:
        return None
    why = "; ".join((run.status.over_quota or {}).values())
    return Failure(reason=CLAIM_MOUNTED, message=f"no destination is left to write to: {why}")


def planned_targets(targets: Iterable[Target]) -> tuple[PlannedTarget, ...]:
    """What the run has to know of its targets until their Jobs are there, whatever becomes of the policy."""
    return tuple(
        PlannedTarget(
            name=target.name,
            spec=json.dumps(target.engine_spec.to_json(), separators=(",", ":"), ensure_ascii=False),
            on_omission=target.on_omission,
        )
        for target in targets
    )


def record_targets(run: BackupRun, facts: JobFacts, now: datetime) -> tuple[BackupRunStatus, Notices]:
    """The run's targets by what is known of their Jobs, and what has happened."""
    before = {target.name: target.phase for target in run.status.targets}
    targets, notices = advance_targets(run.status.targets, facts, partial(_succeed, run), now, "its manifest")
    status = updated(run.status, targets=targets)
    for target in targets:
        if target.phase is TargetPhase.SUCCEEDED and before[target.name] is not target.phase:
            result = facts.observations[target.name].result
            assert isinstance(result, BackupResult)
            if result.omissions:
                lacks = result.omissions, result.omissions_omitted
                status = omissions.with_omissions(status, target.name, *lacks)
                notices = (*notices, omissions.notice(target.name, *lacks))
    return status, notices


def advance(run: BackupRun, facts: JobFacts, now: datetime) -> RunStep:
    """A Running run goes on, by what is known of its Jobs."""
    status, notices = record_targets(run, facts, now)
    statuses = status.targets
    waiting = {target.name for target in statuses if target.phase is TargetPhase.PENDING}
    plan = tuple(planned for planned in run.status.plan if planned.name in waiting)
    status = updated(status, plan=plan, reason=None, message=None)
    if all(target.phase.has_ended for target in statuses):
        # What was paused goes on first; then the targets are where they are now, and this is decided again.
        if hooks.next_after(status) is not None:
            return Step(status, notices)
        return _commit_or_fail(run, status, notices, now)
    reason, message = obstacle(statuses, facts)
    return Step(updated(status, reason=reason, message=message), notices)


def _succeed(
    run: BackupRun, target: TargetStatus, job: Observation, now: datetime
) -> tuple[TargetStatus, Notice]:
    result = job.result
    assert isinstance(result, BackupResult)
    warned = next((note.reason for note in job.notes if note.warning), None)
    lacks = (omissions.warning(result.omissions, result.omissions_omitted),) if result.omissions else ()
    status = updated(
        target,
        phase=TargetPhase.SUCCEEDED,
        completion_time=job.ended or now,
        snapshot_time=result.snapshot_time,
        progress=None,
        source=result.source,
        contents=result.contents,
        manifest_sha256=result.manifest_sha256,
        size_bytes=result.size_bytes,
        artifacts=artifacts_of(run, target.name, result),
        artifacts_omitted=result.artifacts_omitted * len(result.destinations) or None,
        failure=None,
        warning_reason=omissions.DATA_OMITTED if lacks else warned,
        warnings=(*lacks, *target.warnings),
        missing={name: _bare(name, why) for name, why in result.missing.items()} or None,
    )
    contents = ", ".join(counted(count, kind) for kind, count in result.contents.items())
    message = (
        f"target {target.name}: {contents or 'nothing'} read from {result.source.address}, "
        f"{sized(result.plain_bytes)} stored as {sized(result.size_bytes)} "
        f"in {', '.join(result.destinations)}"
    )
    return status, Notice("TargetSucceeded", message, target.name)


def _bare(destination: str, why: str) -> str:
    """The cause without the destination's name, which many causes begin with."""
    return why.removeprefix(f"destination {destination}: ")


def artifacts_of(run: BackupRun, target: str, result: BackupResult) -> tuple[Artifact, ...]:
    """What a target has stored in the destinations that its Result names."""
    holding = [
        destination for destination in run.status.destinations if destination.name in result.destinations
    ]
    folder = run_path(run).target(target)
    return tuple(
        Artifact(
            destination=destination.name,
            uri=destination.spec.uri(folder + artifact.name),
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            encrypted=result.encrypted,
            retain_until=result.retain_until.get(destination.name),
        )
        for artifact in result.artifacts
        for destination in holding
    )


def target_removed(run: BackupRun, target: str) -> Failure:
    """Why a run of an earlier release has no Job for a target that its policy has lost."""
    name = run.spec.policy_ref.name
    message = f"target {target} was removed from policy {name}, or the policy deleted, after the run started"
    return Failure(reason="TargetRemoved", message=message)


def _commit_or_fail(
    run: BackupRun, status: BackupRunStatus, notices: tuple[Notice, ...], now: datetime
) -> RunStep:
    if any(target.phase is TargetPhase.SUCCEEDED for target in status.targets):
        return Step(with_commit_due(status, now), notices)
    hook = hooks.first_failure(status, "Before")
    reason, message = failures(status.targets) if hook is None else hook_failure(hook)
    step = end(run, status, End(RunPhase.FAILED, reason, message), now)
    return Step(step.status, (*notices, *step.notices))


def with_commit_due(status: BackupRunStatus, now: datetime) -> BackupRunStatus:
    """The commit is next. If the operator sees only after the deadline that all is stored, it has as long."""
    deadline = status.deadline
    if deadline is not None and deadline <= now and status.settings is not None:
        deadline = status.settings.deadline_from(now)
    return updated(status, phase=RunPhase.COMMITTING, deadline=deadline)


def wait_for_commit(run: BackupRun, error: str) -> RunStep:
    """The commit Job could not be created this time."""
    reason, message = not_created("the commit", error)
    return wait_with(run, Failure(reason=reason, message=message))


def wait_with(run: BackupRun, obstacle: Failure) -> RunStep:
    """What keeps the run from going on at the moment."""
    return Step(updated(run.status, reason=obstacle.reason, message=obstacle.message))


def advance_commit(
    run: BackupRun, job: Observation | None, start_deadline: timedelta, now: datetime
) -> RunStep:
    """A Committing run goes on, by what is known of its commit Job."""
    if job is None:
        return Step(run.status)
    has_report = isinstance(job.result, CommitResult) and job.result.report is not None
    notices = notices_of(job, "commit", "the run's report" if has_report else "the log of the pod")
    if isinstance(job.result, CommitResult):
        step = _record_commit(run, job.result, now)
    elif (failure := end_failure(job, now, start_deadline)) is not None:
        step = fail_commit(run, failure, now)
    else:
        reason, message = obstacle_of(job, "the commit Job") or (None, None)
        step = Step(updated(run.status, reason=reason, message=message))
    return Step(step.status, (*notices, *step.notices))


def fail_commit(run: BackupRun, failure: Failure, now: datetime) -> RunStep:
    """The end of a run whose commit Job failed or could not be made."""
    return end(run, run.status, End(RunPhase.FAILED, failure.reason, f"commit: {describe(failure)}"), now)


def _record_commit(run: BackupRun, result: CommitResult, now: datetime) -> RunStep:
    destinations = run.status.destinations
    lost = [d.name for d in destinations if d.required and d.name not in result.destinations]
    if lost:
        message = f"the commit did not find the run in {', '.join(lost)}, which is required"
        return end(run, run.status, End(RunPhase.FAILED, COPY_MISSING, message), now)
    status = updated(
        run.status,
        recovery_point=result.recovery_point,
        skew_seconds=result.skew_seconds,
        size_bytes=result.size_bytes,
        copies=f"{len(result.destinations)}/{len(destinations)}",
        # Without the artifacts of destinations where the commit did not find the run.
        targets=tuple(kept_in(target, result.destinations) for target in run.status.targets),
        report=report_uri(run, result.report.name, result.report.destinations) if result.report else None,
        leftovers=result.untidy,
        # The claim of one that was left out may have been free again when the commit looked.
        over_quota={
            name: why
            for name, why in (run.status.over_quota or {}).items()
            if name not in result.destinations
        }
        or None,
    )
    notice = Notice(
        "Committed",
        f"{sized(result.verified_bytes)} read back from {', '.join(result.destinations)}; "
        f"the catalogue has the run",
    )
    step = end(run, status, end_of_stored(status, _why_missing(status, result)), now)
    return Step(step.status, (notice, *step.notices))


def _why_missing(status: BackupRunStatus, result: CommitResult) -> dict[str, str]:
    """By destination where the commit did not find the run: why.

    A commit only finds that a target is not there; the target's backup knows the cause.
    """
    known = result.missing | (status.over_quota or {})
    lacking = [d.name for d in status.destinations if d.name not in result.destinations]
    return {
        name: _why_not_stored(status, name) or known.get(name, "a target is missing there")
        for name in lacking
    }


def _why_not_stored(status: BackupRunStatus, destination: str) -> str | None:
    """What the first backup that was not written to a destination said of it."""
    for target in status.targets:
        if target.missing and destination in target.missing:
            return f"target {target.name} was not stored there: {target.missing[destination]}"
    return None


def end_duplicate(run: BackupRun, now: datetime) -> RunStep:
    """It never starts. A survey that finds the data of its run gives it the status of an imported run."""
    message = f"{explanation(run)}. The next survey imports the run if a catalogue has it"
    status = updated(run.status, completion_time=now)
    status = with_end(status, End(RunPhase.EXPIRED, STARTED_BEFORE, message), run.metadata.generation, now)
    return Step(status, (Notice(STARTED_BEFORE, message, warning=True),))


def with_cancellation_started(status: BackupRunStatus) -> BackupRunStatus:
    """A run whose Jobs are being stopped."""
    return updated(status, reason="Cancelling", message="waits for its pods to end")


def end_cancelled(run: BackupRun, now: datetime, lost_pods: Sequence[str] = ()) -> RunStep:
    """A run that was cancelled and whose pods are gone, or on a node that is lost."""
    status = updated(run.status, targets=cancel(run.status.targets, now))
    message = "cancelled by spec.cancel" if run.spec.cancel else "deleted while it was under way"
    message += not_ended(lost_pods)
    return end(run, status, End(RunPhase.CANCELLED, "Cancelled", message), now)


def end(run: BackupRun, status: BackupRunStatus, how: End[RunPhase], now: datetime) -> RunStep:
    """The run ends; `status` is its status until now."""
    status = updated(
        status,
        completion_time=now,
        duration_seconds=seconds_between(status.start_time, now) if status.start_time else None,
    )
    status = with_end(status, how, run.metadata.generation, now)
    notices = answers(run.model_copy(update={"status": status}))
    return Step(status, (how.notice(warning=how.phase is not RunPhase.SUCCEEDED), *notices))
