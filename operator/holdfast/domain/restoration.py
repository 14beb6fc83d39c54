"""How a RestoreRequest finds its run and goes from phase to phase. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from holdfast.api.base import format_time
from holdfast.api.conditions import set_conditions
from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import (
    Comparison,
    CopyState,
    LocationSource,
    PolicySource,
    RestorePhase,
    RestoreRequest,
    RestoreRequestStatus,
    RestoreTargetStatus,
)
from holdfast.api.run import (
    MAX_OMISSIONS,
    STORED,
    BackupRun,
    Failure,
    Omission,
    PreflightCheck,
    Progress,
    RunPhase,
    RunSettings,
    TargetPhase,
)
from holdfast.api.text import counted, some_of
from holdfast.domain import recovery_set
from holdfast.domain.deadline import fail_overdue, failure_of, remaining
from holdfast.domain.naming import job_name, run_path
from holdfast.domain.places import current_destination
from holdfast.domain.recovery_set import Course, SetFacts, Targets, course_of, to_discard
from holdfast.domain.rows import RunRow
from holdfast.domain.step import End, Notice, Step, describe, seconds_between, updated
from holdfast.domain.stored import (
    EARLIEST,
    destinations_being_deleted,
    notices_of_recorded_secrets,
    preferred_destination,
    targets_held,
)
from holdfast.domain.targets import (
    JobFacts,
    advance_targets,
    cancel,
    failures,
    not_created,
    not_ended,
    obstacle,
)
from holdfast.domain.too_late import answers
from holdfast.domain.turns import WAITING, Place
from holdfast.domain.workload import Observation, end_failure, obstacle_of
from holdfast.engines.registry import ENGINES
from holdfast.layout import PathError, RunPath
from holdfast.protocol import (
    ExitCode,
    FailedResult,
    ListedTarget,
    LookupResult,
    RestoreResult,
    StoredRun,
)

RestoreStep = Step[RestoreRequestStatus]

_MAX_NAMED = 10
_LOOKING_UP = "LookingUp"
TAKING_BACK = "TakingBack"
_STATES = ("Blocked", "Warned", "Passed")
MAX_CHECKS = 20
"""Checks of a preflight that a status lists."""


class RefusedError(Exception):
    """A restore that cannot start as it was asked for."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Plan:
    """What is to be restored, from where."""

    stored: StoredRun
    recovery_point: datetime
    targets: tuple[ListedTarget, ...]
    identity_secret: str | None
    """The Secret whose key identity decrypts it."""


def choose_run(request: RestoreRequest, rows: Iterable[RunRow]) -> RunRow:
    """The run that policyRef means: the newest that holds what is asked for. Raises RefusedError."""
    wanted = request.spec.source.policy_ref
    assert wanted is not None
    stored = [row for row in rows if row.is_stored and row.recovery_point and not row.has_purge]
    good = stored
    if good and wanted.select == "LatestVerified":
        good = [row for row in good if row.is_verified]
        if not good:
            message = (
                f"no run of policy {wanted.name} is verified; "
                "`kubectl annotate backuprun NAME holdfast.dev/verify=$(date +%s) --overwrite` verifies one"
            )
            raise RefusedError("NoRunVerified", message)
    in_time = [row for row in good if not wanted.not_after or _point(row) <= wanted.not_after]
    names = {target.name for target in request.spec.targets}
    complete = [row for row in in_time if _holds(row, names)]
    if complete:
        return max(complete, key=_point)
    if not good:
        raise RefusedError("NoRun", f"policy {wanted.name} has no run that succeeded")
    if not in_time:
        first = format_time(min(map(_point, good)))
        raise RefusedError("NoRun", f"the oldest recovery point of policy {wanted.name} is {first}")
    elsewhere = [row for row in stored if _holds(row, names)]
    raise (
        _only_elsewhere(names, wanted, elsewhere) if elsewhere else _no_run_of_all(names, wanted.name, stored)
    )


def passed_over(request: RestoreRequest, rows: Iterable[RunRow], chosen: RunRow) -> tuple[Notice, ...]:
    """Says which newer run was not chosen, because it lacks a target."""
    wanted = request.spec.source.policy_ref
    assert wanted is not None
    names = {target.name for target in request.spec.targets}
    stored = [row for row in rows if row.is_stored and row.recovery_point and not row.has_purge]
    limit = wanted.not_after or max(map(_point, stored))
    newest = max((row for row in stored if _point(row) <= limit), key=_point)
    if _point(newest) <= _point(chosen) or _holds(newest, names):
        return ()
    wanted_targets = _listed(names) if names else "every target"
    message = (
        f"run {newest.name}, with the recovery point {format_time(_point(newest))}, is newer, but holds only "
        f"{_listed(newest.targets_held)}; {chosen.name}, with the recovery point "
        f"{format_time(_point(chosen))}, is the newest that holds {wanted_targets}"
    )
    return (Notice("NewerRunLacksTargets", message, newest.name),)


