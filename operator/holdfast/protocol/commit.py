"""Commit a run, and do for earlier ones what the operator asks for."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from holdfast.api.base import Model
from holdfast.api.destination import Destination
from holdfast.layout import RESERVED
from holdfast.protocol.message import CUT_MISSING, CUT_NOTES, Cut, Result, Task
from holdfast.protocol.stored import CommittedTarget, ListedRunName, RunName


class ExpiryCandidate(Model):
    """A run that a destination holds, as the operator knows it."""

    run: ListedRunName
    recovery_point: AwareDatetime
    """To the second; tells it from another run of the same name."""
    verified: bool = False


class Expiry(Model):
    """What the policy's retention has a commit do in one destination."""

    destination: str
    delete: tuple[ExpiryCandidate, ...]
    """Exactly these, in this order."""
    keep: tuple[ExpiryCandidate, ...]
    """The newest of those that stay: of all, of those with every target, of the verified."""


class Gap(Model):
    """An earlier run that destinations lack, and what its good copies are held against."""

    run: ListedRunName
    scheduled_time: AwareDatetime | None = None
    trigger: str
    manifests: Annotated[dict[str, str], Field(min_length=1)]
    """By target that succeeded: the SHA-256 of its manifest."""
    failed_targets: tuple[str, ...] = ()
    skipped_targets: tuple[str, ...] = ()
    sources: tuple[str, ...]
    """The destinations that hold it whole."""
    lacking: tuple[str, ...]


class Leftovers(Model):
    """Ended runs of which a destination may have objects or uploads that nothing leads to."""

    destination: str
    runs: tuple[ListedRunName, ...]
    held: bool
    """Whether it holds them, so that no more may go than that; else all goes that the catalogue has not."""


class CommitTask(Task):
    """Read back what a run's targets stored, then write the run's entry in the catalogue."""

    kind: Literal["Commit"] = "Commit"
    namespace: str
    policy: str
    run: RunName
    run_uid: str
    scheduled_time: AwareDatetime | None = None
    trigger: str
    started_time: AwareDatetime | None = None
    """When the run started, which is before its first target's Job did."""
    targets: tuple[CommittedTarget, ...]
    failed_targets: tuple[str, ...] = ()
    """The policy's other targets: whatever reads the entry knows that the run is not whole."""
    skipped_targets: tuple[str, ...] = ()
    """Those of `failed_targets` that the run was not to back up."""
    destinations: tuple[Destination, ...]
    retention: tuple[Expiry, ...] = ()
    """What is deleted once the run is committed."""
    retention_seconds: float | None = None
    """No deletion starts later than this after the Job's start, so that the run ends in time."""
    leftovers: tuple[Leftovers, ...] = ()
    """What is cleared away once the run is committed; like `gaps` within `retention_seconds`."""
    gaps: tuple[Gap, ...] = ()
    """What is healed once the run is committed."""
    recipients: tuple[str, ...] = ()
    """age X25519 recipients of the report; none: those of the targets."""

    def may_change(self, run: str) -> bool:
        """Whether a name in its lists is that of an earlier run: not its own, nor a reserved one."""
        return run != self.run and run not in RESERVED


class DeletionOutcome(StrEnum):
    """What became of a run that a commit was to delete. One letter: a Result tells a hundred."""

    DELETED = "d"
    """Nothing of it is left in the destination."""
    LOCKED = "l"
    """The store holds it locked; it is whole."""
    REFUSED = "r"
    """A guard kept it; it is whole."""
    UNTOUCHED = "u"
    """Its turn did not come; it is whole."""
    FAILED = "f"
    """The destination broke or refused, and some of it may be gone."""


class HealingOutcome(StrEnum):
    """What became of a copy that a commit was to heal. One letter, as `DeletionOutcome`."""

    HEALED = "h"
    """The destination holds the whole run, read back, and the catalogue there has it."""
    DAMAGED = "d"
    """No copy is what the run stored; none was spread."""
    REFUSED = "r"
    """The destination has something else in its place."""
    UNTOUCHED = "u"
    """Its turn did not come, or the time had ended."""
    FAILED = "f"
    """A destination broke or refused."""


class WrittenReport(Model):
    """Where a run's report is."""

    name: str
    """Its path below the run's folder."""
    destinations: tuple[str, ...]


class CommitResult(Result):
    """The run's bytes were read back and its catalogue entry written."""

    cuts: ClassVar[tuple[Cut, ...]] = (CUT_NOTES, CUT_MISSING)

    kind: Literal["Commit"] = "Commit"
    verified_bytes: int
    """Read back as size and checksum, over all destinations."""
    recovery_point: AwareDatetime
    skew_seconds: int
    size_bytes: int
    destinations: tuple[str, ...]
    """Those that hold every target of the run and its catalogue entry."""
    missing: dict[str, str] = Field(default_factory=dict)
    aborted_uploads: int = 0
    retention: dict[str, str] = Field(default_factory=dict)
    """By destination: the DeletionOutcome of each run of `CommitTask.retention`, in its order."""
    leftovers: str = ""
    """The DeletionOutcome of the leftovers of each run of `CommitTask.leftovers`, in its order."""
    untidy: tuple[str, ...] = ()
    """Those where leftovers of the run itself could not be cleared away."""
    healing: str = ""
    """The HealingOutcome of each copy that `CommitTask.gaps` says is lacking, in its order."""
    report: WrittenReport | None = None
    """The run's report; none where no destination took it."""
