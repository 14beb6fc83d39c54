"""The facts of a run that decisions over lists of runs need, and how they are read from a BackupRun. Pure.

A decision about one run has the whole object. A decision that looks at many has their rows, whatever feeds
the list.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from sys import intern

from holdfast.api.conditions import is_true
from holdfast.api.destination import Destination, Place
from holdfast.api.run import STORED, BackupRun, ExpiringCopy, RunPhase, RunTrigger, TargetPhase, Verification
from holdfast.domain.duplicates import started_uid
from holdfast.domain.labels import IMPORTED, MISSED, PAUSED, POLICY, SKIPPED, STARTED, VERIFY, of_policy
from holdfast.domain.places import places_by_destination
from holdfast.domain.stored import (
    EARLIEST,
    bytes_by_destination,
    destinations_being_deleted,
    destinations_holding,
    destinations_with_copies,
    is_whole,
    may_hold_data,
    targets_held,
)
from holdfast.domain.too_late import is_unanswered

PolicyName = tuple[str, str]
"""Namespace and name of a policy."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list of runs. Ten thousand are in memory at once: what many have alike, they share."""

    namespace: str
    name: str
    uid: str
    original_uid: str
    """The UID that it had when it was run."""
    policy: str
    """The name of its policy."""
    trigger: RunTrigger
    scheduled_time: datetime | None
    creation_time: datetime | None
    start_time: datetime | None
    completion_time: datetime | None
    phase: RunPhase | None
    message: str
    problem: str
    """What of the BackupRun is not understood; empty if it is. Such a run is counted and never touched."""
    recovery_point: datetime | None
    finalizers: tuple[str, ...]
    places: Mapping[str, Place]
    """By destination of the run: the place that it meant when the run started."""
    destinations_holding: frozenset[str]
    """The destinations that hold all that the run has."""
    destinations_with_copies: frozenset[str]
    """The destinations that hold at least a part of the run, by its status."""
    destinations_being_deleted: frozenset[str]
    stored_bytes: Mapping[str, int]
    """By destination: the bytes that the run has there."""
    expiring: tuple[ExpiringCopy, ...]
    leftovers: frozenset[str]
    """The destinations that hold the run and leftovers of its failed attempts."""
    targets_held: frozenset[str]
    """The targets that succeeded."""
    targets_count: int
    """How many targets the run has."""
    targets_asked: int
    """How many targets its spec names; 0 for all of the policy's."""
    targets_under_way: int
    """How many targets have not ended."""
    jobs_at_once: int | None
    """How many of its Backup Jobs may run at once. None: the limit of all runs is the only one."""
    verification: Verification | None
    has_targets: bool
    """True once the run has started."""
    has_checksums: bool
    """True: the status has the manifest's SHA-256 of every target that succeeded."""
    has_purge: bool
    """True: the purge of its data has started."""
    is_cancelled: bool
    is_deleted: bool
    """True: the BackupRun has a deletion timestamp."""
    is_imported: bool
    """True: a survey made the BackupRun from a catalogue's entry."""
    is_duplicate: bool
    """True: somebody created the BackupRun from the object of a run that had started."""
    is_settled: bool
    """True: it has ended, and nothing more is asked of it than what its Jobs still need."""
    is_missed: bool
    """True: its slot was missed or skipped before the BackupRun was made."""
    is_verified: bool
    is_whole: bool
    is_part: bool
    """True: its spec leaves targets of the policy out. It counts for its own targets alone."""
    may_hold_data: bool

    @property
    def policy_name(self) -> PolicyName:
        """Namespace and name of its policy."""
        return self.namespace, self.policy

    @property
    def is_stored(self) -> bool:
        """Whether it holds a backup."""
        return self.phase in STORED

    @property
    def is_understood(self) -> bool:
        """Whether anything may be decided for it."""
        return not self.problem

    @property
    def is_under_way(self) -> bool:
        """Whether it has Jobs of a backup. A run in a phase that only a newer release knows may have some."""
        if self.phase is None:
            return bool(self.problem) and self.start_time is not None and self.completion_time is None
        return self.phase in (RunPhase.RUNNING, RunPhase.COMMITTING)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be done for it."""
        return self.phase is not None and self.phase.has_ended

    @property
    def is_being_verified(self) -> bool:
        """Whether a verification of it is under way."""
        return self.verification is not None and not self.verification.phase.has_ended

    @property
    def age(self) -> tuple[datetime, str]:
        """Sorts the oldest first. An imported run and a duplicate are as old as what they hold."""
        if self.is_duplicate or (self.is_imported and self.start_time is not None):
            return self.start_time or EARLIEST, self.name
        return self.creation_time or EARLIEST, self.name

    @property
    def age_of_data(self) -> tuple[datetime, str]:
        """Sorts by what a restore brings back, the oldest first."""
        return self.recovery_point or EARLIEST, self.name


def row_of(run: BackupRun) -> RunRow:
    """The row of a run."""
    metadata, spec, status = run.metadata, run.spec, run.status
    succeeded = [target for target in status.targets if target.phase is TargetPhase.SUCCEEDED]
    return RunRow(
        namespace=intern(metadata.namespace),
        name=metadata.name,
        uid=metadata.uid,
        original_uid=original_uid(run),
        policy=intern(spec.policy_ref.name),
        trigger=spec.trigger,
        scheduled_time=spec.scheduled_time,
        creation_time=metadata.creation_timestamp,
        start_time=status.start_time,
        completion_time=status.completion_time,
        phase=status.phase,
        message=intern(status.message or ""),
        problem=run.problem,
        recovery_point=status.recovery_point,
        finalizers=_shared(metadata.finalizers),
        places=_shared_places(status.destinations),
        destinations_holding=_shared_set(destinations_holding(run)),
        destinations_with_copies=_shared_set(destinations_with_copies(run)),
        destinations_being_deleted=_shared_set(destinations_being_deleted(run)),
        stored_bytes=bytes_by_destination(run),
        expiring=status.expiring,
        leftovers=_shared_set(status.leftovers),
        targets_held=_shared_set(targets_held(run)),
        targets_count=len(status.targets),
        targets_asked=len(spec.targets or ()),
        targets_under_way=sum(not target.phase.has_ended for target in status.targets),
        jobs_at_once=status.jobs_at_once,
        verification=status.verification,
        has_targets=bool(status.targets),
        has_checksums=all(target.manifest_sha256 for target in succeeded),
        has_purge=status.deletion is not None,
        is_cancelled=spec.cancel,
        is_deleted=metadata.deletion_timestamp is not None,
        is_imported=is_imported(run),
        is_duplicate=started_uid(run) is not None,
        is_settled=_is_settled(run),
        is_missed=MISSED in metadata.annotations or SKIPPED in metadata.annotations,
        is_verified=is_true(status.conditions, "Verified"),
        is_whole=is_whole(status),
        is_part=is_part(run),
        may_hold_data=may_hold_data(run),
    )


def is_imported(run: BackupRun) -> bool:
    """Whether a survey made it from a catalogue's entry."""
    return IMPORTED in run.metadata.annotations


