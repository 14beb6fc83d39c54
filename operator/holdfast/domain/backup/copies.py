"""Which copies of earlier runs a commit makes anew, and which leftovers it clears away. Pure.

A run that an optional destination lacks is PartiallySucceeded with reason CopyMissing. The commit of a later
run of the policy copies it there from a destination that holds it whole, as long as that is the same place
still, and retention would keep the copy there. A copy that retention has deleted or begun to is not missing.

Runs that ended without a backup may have left objects and unfinished uploads. The commit of a later run
clears them away, and `expiring` remembers it: `gone`, or why something stays. So it does where a copy is
missing that retention would not keep.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from holdfast.api.conditions import set_condition
from holdfast.api.destination import Destination
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import (
    STORED,
    Artifact,
    BackupRun,
    BackupRunStatus,
    Expiring,
    RunPhase,
    TargetPhase,
    TargetStatus,
)
from holdfast.domain.backup.retention import Backup, backup_of, decide, zone_of
from holdfast.domain.naming import run_path, same_places
from holdfast.domain.run import hooks
from holdfast.domain.run.lifecycle import COPY_MISSING, hook_failed, succeeded
from holdfast.domain.step import Notice, Step, updated
from holdfast.domain.stored import (
    EARLIEST,
    artifacts_by_destination,
    copies_text,
    destinations_holding,
    is_whole,
)
from holdfast.protocol import CommitResult, CommitTask, Cure, Fate, Gap, Leftovers

MAX_GAPS = 20
"""Runs that one commit is handed to heal; there is a next one."""
MAX_LEFTOVERS = 20
"""Runs whose leftovers one commit is handed."""
_EMPTY = (RunPhase.FAILED, RunPhase.CANCELLED, RunPhase.EXPIRED)
_CLAIMED = "the catalogue there has the run, so what it claims stays"


def missing(run: BackupRun) -> set[str]:
    """The destinations that lack a stored run, but for those that retention took it from."""
    if run.status.phase not in STORED:
        return set()
    taken = {each.destination for each in run.status.expiring if each.begun or each.gone}
    return {each.name for each in run.status.destinations} - destinations_holding(run) - taken


def gaps(policy: BackupPolicy, run: BackupRun, runs: Sequence[BackupRun]) -> tuple[Gap, ...]:
    """What the commit of `run` is to heal, the newest run first."""
    found = []
    for each, _, wanted in _lacking(policy, run, runs):
        sources = same_places(each.status.destinations, run.status.destinations) & destinations_holding(each)
        manifests = {
            target.name: target.manifest_sha256
            for target in each.status.targets
            if target.phase is TargetPhase.SUCCEEDED
        }
        if wanted and sources and all(manifests.values()):
            found.append(_gap(each, manifests, sources, wanted))
    return tuple(found[:MAX_GAPS])


def _gap(run: BackupRun, manifests: Mapping[str, str | None], sources: set[str], lacking: set[str]) -> Gap:
    order = [each.name for each in run.status.destinations]
    return Gap(
        run=run.metadata.name,
        scheduled_time=run.spec.scheduled_time,
        trigger=run.spec.trigger,
        manifests={name: sha256 for name, sha256 in manifests.items() if sha256},
        failed_targets=tuple(t.name for t in run.status.targets if t.phase is not TargetPhase.SUCCEEDED),
        sources=tuple(sorted(sources, key=order.index)),
        lacking=tuple(sorted(lacking, key=order.index)),
    )


def _lacking(
    policy: BackupPolicy, run: BackupRun, runs: Iterable[BackupRun]
) -> list[tuple[BackupRun, set[str], set[str]]]:
    """Runs that lack a copy, the newest first; where they do, and where retention would keep it."""
    zone = zone_of(policy.spec)
    if zone is None:
        return []
    # A destination that was moved since the run started is another place, and one that is full takes nothing.
    same = (
        same_places(run.status.destinations, policy.spec.destinations) - (run.status.over_quota or {}).keys()
    )
    places = [each for each in policy.spec.destinations if each.name in same]
    names = {each.name for each in places}
    others = [each for each in runs if each.metadata.name != run.metadata.name]
    absent = {
        each.metadata.name: missing(each) & same_places(each.status.destinations, places) for each in others
    }
    backups = [_committed(run, names)]
    for each in others:
        backup = backup_of(each, places)
        backups.append(replace(backup, destinations=backup.destinations | absent[each.metadata.name]))
    rules = {each.name: each.retention or policy.spec.retention for each in places}
    rules = {name: rule if rule is None or not rule.dry_run else None for name, rule in rules.items()}
    kept = {
        (verdict.backup.run, name)
        for name, verdicts in decide(backups, rules, zone).items()
        for verdict in verdicts
        if verdict.reasons
    }
    lacking = [each for each in others if absent[each.metadata.name]]
    lacking.sort(key=_age, reverse=True)
    return [
        (each, names, {name for name in names if (each.metadata.name, name) in kept})
        for each in lacking
        for names in (absent[each.metadata.name],)
    ]


def _committed(run: BackupRun, destinations: Iterable[str]) -> Backup:
    """The run that is being committed, as retention will see it."""
    points = [target.snapshot_time for target in run.status.targets if target.snapshot_time]
    return Backup(
        run=run.metadata.name,
        phase=RunPhase.SUCCEEDED,
        recovery_point=min(points, default=None),
        destinations=frozenset(destinations),
        whole=is_whole(run.status),
    )


def _age(run: BackupRun) -> tuple[datetime, str]:
    return run.status.recovery_point or run.metadata.creation_timestamp or EARLIEST, run.metadata.name


def uncleared(run: BackupRun, destinations: Iterable[Destination]) -> set[str]:
    """The destinations where a run that ended without a backup may have left something."""
    if run.status.phase not in _EMPTY or not run.status.targets:
        return set()
    settled = {each.destination for each in run.status.expiring if not each.begun}
    return same_places(run.status.destinations, destinations) - settled


def leftovers(
    policy: BackupPolicy, run: BackupRun, runs: Sequence[BackupRun]
) -> list[tuple[BackupRun, set[str]]]:
    """Where the commit of `run` may clear away what others left, the oldest run first.

    Whether they have pods that could still write is for the caller to see.
    """
    places = run.status.destinations
    found = [(each, uncleared(each, places)) for each in runs]
    for each, names, wanted in _lacking(policy, run, runs):
        found.append((each, names - wanted - {expiring.destination for expiring in each.status.expiring}))
    found += [
        (
            each,
            set(each.status.leftovers)
            & destinations_holding(each)
            & same_places(each.status.destinations, places),
        )
        for each in runs
    ]
    found = [(each, names) for each, names in found if names and each.metadata.name != run.metadata.name]
    return sorted(found, key=lambda pair: _age(pair[0]))


def told(
    task: CommitTask, result: CommitResult
) -> tuple[dict[str, dict[str, Fate]], dict[str, dict[str, Cure]]]:
    """By run and destination: what became of the leftovers and of the gaps that a commit was handed."""
    fates: defaultdict[str, dict[str, Fate]] = defaultdict(dict)
    left = [(run, each.destination) for each in task.leftovers for run in each.runs]
    for (run, destination), letter in zip(left, result.leftovers, strict=False):
        fates[run][destination] = Fate(letter)
    cures: defaultdict[str, dict[str, Cure]] = defaultdict(dict)
    lacking = [(gap.run, name) for gap in task.gaps for name in gap.lacking]
    for (run, destination), letter in zip(lacking, result.healing, strict=False):
        cures[run][destination] = Cure(letter)
    return fates, cures


def healed(run: BackupRun, cures: Mapping[str, Cure], now: datetime) -> Step[BackupRunStatus]:
    """What a run's status says once a commit has told, by destination, what became of its missing copies."""
    new = [name for name, cure in cures.items() if cure is Cure.HEALED and name in missing(run)]
    source = next((each for each in run.status.destinations if each.name in destinations_holding(run)), None)
    if not new or source is None:
        return Step(run.status)
    added = [each for each in run.status.destinations if each.name in new]
    status = updated(
        run.status,
        targets=tuple(_with_copies(run, target, source, added) for target in run.status.targets),
        expiring=tuple(each for each in run.status.expiring if each.destination not in new),
    )
    later = run.model_copy(update={"status": status})
    copies = copies_text(run, status)
    status = updated(status, copies=copies)
    names = ", ".join(new)
    message = f"run {run.metadata.name}: its copy in {names} was made from {source.name} and read back"
    told = Notice("CopyHealed", f"{message}; copies: {copies}", names)
    if status.reason != COPY_MISSING:
        return Step(status, (told,))
    return Step(_less_missing(status, sorted(missing(later)), run.metadata.generation, now), (told,))