def _holds(row: RunRow, names: set[str]) -> bool:
    """Whether the run holds these targets, or every target of its policy without names."""
    return names <= row.targets_held if names else row.is_whole


def _only_elsewhere(names: set[str], wanted: PolicySource, runs: Sequence[RunRow]) -> RefusedError:
    """Only runs that `select` or `notAfter` rule out hold all of these targets."""
    limits = ["is verified"] if wanted.select == "LatestVerified" else []
    limits += [f"has a recovery point until {format_time(wanted.not_after)}"] if wanted.not_after else []
    newest = max(runs, key=_point)
    return RefusedError(
        "NoRun",
        f"no run of policy {wanted.name} that {' and '.join(limits)} holds "
        f"{_listed(names) if names else 'every target'}; "
        f"{newest.name}, with the recovery point {format_time(_point(newest))}, does",
    )


def _no_run_of_all(names: set[str], policy: str, runs: Sequence[RunRow]) -> RefusedError:
    """No run holds all of these targets, or every target of its policy without names."""
    held = frozenset().union(*(run.targets_held for run in runs))
    unknown = sorted(names - held)
    if unknown:
        message = (
            f"no run of policy {policy} holds target {', '.join(unknown)}; "
            f"the targets that its runs hold: {_listed(held)}"
        )
        return RefusedError("TargetNotFound", message)
    newest = max(runs, key=_point)
    holds = f"the newest, {newest.name}, holds only {_listed(newest.targets_held)}"
    if names:
        message = (
            f"no run of policy {policy} holds all of {_listed(names)}; {holds}: "
            "create one RestoreRequest for each target"
        )
    else:
        them = "it" if len(newest.targets_held) == 1 else "them"
        message = f"no run of policy {policy} holds every target; {holds}: name {them} in spec.targets"
    return RefusedError("NoRun", message)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def unknown_policy(policy: str, rows: Iterable[RunRow]) -> RefusedError:
    """Nothing in the namespace has the name that policyRef says; `rows` are those of all its runs."""
    others = sorted({row.policy for row in rows})
    has = f"it has runs of: {some_of(others, _MAX_NAMED)}" if others else "it has no runs at all"
    message = f"spec.source.policyRef: this namespace has no BackupPolicy and no BackupRun of {policy}; {has}"
    return RefusedError("PolicyNotFound", message)


def _point(row: RunRow) -> datetime:
    return row.recovery_point or EARLIEST


@dataclass(frozen=True)
class RunOrigin:
    """A restore's data comes from a run that the cluster has; `policy` is None when it is gone."""

    run: BackupRun
    policy: BackupPolicy | None
    identity_field: ClassVar[str] = (
        "encryption.age.identitySecret of the policy, "
        "or restore by source.location with source.location.identitySecret,"
    )
    """What a user sets to have an encrypted run decrypted."""

    @property
    def identity_secret(self) -> str | None:
        """The policy's as it is now: an identity can be added after the run."""
        age = self.policy.spec.encryption.age if self.policy and self.policy.spec.encryption else None
        return age.identity_secret.name if age and age.identity_secret else None

    def stored(self, request: RestoreRequest) -> StoredRun:
        """Where the wanted targets are read from: a required destination if one has all of them.

        Raises RefusedError.
        """
        run = self.run
        if run.status.phase not in STORED:
            phase = run.status.phase or RunPhase.PENDING
            raise RefusedError("RunNotRestorable", f"run {run.metadata.name} is {phase}, it holds no backup")
        wanted = {target.name for target in request.spec.targets} or targets_held(run)
        _refuse_unknown(wanted, targets_held(run), run.metadata.name)
        artifacts = {t.name: {a.destination for a in t.artifacts} for t in run.status.targets}
        being_deleted = destinations_being_deleted(run)
        holding = [
            destination
            for destination in run.status.destinations
            if destination.name not in being_deleted
            and all(destination.name in artifacts[name] for name in wanted)
        ]
        chosen = preferred_destination(holding)
        if chosen is None:
            raise RefusedError("NoDestination", f"no destination holds all of {', '.join(sorted(wanted))}")
        return StoredRun(destination=current_destination(chosen, self.policy), path=str(run_path(run)))

    def notices(self, plan: Plan) -> tuple[Notice, ...]:
        """What a user should know of the plan's source."""
        return notices_of_recorded_secrets([plan.stored.destination], self.policy)

    def plan(self, request: RestoreRequest) -> Plan | None:
        """The plan, if the policy is still the one that was run; else the catalogue has to be read.

        Raises RefusedError.
        """
        run, policy = self.run, self.policy
        if policy is None or not _unchanged_since(run, policy) or run.status.recovery_point is None:
            return None
        names, recipients = targets_held(run), policy.spec.recipients
        targets = tuple(
            ListedTarget(name=t.name, engine=t.engine, spec=t.engine_spec.to_json(), recipients=recipients)
            for t in policy.spec.targets
            if t.name in names
        )
        plan = Plan(self.stored(request), run.status.recovery_point, targets, self.identity_secret)
        return _restricted(request, plan)


