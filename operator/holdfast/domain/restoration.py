"""How a RestoreRequest finds its run and goes from phase to phase. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from holdfast.api.base import format_time
from holdfast.api.conditions import set_conditions
from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import (
    Comparison,
    LocationSource,
    PolicySource,
    RestorePhase,
    RestoreRequest,
    RestoreRequestStatus,
    RestoreTargetStatus,
)
from holdfast.api.run import STORED, BackupRun, Failure, Progress, RunPhase, RunSettings, TargetPhase
from holdfast.api.text import counted, some_of
from holdfast.domain.deadline import fail_overdue, failure_of, remaining
from holdfast.domain.naming import job_name, run_path
from holdfast.domain.places import current_destination
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
from holdfast.layout import PathError, RunPath
from holdfast.protocol import ExitCode, ListedTarget, LookupResult, RestoreResult, StoredRun

RestoreStep = Step[RestoreRequestStatus]

_MAX_NAMED = 10
_LOOKING_UP = "LookingUp"


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
    targets, notices = advance_targets(request.status.targets, facts, _succeed, now)
    if all(target.phase.has_ended for target in targets):
        return None
    status = updated(request.status, targets=fail_overdue(targets, failure, now))
    step = _end_by_targets(request, status, set(), now)
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
    statuses, notices = advance_targets(request.status.targets, facts, _succeed, now)
    reason, message = obstacle(statuses, facts)
    before, deadline = request.status.reason, request.status.deadline
    if reason is None and place is not None and place.position:
        reason, message = WAITING, place.message("Jobs of restores")
    has_waited = WAITING in (before, reason) or before == _LOOKING_UP
    if has_waited and all(target.phase is TargetPhase.PENDING for target in statuses):
        deadline = _deadline_from(request.status, now, thawing)
    status = updated(request.status, targets=statuses, reason=reason, message=message, deadline=deadline)
    if not all(target.phase.has_ended for target in statuses):
        return Step(status, notices)
    refused = {name for name, job in facts.observations.items() if job.refused}
    step = _end_by_targets(request, status, refused, now)
    return Step(step.status, (*notices, *step.notices))


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
    status = updated(
        target,
        phase=TargetPhase.SUCCEEDED,
        completion_time=job.ended or now,
        # Only the bytes, for the column: the Job is in none of its phases any more.
        progress=Progress(bytes=target.progress.bytes) if target.progress else None,
        address=result.address,
        contents=result.contents,
        verification=Comparison(compared=result.compared, mismatched=result.mismatched),
        failure=None,
    )
    contents = ", ".join(counted(count, kind) for kind, count in result.contents.items())
    message = (
        f"target {target.name}: {contents or 'nothing'} restored to {result.address} "
        f"in {result.restore_seconds:.1f} s; {result.compared} compared, {result.mismatched} differ"
    )
    return status, Notice("TargetSucceeded", message, target.name)


def _is_mismatch(failure: Failure) -> bool:
    """Whether data differs. A failure that 0.1.0 recorded has no exit code, and is known by its reason."""
    if failure.exit_code is None:
        return failure.reason.endswith("Mismatch")
    return failure.exit_code == ExitCode.MISMATCH


def _end_by_targets(
    request: RestoreRequest, status: RestoreRequestStatus, refused: set[str], now: datetime
) -> RestoreStep:
    done = [target for target in status.targets if target.phase is TargetPhase.SUCCEEDED]
    failed = [target for target in status.targets if target.phase is not TargetPhase.SUCCEEDED]
    compared = sum(t.verification.compared for t in done if t.verification)
    mismatched = sum(t.verification.mismatched for t in done if t.verification)
    details = tuple(
        f"target {t.name}: {t.failure.message}" for t in failed if t.failure and _is_mismatch(t.failure)
    )
    comparison = Comparison(compared=compared, mismatched=mismatched + len(details), details=details)
    status = updated(status, verification=comparison)
    if failed:
        reason, message = failures(failed)
        nothing_touched = not done and refused >= {target.name for target in failed}
        phase = RestorePhase.REFUSED if nothing_touched else RestorePhase.FAILED
        return end(request, status, End(phase, reason, message), now)
    if mismatched:
        message = f"{mismatched} of {compared} counts differ from the backup"
        return end(request, status, End(RestorePhase.FAILED, "Mismatch", message), now)
    equal = f"{counted(compared, 'counts')} compared, all equal" if compared else "no count was compared"
    message = f"{counted(len(done), 'targets')} restored; {equal}"
    return end(request, status, End(RestorePhase.SUCCEEDED, None, message), now)


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
    """A request that was cancelled and whose pods are gone, or on a node that is lost."""
    status = updated(request.status, targets=cancel(request.status.targets, now))
    message = "cancelled by spec.cancel; what was restored until then is left as it is"
    message += not_ended(lost_pods)
    return end(request, status, End(RestorePhase.CANCELLED, "Cancelled", message), now)


def with_cancellation_started(status: RestoreRequestStatus) -> RestoreRequestStatus:
    """A request whose Jobs are being stopped."""
    return updated(status, reason="Cancelling", message="waits for its pods to end")


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
        if phase is not None and (phase.has_ended or not (is_here or phase is RestorePhase.RUNNING)):
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
