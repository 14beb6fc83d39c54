"""Which run of a policy is verified when, and what a run's status says of it. Pure.

A slot of `verification.schedule` marks the newest run that is stored, in that run's own status; the run's
reconcile makes the Job and takes in its Result. The mark carries the slot, so that a slot that is looked at
again, with a newer run there perhaps, is known to have been dealt with.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.api.conditions import Status, find_condition, set_condition
from holdfast.api.policy import BackupPolicy, BackupPolicyStatus
from holdfast.api.run import (
    BackupRun,
    BackupRunStatus,
    Failure,
    TargetPhase,
    Verification,
    VerificationPhase,
)
from holdfast.api.text import human_bytes
from holdfast.domain.labels import VERIFY
from holdfast.domain.plan.readiness import Readiness
from holdfast.domain.plan.schedule import put_off, verification_schedule_of
from holdfast.domain.step import Notice, Step, describe, updated
from holdfast.domain.stored import by_recovery_point, current_destination, destinations_holding
from holdfast.domain.workload import Observation, cannot_start
from holdfast.protocol import CommittedTarget, VerifyResult, VerifyTask

VERIFIED = "Verified"
RECOVERY_VERIFIED = "RecoveryVerified"
MISMATCH = "ChecksumMismatch"
_MATCH = "ChecksumsMatch"
_FAILED = "VerificationFailed"


@dataclass(frozen=True)
class Decision:
    """What a policy's verification comes to now."""

    status: BackupPolicyStatus
    """The policy's status that follows."""
    run: BackupRun | None = None
    """The run whose verification is to begin."""
    marked: BackupRunStatus | None = None
    """Its status, which has to be written before the policy's."""


def active(run: BackupRun) -> bool:
    """Whether a verification of the run is under way."""
    verification = run.status.verification
    return verification is not None and not verification.phase.terminal


def decide(
    policy: BackupPolicy,
    status: BackupPolicyStatus,
    state: Readiness,
    runs: Sequence[BackupRun],
    now: datetime,
) -> Decision:
    """Deal with the slot that is due; `status` is the policy's as all else has made it.

    Slots from before it was scheduled as it is now never are; of several the newest is. It waits while
    another verification of the policy is under way. `suspend` stops backups, not this.
    """
    if policy.spec.verification is None:
        others = tuple(each for each in status.conditions if each.type != RECOVERY_VERIFIED)
        return Decision(
            updated(
                status,
                conditions=others,
                next_verification_time=None,
                verification_scheduled=None,
                verification_handled=None,
            )
        )
    status = _judged(policy, status, runs, now)
    if not state.ready:
        return Decision(updated(status, next_verification_time=None))
    schedule = verification_schedule_of(policy.spec)
    assert schedule is not None
    plan = f"{policy.spec.verification.schedule} {policy.spec.time_zone}"
    handled = status.verification_handled if status.verification_scheduled == plan else None
    handled = handled or now
    later = put_off(policy.spec, policy.metadata.uid)
    _, slots = schedule.slots_between(handled, now - later)
    slot, begins = (slots[-1] if slots else None), None
    if slot is not None:
        asked = any(run.status.verification and run.status.verification.slot == slot for run in runs)
        waits = not asked and any(active(run) for run in runs)
        begins = None if asked or waits else _newest(runs)
        handled = handled if waits else slot
    following = schedule.next_after(max(now - later, handled))
    status = updated(
        status,
        next_verification_time=following and following + later,
        verification_scheduled=plan,
        verification_handled=handled,
    )
    return Decision(status) if begins is None else Decision(status, begins, marked(begins, slot=slot))


def _newest(runs: Sequence[BackupRun]) -> BackupRun | None:
    """The newest run with a copy that retention has not begun to delete."""
    there = [run for run in runs if destinations_holding(run)]
    return max(there, key=by_recovery_point, default=None)


def _judged(
    policy: BackupPolicy, status: BackupPolicyStatus, runs: Sequence[BackupRun], now: datetime
) -> BackupPolicyStatus:
    """Take in how the verifications of its runs ended; what was known of runs that are gone stays."""
    ended = [
        (found.time, run.metadata.name, found)
        for run in runs
        if (found := run.status.verification) is not None and found.time is not None and found.phase.terminal
    ]
    verified = [time for time, _, found in ended if found.phase is VerificationPhase.SUCCEEDED]
    before = find_condition(status.conditions, RECOVERY_VERIFIED)
    said: tuple[Status, str, str] = ("Unknown", "NotVerifiedYet", "no verification of a run has ended yet")
    if ended:
        _, name, last = max(ended, key=lambda each: each[:2])
        good = last.phase is VerificationPhase.SUCCEEDED
        said = "True" if good else "False", last.reason or _FAILED, f"run {name}: {last.message}"
    elif before is not None:
        said = before.status, before.reason, before.message
    return updated(
        status,
        last_verified_time=max([*verified, *filter(None, [status.last_verified_time])], default=None),
        conditions=set_condition(
            status.conditions, RECOVERY_VERIFIED, *said, now, policy.metadata.generation
        ),
    )