@dataclass(frozen=True)
class LocationOrigin:
    """A restore's data comes from a place that the request names. The cluster knows nothing of the run."""

    location: LocationSource
    policy: ClassVar[BackupPolicy | None] = None
    identity_field: ClassVar[str] = "source.location.identitySecret"

    @property
    def identity_secret(self) -> str | None:
        """The one that the request names."""
        return self.location.identity_secret.name if self.location.identity_secret else None

    def stored(self, request: RestoreRequest) -> StoredRun:
        """The run at the location. Raises RefusedError."""
        location = self.location
        try:
            RunPath.parse(location.path)
        except PathError as error:
            message = f"source.location.path {location.path!r} must be namespace/policy/run"
            raise RefusedError("LocationInvalid", message) from error
        destination = Destination.model_validate({"name": "location", location.kind: location.spec})
        return StoredRun(destination=destination, path=location.path)

    def notices(self, plan: Plan) -> tuple[Notice, ...]:
        """None: the request itself names the Secrets."""
        return ()

    def plan(self, request: RestoreRequest) -> Plan | None:
        """None: the catalogue has to be read."""
        return None


RestoreOrigin = RunOrigin | LocationOrigin
"""Where a restore's data comes from, as it is now."""


def _unchanged_since(run: BackupRun, policy: BackupPolicy) -> bool:
    created, started = policy.metadata.creation_timestamp, run.status.start_time
    same_object = created is not None and started is not None and created <= started
    return same_object and policy.metadata.generation == run.status.policy_generation


def plan_from_lookup(request: RestoreRequest, origin: RestoreOrigin, result: LookupResult) -> Plan:
    """The plan, by the run's entry in the catalogue. Raises RefusedError."""
    plan = Plan(origin.stored(request), result.recovery_point, result.targets, origin.identity_secret)
    return _restricted(request, plan)


def _check_identity(origin: RestoreOrigin, plan: Plan) -> None:
    """Raises RefusedError when a target is encrypted and nothing names an identity."""
    recipients = dict.fromkeys(recipient for target in plan.targets for recipient in target.recipients)
    if not recipients or plan.identity_secret is not None:
        return
    raise RefusedError(
        "IdentityMissing",
        f"run {plan.stored.path.rpartition('/')[2]} is encrypted to {', '.join(recipients)}, and nothing "
        f"names an identity: set {origin.identity_field} to a Secret whose key identity decrypts it",
    )


def _restricted(request: RestoreRequest, plan: Plan) -> Plan:
    asked = {target.name: target for target in request.spec.targets}
    stored = {target.name: target for target in plan.targets}
    _refuse_unknown(set(asked), set(stored), RunPath.parse(plan.stored.path).run)
    for name, target in asked.items():
        if target.engine != stored[name].engine:
            message = f"target {name} is a backup of {stored[name].engine}, not of {target.engine}"
            raise RefusedError("EngineMismatch", message)
    targets = tuple(target for target in plan.targets if not asked or target.name in asked)
    return replace(plan, targets=targets)


def _refuse_unknown(wanted: set[str], stored: set[str], run: str) -> None:
    unknown = sorted(wanted - stored)
    if unknown:
        message = (
            f"run {run} holds no target {', '.join(unknown)}; the targets that it holds: {_listed(stored)}"
        )
        raise RefusedError("TargetNotFound", message)


