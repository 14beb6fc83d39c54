"""What each kind of Job is given: the Tasks of runs, policies and restores. Pure."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.restore import RestoreRequest
from holdfast.api.run import BackupRun, TargetPhase, TargetStatus
from holdfast.domain.places import current_destination, with_current_secrets
from holdfast.domain.restoration import Plan, overrides
from holdfast.domain.stored import committed_target, destinations_holding, failed_targets, skipped_targets
from holdfast.protocol import (
    BackupTask,
    CommitTask,
    DiscardTask,
    Expiry,
    Gap,
    Leftovers,
    ListedTarget,
    LookupTask,
    PurgeTask,
    RestoreTask,
    StoredRun,
    SurveyTask,
    SwapTask,
    VerifyTask,
)


@dataclass(frozen=True)
class Upkeep:
    """What a commit does for earlier runs."""

    expiries: tuple[Expiry, ...] = ()
    gaps: tuple[Gap, ...] = ()
    leftovers: tuple[Leftovers, ...] = ()


def destinations_written(run: BackupRun) -> tuple[Destination, ...]:
    """The destinations that the run's Backup Jobs write to."""
    left_out = run.status.over_quota or {}
    return tuple(destination for destination in run.status.destinations if destination.name not in left_out)


def backup_task(run: BackupRun, target: TargetStatus, policy: BackupPolicy | None) -> BackupTask | None:
    """The Task that backs up a target of a run; None when the run has not written down what the target is.

    Credentials are the policy's as they are now; all else is what the run has written down.
    """
    planned = next((p for p in run.status.plan if p.name == target.name), None)
    if planned is None:
        return None
    return BackupTask(
        namespace=run.metadata.namespace,
        policy=run.spec.policy_ref.name,
        run=run.metadata.name,
        run_uid=run.metadata.uid,
        target=target.name,
        engine=target.engine,
        spec=json.loads(planned.spec),
        recipients=_recipients(run),
        destinations=tuple(
            with_current_secrets(destination, policy) for destination in destinations_written(run)
        ),
        on_omission=planned.on_omission,
    )


def commit_task(
    run: BackupRun,
    policy: BackupPolicy | None,
    upkeep: Upkeep,
    budget: float | None,
    left_out: Collection[str] = (),
) -> CommitTask:
    """The Task that commits a run; `budget` is in seconds, None without a limit.

    Nothing is written to the destinations `left_out`. Credentials are as in `backup_task`.
    """
    succeeded_targets = [t for t in run.status.targets if t.phase is TargetPhase.SUCCEEDED]
    return CommitTask(
        namespace=run.metadata.namespace,
        policy=run.spec.policy_ref.name,
        run=run.metadata.name,
        run_uid=run.metadata.uid,
        scheduled_time=run.spec.scheduled_time,
        trigger=run.spec.trigger,
        started_time=run.status.start_time,
        targets=tuple(
            committed_target(target, dict.fromkeys(a.destination for a in target.artifacts))
            for target in succeeded_targets
        ),
        failed_targets=failed_targets(run),
        skipped_targets=skipped_targets(run),
        destinations=tuple(
            with_current_secrets(destination, policy)
            for destination in run.status.destinations
            if destination.name not in left_out
        ),
        retention=upkeep.expiries,
        retention_seconds=budget,
        gaps=upkeep.gaps,
        leftovers=upkeep.leftovers,
        recipients=_recipients(run),
    )


def _recipients(run: BackupRun) -> tuple[str, ...]:
    return run.status.settings.recipients if run.status.settings is not None else ()


def purge_task(run: BackupRun, policy: BackupPolicy | None) -> PurgeTask:
    """The Task that deletes all data of a run, with the policy's credentials as they are now."""
    return PurgeTask(
        namespace=run.metadata.namespace,
        policy=run.spec.policy_ref.name,
        run=run.metadata.name,
        run_uid=run.metadata.uid,
        recovery_point=run.status.recovery_point,
        destinations=tuple(
            current_destination(destination, policy) for destination in run.status.destinations
        ),
    )


def verify_task(run: BackupRun, policy: BackupPolicy | None) -> VerifyTask | None:
    """The Task that verifies a run; None when no copy is left.

    Credentials are the policy's as they are now.
    """
    names = destinations_holding(run)
    if not names:
        return None
    return VerifyTask(
        namespace=run.metadata.namespace,
        policy=run.spec.policy_ref.name,
        run=run.metadata.name,
        targets=tuple(
            committed_target(target, sorted(names))
            for target in run.status.targets
            if target.phase is TargetPhase.SUCCEEDED
        ),
        destinations=tuple(
            current_destination(destination, policy)
            for destination in run.status.destinations
            if destination.name in names
        ),
    )


def survey_task(policy: BackupPolicy, after: str, left_out: Collection[str] = ()) -> SurveyTask:
    """The Task that surveys a policy's destinations, and the page of their catalogues after this run."""
    return SurveyTask(
        namespace=policy.metadata.namespace,
        policy=policy.metadata.name,
        destinations=tuple(d for d in policy.spec.destinations if d.name not in left_out),
        after=after,
    )


def lookup_task(stored: StoredRun) -> LookupTask:
    """The Task that reads the entry of a run."""
    return LookupTask(source=stored)


def restore_task(request: RestoreRequest, plan: Plan, target: ListedTarget) -> RestoreTask:
    """The Task that restores a target of a request."""
    return RestoreTask(
        namespace=request.metadata.namespace,
        request=request.metadata.name,
        request_uid=request.metadata.uid,
        mode="New",
        source=plan.stored,
        target=target.name,
        engine=target.engine,
        spec=target.spec,
        override=overrides(request).get(target.name),
        identity_secret=plan.identity_secret if target.recipients else None,
        on_object_error=request.spec.on_object_error,
        accepted_risks=request.spec.accepted_risks,
        # One target alone needs nobody's consent, and no second Job.
        swaps=len(request.status.targets) == 1,
    )


def swap_task(made: str) -> SwapTask:
    """The Task that puts in place what a Restore Job with the Task `made` has staged.

    Raises ValidationError if another release made that Job.
    """
    return SwapTask(**_of_target(made))


def discard_task(made: str, swapped: Collection[str] = ()) -> DiscardTask:
    """The Task that drops what that Restore Job has loaded; the targets `swapped` are in place already.

    Raises ValidationError if another release made that Job.
    """
    fields = _of_target(made)
    return DiscardTask(**fields, swapped=fields["target"] in swapped)


def _of_target(made: str) -> dict[str, Any]:
    task = RestoreTask.model_validate_json(made)
    return {name: getattr(task, name) for name in SwapTask.model_fields if name not in ("version", "kind")}