def _less_missing(
    status: BackupRunStatus, left: list[str], generation: int | None, now: datetime
) -> BackupRunStatus:
    """The status of a run that lacked nothing but copies, once it lacks no others than `left`."""
    if left:
        return updated(status, message=f"not in every destination: {', '.join(left)} lacks it still")
    hook = hooks.failed(status, "After")
    if hook is not None:
        reason, message = hook_failed(hook)
        return updated(status, reason=reason, message=message)
    message = succeeded(status)
    return updated(
        status,
        phase=RunPhase.SUCCEEDED,
        reason=None,
        message=message,
        conditions=set_condition(
            status.conditions, "Complete", "True", RunPhase.SUCCEEDED, message, now, generation
        ),
    )


def _with_copies(
    run: BackupRun, target: TargetStatus, source: Destination, added: Sequence[Destination]
) -> TargetStatus:
    """The target's artifacts, those of `source` also in the destinations `added`."""
    names = {each.name for each in added}
    found: list[Artifact] = []
    for artifact in target.artifacts:
        if artifact.destination not in names:
            found.append(artifact)
        if artifact.destination == source.name:
            path = artifact.uri.removeprefix(_uri(run, source, ""))
            found += [
                updated(artifact, destination=each.name, uri=_uri(run, each, path), retain_until=None)
                for each in added
            ]
    holding = {artifact.destination for artifact in found}
    omitted = artifacts_by_destination(target) * len(holding) - len(found)
    return updated(target, artifacts=tuple(found), artifacts_omitted=omitted or None)