def refuse_unknown_risks(request: RestoreRequest) -> None:
    """Raises RefusedError when acceptedRisks names what no check of an engine is called."""
    known = frozenset[str]().union(*(engine.acceptable_risks for engine in ENGINES.values()))
    unknown = sorted(set(request.spec.accepted_risks) - known)
    if unknown:
        message = f"spec.acceptedRisks: no check that may be accepted is called {', '.join(unknown)}; "
        raise RefusedError("RiskUnknown", f"{message}use {', '.join(sorted(known)) or 'none'}")


def resolve(request: RestoreRequest, source: str, policy: BackupPolicy | None, now: datetime) -> RestoreStep:
    """The request has its run and its settings, and keeps them, whatever becomes of the policy."""
    settings = settings_of(policy)
    return Step(
        updated(
            request.status,
            phase=RestorePhase.PENDING,
            source=source,
            start_time=now,
            deadline=settings.deadline_from(now),
            settings=settings,
        )
    )


def settings_of(policy: BackupPolicy | None) -> RunSettings:
    """The settings of a restore that starts now."""
    return RunSettings() if policy is None else updated(policy.spec.settings, recipients=())


def look_up(request: RestoreRequest) -> RestoreStep:
    """The run's entry is read from the catalogue."""
    message = "reads the run's entry in the catalogue"
    return Step(updated(request.status, reason=_LOOKING_UP, message=message))


def wait(request: RestoreRequest, place: Place, now: datetime) -> RestoreStep:
    """The first Jobs of the request wait for permits. This time does not count."""
    status, message = request.status, place.message("Jobs of restores")
    return Step(updated(status, reason=WAITING, message=message, deadline=_deadline_from(status, now)))


def _deadline_from(
    status: RestoreRequestStatus, now: datetime, thawing: timedelta = timedelta()
) -> datetime | None:
    if status.deadline is None or status.settings is None:
        return status.deadline
    return max(status.deadline, status.settings.deadline_from(now) + thawing)


def thawing_of(plan: Plan) -> timedelta:
    """How long it may take until an archive class gives the data out."""
    return timedelta(seconds=plan.stored.destination.spec.thaw_seconds)


def start(request: RestoreRequest, origin: RestoreOrigin, plan: Plan, now: datetime) -> RestoreStep:
    """The targets are known; their Jobs come next. Raises RefusedError."""
    _check_identity(origin, plan)
    uid = request.metadata.uid
    created = request.metadata.creation_timestamp
    settings = request.status.settings or settings_of(origin.policy)
    status = updated(
        request.status,
        phase=RestorePhase.RUNNING,
        deadline=settings.deadline_from(now) + thawing_of(plan),
        settings=settings,
        recovery_point=plan.recovery_point,
        data_loss_seconds=seconds_between(plan.recovery_point, created) if created else None,
        reason=None,
        message=None,
        targets=tuple(
            RestoreTargetStatus(
                name=target.name,
                engine=target.engine,
                job=job_name(request.metadata.name, uid, target.name),
            )
            for target in plan.targets
        ),
    )
    names = ", ".join(target.name for target in plan.targets)
    destination = plan.stored.destination.name
    started = Notice("Started", f"restoring {names} from {plan.stored.path} in {destination}")
    return Step(status, (started, *origin.notices(plan)))


def overdue(
    request: RestoreRequest, facts: JobFacts, lookup: Observation | None, now: datetime
) -> RestoreStep | None:
    """The end of a request that takes longer than it may; None as long as it does not.

    What its Jobs have done counts, however late the operator sees it. A request that an earlier release
    started has no deadline.
    """
    if request.status.deadline is None or remaining(request.status, now) > 0:
        return None
    failure = failure_of(request.status)
    if request.status.phase is RestorePhase.PENDING:
        if lookup is not None and lookup.has_ended:
            return None
        how = End(RestorePhase.FAILED, failure.reason, failure.message)
        return end(request, request.status, how, now)
    targets, notices = _advance_copies(request.status.targets, facts, now)
    if course_of(targets, now) is not Course.STAGING:
        return None
    late = {t.name: t for t in fail_overdue((t for t in targets if t.copy_state is None), failure, now)}
    status = updated(request.status, targets=tuple(late.get(t.name, t) for t in targets))
    step = _on_course(request, with_said(status, facts.observations), facts.observations, now)
    return Step(step.status, (*notices, *step.notices))


def wait_for_lookup(request: RestoreRequest, error: str) -> RestoreStep:
    """The lookup Job could not be created this time."""
    reason, message = not_created("the lookup", error)
    return Step(updated(request.status, reason=reason, message=message))