def marked(run: BackupRun, *, slot: datetime | None = None, requested: str | None = None) -> BackupRunStatus:
    """The status of a run whose verification is to begin."""
    before = run.status.verification
    verification = Verification(
        phase=VerificationPhase.PENDING,
        mode="Checksum",
        slot=slot,
        requested=requested or (before.requested if before else None),
    )
    return updated(run.status, verification=verification)


def requested(run: BackupRun) -> str | None:
    """What asks by annotation for a verification of the run and was not dealt with yet."""
    value = run.metadata.annotations.get(VERIFY, "")[:253]
    before = run.status.verification
    return value if value and (before is None or before.requested != value) else None


def job_part(run: BackupRun) -> str:
    """What tells the Job of this verification from the run's others."""
    verification = run.status.verification
    assert verification is not None
    if verification.slot is not None:
        return f"verify.{verification.slot:%Y%m%d%H%M}"
    return f"verify.{hashlib.sha256((verification.requested or '').encode()).hexdigest()[:8]}"


def task(run: BackupRun, policy: BackupPolicy | None) -> VerifyTask | None:
    """What the Job is to do; None when no copy is left. Credentials are the policy's as they are now."""
    names = destinations_holding(run)
    if not names:
        return None
    return VerifyTask(
        namespace=run.metadata.namespace,
        policy=run.spec.policy_ref.name,
        run=run.metadata.name,
        targets=tuple(
            CommittedTarget(
                name=target.name,
                engine=target.engine,
                manifest_sha256=target.manifest_sha256 or "",
                destinations=tuple(sorted(names)),
            )
            for target in run.status.targets
            if target.phase is TargetPhase.SUCCEEDED
        ),
        destinations=tuple(
            current_destination(each, policy) for each in run.status.destinations if each.name in names
        ),
    )


def waits(run: BackupRun, limit: int) -> Step[BackupRunStatus]:
    """It is due, and as many as may go on do."""
    message = f"{limit} runs are verified at once: it waits for the end of one of them"
    return Step(_with(run, reason="WaitingForCapacity", message=message))


def started(run: BackupRun) -> Step[BackupRunStatus]:
    """It has a Job."""
    return Step(_with(run, reason=None, message=None))


def advance(
    run: BackupRun, seen: Observation, start_deadline: timedelta, now: datetime
) -> Step[BackupRunStatus]:
    """Take in what the Job has come to."""
    if isinstance(seen.result, VerifyResult):
        return _succeeded(run, seen.result, seen.ended or now, now)
    if seen.failed:
        return failed(run, seen.failure or Failure(reason=_FAILED), now, seen.ended)
    if (failure := cannot_start(seen, now, start_deadline)) is not None:
        return failed(run, failure, now)
    reason = message = None
    if seen.complaint is not None:
        reason, message = seen.complaint.reason, f"the Job cannot start: {seen.complaint.message}"
    elif seen.failure is not None:
        reason, message = "Retrying", f"it is tried again: {describe(seen.failure)}"
    return Step(_with(run, phase=VerificationPhase.RUNNING, reason=reason, message=message))


def _succeeded(run: BackupRun, result: VerifyResult, ended: datetime, now: datetime) -> Step[BackupRunStatus]:
    read = ", ".join(
        f"{each.objects} objects of {human_bytes(each.bytes_read)} in {each.destination} "
        f"({each.seconds:.0f} s)"
        for each in result.copies
    )
    message = f"every stored byte was read back and is what was stored: {read}; it was not restored"
    status = _with(run, phase=VerificationPhase.SUCCEEDED, time=ended, reason=_MATCH, message=message)
    return _told(run, status, "True", _MATCH, Notice(VERIFIED, message, job_part(run)), now)


def failed(
    run: BackupRun, failure: Failure, now: datetime, ended: datetime | None = None
) -> Step[BackupRunStatus]:
    """The end of a verification that found bytes that are wrong, or could not be carried out.

    The latter tells nothing of the run: what an earlier one has found stands.
    """
    wrong = failure.reason == MISMATCH
    message = failure.message if wrong else f"it could not be verified: {describe(failure)}"
    reason = MISMATCH if wrong else _FAILED
    status = _with(run, phase=VerificationPhase.FAILED, time=ended or now, reason=reason, message=message)
    notice = Notice(_FAILED, message, job_part(run), warning=True)
    if not wrong and find_condition(status.conditions, VERIFIED) is not None:
        return Step(status, (notice,))
    return _told(run, status, "False" if wrong else "Unknown", reason, notice, now)


def _with(run: BackupRun, **fields: object) -> BackupRunStatus:
    assert run.status.verification is not None
    return updated(run.status, verification=updated(run.status.verification, **fields))


def _told(
    run: BackupRun, status: BackupRunStatus, verified: Status, reason: str, notice: Notice, now: datetime
) -> Step[BackupRunStatus]:
    conditions = set_condition(
        status.conditions, VERIFIED, verified, reason, notice.message, now, run.metadata.generation
    )
    return Step(updated(status, conditions=conditions), (notice,))
