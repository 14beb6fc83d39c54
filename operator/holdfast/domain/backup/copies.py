"""Which copies of earlier runs a commit heals, and which leftovers it clears. Pure.

A run that an optional destination lacks is PartiallySucceeded with reason CopyMissing. The commit of a later
run of the policy copies it there from a destination that holds it whole, if that is still the same place and
retention would keep the copy. A copy that retention has deleted, or is deleting, is not missing.

A run that ended without a backup may have left objects and unfinished uploads. The commit of a later run
clears them, and `expiring` remembers the outcome: `gone`, or why something stays. The same is done where a
copy is missing that retention would not keep.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import (
    Artifact,
    BackupRun,
    BackupRunStatus,
    ExpiringCopy,
    RunPhase,
    TargetPhase,
    TargetStatus,
)
from holdfast.domain.backup.retention import (
    Backup,
    backup_of,
    decide,
    rules_of,
    targets_of,
    without_dry_run,
    zone_of,
)
from holdfast.domain.naming import run_path
from holdfast.domain.places import destinations_unmoved, destinations_unshared, places_by_destination
from holdfast.domain.rows import RunRow, row_of
from holdfast.domain.run.end import end_of_stored, with_end
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.stored import (
    EARLIEST,
    artifacts_by_destination,
    copies_text,
    destinations_holding,
    failed_targets,
    is_whole,
    skipped_targets,
    targets_held,
    with_artifacts,
)
from holdfast.protocol import CommitResult, CommitTask, DeletionOutcome, Gap, HealingOutcome, Leftovers

MAX_GAPS = 20
"""Runs that one commit heals; the next one heals more."""
MAX_LEFTOVERS = 20
"""Runs whose leftovers one commit clears."""
_EMPTY = (RunPhase.FAILED, RunPhase.CANCELLED, RunPhase.EXPIRED)
_NOT_HEALED = "no commit has healed this copy yet"
_CLAIMED = "the catalogue there has the run, so its objects stay"


@dataclass(frozen=True)
class RunGaps:
    """The destinations that lack a copy of a run."""

    row: RunRow
    destinations: frozenset[str]
    destinations_to_heal: frozenset[str]
    """Those of them where retention would keep the copy."""


@dataclass(frozen=True)
class GapsToHeal:
    """What a commit is to copy of one run."""

    row: RunRow
    sources: frozenset[str]
    """Destinations that hold it whole."""
    destinations: frozenset[str]
    """Where to."""


@dataclass(frozen=True)
class LeftoversToClear:
    """Where a commit may delete the leftovers of one run."""

    row: RunRow
    destinations: frozenset[str]


def destinations_lacking(row: RunRow) -> frozenset[str]:
    """The destinations that lack a stored run, but for those that retention took it from."""
    if not row.is_stored:
        return frozenset()
    deleted = {copy.destination for copy in row.expiring if copy.begun or copy.gone}
    return frozenset(row.places.keys() - row.destinations_holding - deleted)


def gaps_to_heal(
    policy: BackupPolicy, run: BackupRun, rows: Sequence[RunRow], left_out: Collection[str] = ()
) -> tuple[GapsToHeal, ...]:
    """What the commit of `run` is to heal without the destinations `left_out`, the newest run first."""
    to_heal = []
    for gaps in _gaps_of_runs(policy, run, rows):
        unmoved = destinations_unmoved(gaps.row.places, run.status.destinations)
        sources = (gaps.row.destinations_holding & unmoved).difference(left_out)
        destinations = gaps.destinations_to_heal.difference(left_out)
        if destinations and sources and gaps.row.has_checksums:
            to_heal.append(GapsToHeal(gaps.row, sources, destinations))
    return tuple(to_heal[:MAX_GAPS])


def gap_of(run: BackupRun, gaps: GapsToHeal) -> Gap:
    """The part of the commit's Task that heals this run."""
    order = [destination.name for destination in run.status.destinations]
    succeeded_targets = [t for t in run.status.targets if t.phase is TargetPhase.SUCCEEDED]
    return Gap(
        run=run.metadata.name,
        scheduled_time=run.spec.scheduled_time,
        trigger=run.spec.trigger,
        manifests={target.name: target.manifest_sha256 or "" for target in succeeded_targets},
        failed_targets=failed_targets(run),
        skipped_targets=skipped_targets(run),
        sources=tuple(sorted(gaps.sources, key=order.index)),
        lacking=tuple(sorted(gaps.destinations, key=order.index)),
    )