def advance(
    request: RestoreRequest,
    facts: JobFacts,
    now: datetime,
    place: Place | None = None,
    thawing: timedelta = timedelta(),
) -> RestoreStep:
    """A Running request goes on, by what is known of its Jobs.

    `place` is that of the Jobs it still wants; `thawing` is what those that were made now may take longer.
    """
    statuses, notices = _advance_copies(request.status.targets, facts, now)
    reason, message = obstacle(statuses, facts)
    before, deadline = request.status.reason, request.status.deadline
    if reason is None and place is not None and place.position:
        reason, message = WAITING, place.message("Jobs of restores")
    has_waited = WAITING in (before, reason) or before == _LOOKING_UP
    if has_waited and all(target.phase is TargetPhase.PENDING for target in statuses):
        deadline = _deadline_from(request.status, now, thawing)
    status = updated(request.status, targets=statuses, reason=reason, message=message, deadline=deadline)
    step = _on_course(request, with_said(status, facts.observations), facts.observations, now)
    return Step(step.status, (*notices, *step.notices))


def _advance_copies(targets: Targets, facts: JobFacts, now: datetime) -> tuple[Targets, tuple[Notice, ...]]:
    """The targets by what is known of their Restore Jobs: what is staged waits."""
    moved, notices = advance_targets((t for t in targets if t.copy_state is None), facts, _succeed, now)
    by_name = {target.name: _kept(target, facts.observations.get(target.name)) for target in moved}
    return tuple(by_name.get(target.name, target) for target in targets), notices


def _kept(target: RestoreTargetStatus, job: Observation | None) -> RestoreTargetStatus:
    """A target; one that has failed for want of objects has kept its copy."""
    if target.phase is not TargetPhase.FAILED or job is None or job.said is None or not job.said.staged:
        return target
    return updated(target, copy_state=CopyState.STAGED, staged=job.said.staged)


def _on_course(
    request: RestoreRequest,
    status: RestoreRequestStatus,
    restores: Mapping[str, Observation],
    now: datetime,
) -> RestoreStep:
    """The request after what its targets have come to: it goes on, ends, or takes back what it has loaded."""
    course = course_of(status.targets, now)
    if course is Course.DONE:
        return _end_in_place(request, status, now)
    if course is Course.KEPT:
        return _end_kept(request, status, now)
    if course is not Course.TAKING_BACK:
        return Step(status)
    all_ended = all(target.phase.has_ended for target in status.targets)
    if all_ended and not to_discard(status.targets, restores):
        return _end_taken_back(request, status, SetFacts(restores, {}, {}, timedelta()), now)
    return Step(_taking_back(status, "stops what still goes on"))


def _taking_back(status: RestoreRequestStatus, doing: str) -> RestoreRequestStatus:
    failed = [target for target in status.targets if target.phase is TargetPhase.FAILED]
    why = f"{failures(failed)[1]}; " if failed else ""
    return updated(status, reason=TAKING_BACK, message=f"{why}{doing}")


def swap(request: RestoreRequest, facts: SetFacts, now: datetime) -> RestoreStep:
    """All targets have staged; they go on by what is known of their Swap Jobs."""
    targets, notices, finished = recovery_set.advance_swaps(request.status.targets, facts, now)
    text = "; ".join(dict.fromkeys((*filter(None, [request.status.rollback]), *finished)))
    reason, message = _obstacle_of_jobs(facts.swaps, targets)
    status = updated(request.status, targets=targets, rollback=text or None, reason=reason, message=message)
    step = _on_course(request, status, facts.restores, now)
    return Step(step.status, (*notices, *step.notices))


def take_back(request: RestoreRequest, facts: SetFacts, now: datetime) -> RestoreStep:
    """What the request has loaded is dropped, once nothing more is loaded or put in place."""
    targets, notices, _ = recovery_set.advance_swaps(request.status.targets, facts, now)
    status = updated(request.status, targets=targets)
    if facts.is_swapping or facts.lost_pods is None:
        return Step(_taking_back(status, "waits until nothing more is loaded"), notices)
    names = to_discard(targets, facts.restores)
    targets, more = recovery_set.advance_discards(targets, names, facts, now)
    status, notices = updated(status, targets=targets), (*notices, *more)
    names = to_discard(targets, facts.restores)
    if names:
        _, message = _obstacle_of_jobs(facts.discards, targets)
        doing = message or f"drops what was loaded of {', '.join(names)}"
        return Step(_taking_back(status, doing), notices)
    step = _end_taken_back(request, status, facts, now)
    return Step(step.status, (*notices, *step.notices))