def _uri(run: BackupRun, destination: Destination, path: str) -> str:
    return destination.spec.uri(run_path(run).folder + path)


def cleared(run: BackupRun, fates: Mapping[str, Fate]) -> Step[BackupRunStatus]:
    """What a run's status remembers once a commit has told, by destination, what became of its leftovers."""
    done = [name for name, fate in fates.items() if fate in (Fate.DELETED, Fate.REFUSED)]
    settled = {
        name: Expiring(destination=name, gone=True)
        if fates[name] is Fate.DELETED
        else Expiring(destination=name, message=_CLAIMED)
        for name in done
        if name not in destinations_holding(run)
    }
    others = [each for each in run.status.expiring if each.destination not in settled]
    return Step(
        updated(
            run.status,
            expiring=(*others, *settled.values()),
            leftovers=tuple(name for name in run.status.leftovers if name not in done),
        )
    )


def handed(found: Iterable[tuple[BackupRun, set[str]]]) -> tuple[Leftovers, ...]:
    """Leftovers as a Job is handed them."""
    groups: defaultdict[tuple[str, bool], list[str]] = defaultdict(list)
    for run, destinations in found:
        for name in sorted(destinations):
            groups[name, name in destinations_holding(run)].append(run.metadata.name)
    return tuple(
        Leftovers(destination=name, runs=tuple(runs), held=there) for (name, there), runs in groups.items()
    )