def _gaps_of_runs(policy: BackupPolicy, run: BackupRun, rows: Iterable[RunRow]) -> list[RunGaps]:
    """Runs that lack a copy, the newest first. None at all while the policy's time zone is unknown."""
    zone = zone_of(policy.spec)
    if zone is None:
        return []
    destinations = _destinations_to_write(policy, run)
    others = [row for row in rows if row.name != run.metadata.name and row.is_understood]
    missing = {
        row.name: destinations_lacking(row) & destinations_unshared(row.places, destinations)
        for row in others
    }
    backups = [_committed_backup(run, destinations)]
    for row in others:
        backup = backup_of(row, destinations)
        backups.append(replace(backup, destinations=backup.destinations | missing[row.name]))
    # A dry run deletes nothing, so it keeps every copy.
    rules = without_dry_run(rules_of(policy.spec))
    of_destinations = {d.name: rules.get(d.name) for d in destinations}
    rulings = decide(backups, of_destinations, zone, targets_of(policy.spec))
    kept = {
        (ruling.backup.run, name)
        for name, of_destination in rulings.items()
        for ruling in of_destination
        if ruling.reasons
    }
    gaps_of_runs = [
        RunGaps(
            row,
            missing[row.name],
            frozenset(name for name in missing[row.name] if (row.name, name) in kept),
        )
        for row in others
        if missing[row.name]
    ]
    return sorted(gaps_of_runs, key=lambda gaps: _age(gaps.row), reverse=True)


def _destinations_to_write(policy: BackupPolicy, run: BackupRun) -> list[Destination]:
    """The policy's destinations that the commit can write to.

    A destination that was moved since the run started is another place, and a full one takes nothing.
    """
    unmoved = destinations_unmoved(places_by_destination(run.status.destinations), policy.spec.destinations)
    names = unmoved - (run.status.over_quota or {}).keys()
    return [destination for destination in policy.spec.destinations if destination.name in names]


def _committed_backup(run: BackupRun, destinations: Iterable[Destination]) -> Backup:
    """The run that is being committed, as retention will see it."""
    points = [target.snapshot_time for target in run.status.targets if target.snapshot_time]
    return Backup(
        run=run.metadata.name,
        phase=RunPhase.SUCCEEDED,
        recovery_point=min(points, default=None),
        destinations=frozenset(destination.name for destination in destinations),
        is_whole=is_whole(run.status),
        targets=frozenset(targets_held(run)),
    )


def _age(row: RunRow) -> tuple[datetime, str]:
    return row.recovery_point or row.creation_time or EARLIEST, row.name


def destinations_to_clear(row: RunRow, destinations: Iterable[Destination]) -> frozenset[str]:
    """The destinations where a run that ended without a backup may have left something."""
    if row.phase not in _EMPTY or not row.has_targets:
        return frozenset()
    cleared = {copy.destination for copy in row.expiring if not copy.begun}
    return frozenset(destinations_unmoved(row.places, destinations) - cleared)


def leftovers_to_clear(
    policy: BackupPolicy, run: BackupRun, rows: Sequence[RunRow], left_out: Collection[str] = ()
) -> list[LeftoversToClear]:
    """Where the commit of `run` may clear what others left, the oldest run first; not where `left_out`.

    The caller sees to it that they have no pods that could still write.
    """
    destinations, rows = run.status.destinations, [row for row in rows if row.is_understood]
    leftovers = [LeftoversToClear(row, destinations_to_clear(row, destinations)) for row in rows]
    for gaps in _gaps_of_runs(policy, run, rows):
        remembered = {copy.destination for copy in gaps.row.expiring}
        leftovers.append(
            LeftoversToClear(gaps.row, gaps.destinations - gaps.destinations_to_heal - remembered)
        )
    for row in rows:
        unmoved = destinations_unmoved(row.places, destinations)
        leftovers.append(LeftoversToClear(row, row.leftovers & row.destinations_holding & unmoved))
    to_clear = [
        replace(of_run, destinations=of_run.destinations.difference(left_out))
        for of_run in leftovers
        if of_run.row.name != run.metadata.name and not of_run.destinations <= set(left_out)
    ]
    return sorted(to_clear, key=lambda of_run: _age(of_run.row))