def _obstacle_of_jobs(jobs: Mapping[str, Observation], targets: Targets) -> tuple[str | None, str | None]:
    for target in targets:
        job = jobs.get(target.name)
        why = obstacle_of(job, f"the {job.job.component} Job of target {target.name}") if job else None
        if why is not None and job is not None and not job.has_ended:
            return why
    return None, None


def promote(request: RestoreRequest, facts: SetFacts, now: datetime) -> RestoreStep:
    """A request that has ended with staged copies puts them in place."""
    # What has failed is no end of a copy that a user keeps: it is retried.
    swapped = {name: job for name, job in facts.swaps.items() if job.result is not None}
    done = replace(facts, swaps=swapped, creation_failures={})
    targets, notices, _ = recovery_set.advance_swaps(request.status.targets, done, now)
    status = updated(request.status, targets=targets)
    missing = recovery_set.to_swap(targets)
    if not missing:
        message = f"{counted(len(targets), 'targets')} put in place by promote"
        if status.omissions:
            message += ", without the objects that status.omissions names"
        status = updated(status, reason="Promoted", message=message, rollback=f"promoted: {message}")
        return Step(status, (*notices, Notice("Promoted", message)))
    reasons = _failures_of(facts, facts.swaps, missing, now)
    if reasons:
        message = f"promote: not in place yet, and retried: {'; '.join(reasons)}"
        status = updated(status, rollback=message)
        notices = (*notices, Notice("PromoteFailed", message, warning=True))
    return Step(status, notices)


def discard(request: RestoreRequest, facts: SetFacts, now: datetime) -> RestoreStep:
    """A request that has ended, or is deleted, drops the copies that it has kept or left."""
    names = [t.name for t in request.status.targets if t.copy_state in (CopyState.STAGED, CopyState.LEFT)]
    targets, notices = recovery_set.advance_discards(request.status.targets, names, facts, now)
    status = updated(
        request.status,
        targets=targets,
        rollback=recovery_set.rollback(targets, {}) or request.status.rollback,
    )
    if recovery_set.has_copies(status):
        return Step(status, notices)
    message = f"what was loaded of {', '.join(names)} is dropped"
    status = updated(status, reason="CopyDiscarded", message=message)
    return Step(status, (*notices, Notice("CopyDiscarded", message)))


def _failures_of(
    facts: SetFacts, jobs: Mapping[str, Observation], names: Iterable[str], now: datetime
) -> list[str]:
    texts = []
    for name in names:
        failure = facts.creation_failures.get(name)
        if failure is None and name in jobs:
            failure = end_failure(jobs[name], now, facts.start_deadline)
        if failure is not None:
            texts.append(f"target {name}: {describe(failure)}")
    return texts


def with_said(status: RestoreRequestStatus, jobs: Mapping[str, Observation]) -> RestoreRequestStatus:
    """The status with what Restore Jobs say of checks, and of objects that could not be made again."""
    said = {name: job.result or job.said for name, job in jobs.items()}
    heard = {
        name: result
        for name, result in said.items()
        if isinstance(result, RestoreResult | FailedResult) and (result.preflight or result.omissions)
    }
    if not heard:
        return status
    checks = [check for check in status.preflight if check.target not in heard]
    lacking = [omission for omission in status.omissions if omission.target not in heard]
    checks_omitted = sum(result.preflight_omitted for result in heard.values())
    omitted = sum(result.omissions_omitted for result in heard.values())
    for name, result in heard.items():
        checks += [
            PreflightCheck(target=name, check=c.check, state=c.state, message=c.message, remedy=c.remedy)
            for c in result.preflight
        ]
        lacking += [
            Omission(target=name, what=o.what, count=o.count, reason=o.reason) for o in result.omissions
        ]
    checks.sort(key=lambda check: _STATES.index(check.state))
    return updated(
        status,
        preflight=tuple(checks[:MAX_CHECKS]),
        preflight_omitted=checks_omitted + len(checks[MAX_CHECKS:]) or None,
        omissions=tuple(lacking[:MAX_OMISSIONS]),
        omissions_omitted=omitted + len(lacking[MAX_OMISSIONS:]) or None,
    )


def with_lookup(step: RestoreStep, lookup: RestoreStep) -> RestoreStep:
    """A step of a Running request that reads the catalogue before its next Jobs."""
    if step.status.reason is not None:
        return step
    why = lookup.status
    return Step(updated(step.status, reason=why.reason, message=why.message), step.notices)