def is_part(run: BackupRun) -> bool:
    """Whether its spec leaves targets of its policy out, as far as is known."""
    targets = run.status.targets
    has_all = bool(targets) and not any(target.phase is TargetPhase.SKIPPED for target in targets)
    return run.spec.targets is not None and not has_all


def original_uid(run: BackupRun) -> str:
    """The UID that it had when it was run."""
    annotations = run.metadata.annotations
    return annotations.get(IMPORTED) or annotations.get(STARTED) or run.metadata.uid


def request_of(run: BackupRun) -> str | None:
    """The annotation's value that asks for a verification of the run, if none was made for it yet."""
    value = run.metadata.annotations.get(VERIFY, "")[:253]
    before = run.status.verification
    return value if value and (before is None or before.requested != value) else None


def _is_settled(run: BackupRun) -> bool:
    metadata, status = run.metadata, run.status
    has_ended = status.phase is not None and status.phase.has_ended
    if not has_ended or metadata.deletion_timestamp is not None or PAUSED in metadata.finalizers:
        return False
    label = of_policy(run)
    if label is not None and metadata.labels.get(POLICY) != label:
        return False
    if is_unanswered(run):
        return False
    is_verified_now = status.verification is not None and not status.verification.phase.has_ended
    return not is_verified_now and request_of(run) is None


def _shared_places(destinations: Iterable[Destination]) -> Mapping[str, Place]:
    return _places(tuple(places_by_destination(destinations).items()))


@lru_cache(maxsize=4096)
def _places(places: tuple[tuple[str, Place], ...]) -> Mapping[str, Place]:
    return dict(places)


def _shared_set(names: Iterable[str]) -> frozenset[str]:
    return _set(frozenset(names))


@lru_cache(maxsize=4096)
def _set(names: frozenset[str]) -> frozenset[str]:
    return names


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    return names