def leftovers_of(leftovers: Iterable[LeftoversToClear]) -> tuple[Leftovers, ...]:
    """The part of the commit's Task that clears leftovers."""
    groups: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for of_run in leftovers:
        row = of_run.row
        for name in sorted(of_run.destinations):
            groups[name, name in row.destinations_holding].append(row.name)
    return tuple(
        Leftovers(destination=name, runs=tuple(runs), held=is_held)
        for (name, is_held), runs in groups.items()
    )


def outcomes_of(
    task: CommitTask, result: CommitResult
) -> tuple[dict[str, dict[str, DeletionOutcome]], dict[str, dict[str, HealingOutcome]]]:
    """By run and destination: the outcomes of the leftovers and of the gaps of a commit's Task."""
    clearing_outcomes: defaultdict[str, dict[str, DeletionOutcome]] = defaultdict(dict)
    left = [(run, leftovers.destination) for leftovers in task.leftovers for run in leftovers.runs]
    for (run, destination), letter in zip(left, result.leftovers, strict=False):
        clearing_outcomes[run][destination] = DeletionOutcome(letter)
    healing_outcomes: defaultdict[str, dict[str, HealingOutcome]] = defaultdict(dict)
    lacking = [(gap.run, name) for gap in task.gaps for name in gap.lacking]
    for (run, destination), letter in zip(lacking, result.healing, strict=False):
        healing_outcomes[run][destination] = HealingOutcome(letter)
    return clearing_outcomes, healing_outcomes


def record_healing(
    run: BackupRun, outcomes: Mapping[str, HealingOutcome], now: datetime
) -> Step[BackupRunStatus]:
    """A commit has said, by destination, what became of a run's missing copies."""
    missing, holding = destinations_lacking(row_of(run)), destinations_holding(run)
    new = [name for name, outcome in outcomes.items() if outcome is HealingOutcome.HEALED and name in missing]
    source = next((d for d in run.status.destinations if d.name in holding), None)
    if not new or source is None:
        return Step(run.status)
    added = [destination for destination in run.status.destinations if destination.name in new]
    status = updated(
        run.status,
        targets=tuple(_with_copies(run, target, source, added) for target in run.status.targets),
        expiring=tuple(copy for copy in run.status.expiring if copy.destination not in new),
    )
    healed_run = run.model_copy(update={"status": status})
    copies = copies_text(run, status)
    status = updated(status, copies=copies)
    names = ", ".join(new)
    message = f"run {run.metadata.name}: its copy in {names} was made from {source.name} and read back"
    notice = Notice("CopyHealed", f"{message}; copies: {copies}", names)
    still_missing = sorted(destinations_lacking(row_of(healed_run)))
    how = end_of_stored(status, dict.fromkeys(still_missing, _NOT_HEALED))
    return Step(with_end(status, how, run.metadata.generation, now), (notice,))


def _with_copies(
    run: BackupRun, target: TargetStatus, source: Destination, added: Sequence[Destination]
) -> TargetStatus:
    """The target's artifacts, with those of `source` also in the destinations `added`."""
    names = {destination.name for destination in added}
    artifacts: list[Artifact] = []
    for artifact in target.artifacts:
        if artifact.destination not in names:
            artifacts.append(artifact)
        if artifact.destination == source.name:
            path = artifact.uri.removeprefix(_uri(run, source, ""))
            artifacts += [
                updated(
                    artifact,
                    destination=destination.name,
                    uri=_uri(run, destination, path),
                    retain_until=None,
                )
                for destination in added
            ]
    return with_artifacts(target, artifacts, artifacts_by_destination(target))


def _uri(run: BackupRun, destination: Destination, path: str) -> str:
    return destination.spec.uri(run_path(run).folder + path)


def record_clearing(run: BackupRun, outcomes: Mapping[str, DeletionOutcome]) -> Step[BackupRunStatus]:
    """A commit has said, by destination, what became of a run's leftovers."""
    holding = destinations_holding(run)
    cleared = [
        name
        for name, outcome in outcomes.items()
        if outcome in (DeletionOutcome.DELETED, DeletionOutcome.REFUSED)
    ]
    remembered = {
        name: ExpiringCopy(destination=name, gone=True)
        if outcomes[name] is DeletionOutcome.DELETED
        else ExpiringCopy(destination=name, message=_CLAIMED)
        for name in cleared
        if name not in holding
    }
    others = [copy for copy in run.status.expiring if copy.destination not in remembered]
    return Step(
        updated(
            run.status,
            expiring=(*others, *remembered.values()),
            leftovers=tuple(name for name in run.status.leftovers if name not in cleared),
        )
    )