def _succeed(
    target: RestoreTargetStatus, job: Observation, now: datetime
) -> tuple[RestoreTargetStatus, Notice]:
    result = job.result
    assert isinstance(result, RestoreResult)
    lacking = [f"could not be made again: {omission.text}" for omission in result.omissions]
    staged = {"copy_state": CopyState.STAGED, "staged": result.staged, "phase": TargetPhase.RUNNING}
    placed = {
        "copy_state": CopyState.IN_PLACE,
        "phase": TargetPhase.SUCCEEDED,
        "completion_time": job.ended or now,
    }
    status = updated(
        target,
        **(placed if result.in_place else staged),
        warnings=tuple(dict.fromkeys((*target.warnings, *lacking))),
        # Only the bytes, for the column: the Job is in none of its phases any more.
        progress=Progress(bytes=target.progress.bytes) if target.progress else None,
        address=result.address,
        contents=result.contents,
        verification=Comparison(compared=result.compared, mismatched=result.mismatched),
        failure=None,
    )
    contents = ", ".join(counted(count, kind) for kind, count in result.contents.items())
    done = "restored" if result.in_place else "staged"
    message = (
        f"target {target.name}: {contents or 'nothing'} {done} to {result.address} "
        f"in {result.restore_seconds:.1f} s; {result.compared} compared, {result.mismatched} differ"
    )
    return status, Notice("TargetSucceeded" if result.in_place else "TargetStaged", message, target.name)


def _is_mismatch(failure: Failure) -> bool:
    """Whether data differs. A failure that 0.1.0 recorded has no exit code, and is known by its reason."""
    if failure.exit_code is None:
        return failure.reason.endswith("Mismatch")
    return failure.exit_code == ExitCode.MISMATCH


def _compared(status: RestoreRequestStatus) -> RestoreRequestStatus:
    """The status with what all comparisons found."""
    staged = [target for target in status.targets if target.verification is not None]
    compared = sum(t.verification.compared for t in staged if t.verification)
    mismatched = sum(t.verification.mismatched for t in staged if t.verification)
    details = tuple(
        f"target {t.name}: {t.failure.message}"
        for t in status.targets
        if t.phase is TargetPhase.FAILED and t.failure and _is_mismatch(t.failure)
    )
    comparison = Comparison(compared=compared, mismatched=mismatched + len(details), details=details)
    return updated(status, verification=comparison)


def _end_in_place(request: RestoreRequest, status: RestoreRequestStatus, now: datetime) -> RestoreStep:
    """Every target is in place."""
    status = _compared(status)
    assert status.verification is not None
    compared, mismatched = status.verification.compared, status.verification.mismatched
    if mismatched:
        message = f"{mismatched} of {compared} counts differ from the backup"
        return end(request, status, End(RestorePhase.FAILED, "Mismatch", message), now)
    equal = f"{counted(compared, 'counts')} compared, all equal" if compared else "no count was compared"
    message = f"{counted(len(status.targets), 'targets')} restored; {equal}"
    lacking = len(status.omissions) + (status.omissions_omitted or 0)
    if lacking:
        message += f"; {counted(lacking, 'objects')} could not be made again (status.omissions)"
    return end(request, status, End(RestorePhase.SUCCEEDED, None, message), now)


def _end_kept(request: RestoreRequest, status: RestoreRequestStatus, now: datetime) -> RestoreStep:
    """Every target is staged, and some lack objects: the copies stay until somebody decides."""
    failed = [target for target in status.targets if target.phase is TargetPhase.FAILED]
    reason, message = failures(failed)
    status = _compared(updated(status, targets=cancel(status.targets, now)))
    names = ", ".join(recovery_set.to_swap(status.targets))
    rollback = (
        f"kept: the copies of {names} stay under their staged names; promote: Swap puts them in place, "
    )
    status = updated(status, rollback=f"{rollback}discard: true or the deletion of the request drops them")
    return end(request, status, End(RestorePhase.FAILED, reason, message), now)


def _end_taken_back(
    request: RestoreRequest, status: RestoreRequestStatus, facts: SetFacts, now: datetime
) -> RestoreStep:
    """Nothing that the request has loaded is left, or the status says what is."""
    rollback = recovery_set.rollback(status.targets, facts.swaps)
    status = _compared(updated(status, targets=cancel(status.targets, now), rollback=rollback))
    failed = [target for target in status.targets if target.phase is TargetPhase.FAILED]
    ending = f"; {rollback}" if rollback else ""
    ending += not_ended(facts.lost_pods or ())
    if not failed:
        message = f"cancelled{ending or '; nothing was loaded'}"
        return end(request, status, End(RestorePhase.CANCELLED, "Cancelled", message), now)
    reason, message = failures(failed)
    refused = {name for name, job in facts.restores.items() if job.refused}
    is_refused = refused >= {t.name for t in failed} and not recovery_set.has_copies(status)
    phase = RestorePhase.REFUSED if is_refused else RestorePhase.FAILED
    return end(request, status, End(phase, reason, f"{message}{ending}"), now)


