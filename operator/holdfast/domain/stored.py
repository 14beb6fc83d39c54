"""What a run has stored, and in which destinations, by its status. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import STORED, Artifact, BackupRun, BackupRunStatus, RunPhase, TargetPhase, TargetStatus
from holdfast.domain.naming import run_path
from holdfast.domain.places import destination_at_place_of
from holdfast.domain.step import Notice, updated
from holdfast.mounts import SecretMount
from holdfast.protocol import CommittedTarget

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""Sorts what has no time before everything that has one."""


def targets_held(run: BackupRun) -> set[str]:
    """The names of the targets that succeeded."""
    return {target.name for target in run.status.targets if target.phase is TargetPhase.SUCCEEDED}


def failed_targets(run: BackupRun) -> tuple[str, ...]:
    """The names of the targets that it lacks."""
    return tuple(t.name for t in run.status.targets if t.phase is not TargetPhase.SUCCEEDED)


def skipped_targets(run: BackupRun) -> tuple[str, ...]:
    """The names of those of them that it was not to back up."""
    return tuple(t.name for t in run.status.targets if t.phase is TargetPhase.SKIPPED)


def is_whole(status: BackupRunStatus) -> bool:
    """Whether the run has every target of its policy. A run of a part has not."""
    return all(target.phase is TargetPhase.SUCCEEDED for target in status.targets)


def destinations_being_deleted(run: BackupRun) -> set[str]:
    """The destinations where the run's data may be partly deleted."""
    return {copy.destination for copy in run.status.expiring if copy.begun}


def destinations_holding(run: BackupRun) -> set[str]:
    """The destinations that hold every target that succeeded, and where nothing of the run is deleted."""
    if run.status.phase not in STORED:
        return set()
    copies = [
        {artifact.destination for artifact in target.artifacts}
        for target in run.status.targets
        if target.phase is TargetPhase.SUCCEEDED
    ]
    return (set.intersection(*copies) if copies else set()) - destinations_being_deleted(run)


def destinations_with_copies(run: BackupRun) -> set[str]:
    """The destinations that hold at least a part of the run."""
    return {artifact.destination for target in run.status.targets for artifact in target.artifacts}


def artifacts_by_destination(target: TargetStatus) -> int:
    """How many artifacts each destination has that holds the target, listed or not."""
    destinations = {artifact.destination for artifact in target.artifacts}
    every = len(target.artifacts) + (target.artifacts_omitted or 0)
    return every // len(destinations) if destinations else 0


def kept_in(target: TargetStatus, destinations: Collection[str]) -> TargetStatus:
    """The target without the artifacts of other destinations."""
    kept = [artifact for artifact in target.artifacts if artifact.destination in destinations]
    return with_artifacts(target, kept, artifacts_by_destination(target))


def with_artifacts(target: TargetStatus, artifacts: Sequence[Artifact], by_destination: int) -> TargetStatus:
    """The target with these artifacts, of `by_destination` in each. Where it has one, it is not missing."""
    holding = {artifact.destination for artifact in artifacts}
    omitted = by_destination * len(holding) - len(artifacts)
    missing = {name: why for name, why in (target.missing or {}).items() if name not in holding}
    return updated(
        target, artifacts=tuple(artifacts), artifacts_omitted=omitted or None, missing=missing or None
    )


def committed_target(target: TargetStatus, destinations: Iterable[str]) -> CommittedTarget:
    """A target that succeeded, as a Job that reads it back has to find it in these destinations."""
    return CommittedTarget(
        name=target.name,
        engine=target.engine,
        manifest_sha256=target.manifest_sha256 or "",
        destinations=tuple(destinations),
    )


def copies_text(run: BackupRun, status: BackupRunStatus) -> str:
    """`status.copies` of a run with this status: the destinations that hold it, of how many."""
    holding = destinations_holding(run.model_copy(update={"status": status}))
    return f"{len(holding)}/{len(status.destinations)}"


def bytes_by_destination(run: BackupRun) -> dict[str, int]:
    """By destination: the bytes of the run's artifacts that it holds."""
    if run.status.phase not in STORED:
        return {}
    totals: dict[str, int] = {}
    for target in run.status.targets:
        listed: Counter[str] = Counter()
        for artifact in target.artifacts:
            listed[artifact.destination] += artifact.size_bytes
        for name, size in listed.items():
            totals[name] = totals.get(name, 0) + (size if target.size_bytes is None else target.size_bytes)
    # The status does not list all artifacts of a target that has many, and one of before says no size.
    whole = run.status.size_bytes
    return totals if whole is None else totals | dict.fromkeys(destinations_holding(run), whole)


def preferred_destination(destinations: Sequence[Destination]) -> Destination | None:
    """The first required destination, because a run succeeds only with its copy there; else the first."""
    required = (destination for destination in destinations if destination.required)
    return next(required, destinations[0] if destinations else None)


def report_uri(run: BackupRun, name: str, destinations: Collection[str]) -> str | None:
    """The URI of the run's report `name` in the preferred one of these destinations."""
    chosen = preferred_destination([d for d in run.status.destinations if d.name in destinations])
    if chosen is None:
        return None
    return chosen.spec.uri(run_path(run).folder + name)


def report_left(run: BackupRun, status: BackupRunStatus) -> str | None:
    """`status.report` of a run with this status, some of whose copies have just gone."""
    if status.report is None:
        return None
    later = run.model_copy(update={"status": status})
    return report_uri(later, status.report.rpartition("/")[2], destinations_holding(later))


def may_hold_data(run: BackupRun) -> bool:
    """Whether a destination may hold something of the run."""
    status = run.status
    if status.start_time is None or status.phase is None or status.phase is RunPhase.EXPIRED:
        return False
    if not status.phase.has_ended or any(target.artifacts for target in status.targets):
        return True
    deleted, ended = run.metadata.deletion_timestamp, status.completion_time
    # The deletion stopped its pods, and no Result says what they had written.
    return deleted is not None and ended is not None and ended >= deleted


def notices_of_recorded_secrets(
    recorded: Iterable[Destination], policy: BackupPolicy | None
) -> tuple[Notice, ...]:
    """The destinations whose recorded Secrets are used, because the policy has none for the place."""
    return tuple(
        Notice("RecordedSecrets", _recorded_secrets(destination, secrets), destination.name)
        for destination in recorded
        if (secrets := _secrets_of(destination)) and destination_at_place_of(destination, policy) is None
    )


def _secrets_of(destination: Destination) -> list[str]:
    return [mount.secret for mount in destination.spec.mounts() if isinstance(mount, SecretMount)]


def _recorded_secrets(destination: Destination, secrets: list[str]) -> str:
    return (
        f"destination {destination.name}: the policy has no destination at {destination.spec.place_text()}, "
        f"so the Job uses what the run recorded: Secret {', '.join(secrets)}"
    )