def advance_lookup(
    request: RestoreRequest, job: Observation, start_deadline: timedelta, now: datetime
) -> RestoreStep:
    """The lookup goes on, by what is known of its Job."""
    if (failure := end_failure(job, now, start_deadline)) is not None:
        return fail_lookup(request, failure, now)
    why = obstacle_of(job, "the lookup Job")
    if why is None:
        return look_up(request)
    reason, message = why
    return Step(updated(request.status, reason=reason, message=message))


def fail_lookup(request: RestoreRequest, failure: Failure, now: datetime) -> RestoreStep:
    """The run's entry could not be read from the catalogue."""
    message = f"lookup: {describe(failure)}"
    return end(request, request.status, End(RestorePhase.FAILED, failure.reason, message), now)


def refuse(request: RestoreRequest, error: RefusedError, now: datetime) -> RestoreStep:
    """The request cannot start."""
    return end(request, request.status, End(RestorePhase.REFUSED, error.reason, error.message), now)


def end_cancelled(request: RestoreRequest, now: datetime, lost_pods: Sequence[str] = ()) -> RestoreStep:
    """A request that was cancelled before it had targets, and whose pods are gone, or on a lost node."""
    message = f"cancelled; nothing was loaded{not_ended(lost_pods)}"
    return end(request, request.status, End(RestorePhase.CANCELLED, "Cancelled", message), now)


def with_cancellation_started(status: RestoreRequestStatus, now: datetime) -> RestoreRequestStatus:
    """A request whose Jobs are being stopped; what they have loaded is taken back."""
    targets = tuple(
        updated(target, phase=TargetPhase.CANCELLED, completion_time=now, progress=None)
        for target in status.targets
    )
    return updated(status, targets=targets, reason="Cancelling", message="waits for its pods to end")


def runs_read_by(requests: Iterable[RestoreRequest], policy: BackupPolicy) -> set[str]:
    """The runs of a policy that requests read or are about to read, by whichever way they name them.

    A request of another namespace counts once it has read the run's entry: then it may read the place.
    """
    namespace, name = policy.metadata.namespace, policy.metadata.name
    places = {destination.place for destination in policy.spec.destinations}
    runs = set()
    for request in requests:
        phase, location = request.status.phase, request.spec.source.location
        is_here = request.metadata.namespace == namespace
        reads = phase is None or not phase.has_ended or recovery_set.has_copies(request.status)
        if not reads or (phase is not None and not (is_here or phase is not RestorePhase.PENDING)):
            continue
        if location is None:
            runs |= {request.status.source or _run_named(request)} if is_here else set()
        elif (is_here or phase is not None) and location.place in places:
            runs |= {
                path.run for path in _path_of(location) if (path.namespace, path.policy) == (namespace, name)
            }
    return runs - {""}


def _run_named(request: RestoreRequest) -> str:
    source = request.spec.source.run_ref
    return source.name if source is not None else ""


def _path_of(location: LocationSource) -> tuple[RunPath, ...]:
    try:
        return (RunPath.parse(location.path),)
    except PathError:
        return ()  # the request is refused


def overrides(request: RestoreRequest) -> dict[str, dict[str, Any]]:
    """By target: the engine's section of the request."""
    return {target.name: target.engine_spec.to_json() for target in request.spec.targets}


def end(
    request: RestoreRequest, status: RestoreRequestStatus, how: End[RestorePhase], now: datetime
) -> RestoreStep:
    """The request ends. Its restoreSeconds last to the end of the slowest target."""
    generation = request.metadata.generation
    ends: Sequence[datetime] = [t.completion_time for t in status.targets if t.completion_time]
    is_complete = how.phase is RestorePhase.SUCCEEDED
    verdicts = how.verdicts(is_complete=is_complete, has_failed=not is_complete)
    status = updated(
        status,
        observed_generation=generation,
        phase=how.phase,
        completion_time=now,
        restore_seconds=seconds_between(status.start_time, max(ends)) if status.start_time and ends else None,
        reason=how.reason,
        message=how.message,
        conditions=set_conditions(status.conditions, verdicts, now, generation),
    )
    notices = answers(request.model_copy(update={"status": status}))
    return Step(status, (how.notice(warning=not is_complete), *notices))
