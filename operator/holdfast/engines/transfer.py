"""What the data plane offers an engine's backup and restore, and what it wants back from them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from holdfast.api.run import Source
from holdfast.protocol import Check, ExitCode, Note, Omission


class TransferError(Exception):
    """A Job cannot go on. `reason` is CamelCase and becomes the status's reason; `log_tail` explains."""

    exit_code: ExitCode

    def __init__(self, reason: str, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.log_tail = log_tail


class TaskError(TransferError):
    """The task or the configuration is wrong; another attempt would end the same."""

    exit_code = ExitCode.TASK_WRONG


class RestoreRefusedError(TaskError):
    """A restore cannot begin as it was asked for. Nothing was touched."""


class TargetNotEmptyError(RestoreRefusedError):
    """A restore of mode New found something where it would have to write."""


class IdentityError(RestoreRefusedError):
    """A restore of an encrypted backup has no identity that decrypts it."""


class PreflightBlockedError(RestoreRefusedError):
    """The target lacks something, by the checks that come before anything is loaded."""

    def __init__(self, checks: Sequence[Check]) -> None:
        blocked = [check.text for check in checks if check.state == "Blocked"]
        super().__init__("PreflightBlocked", "; ".join(blocked), "\n".join(check.text for check in checks))
        self.checks = tuple(checks)


class ObjectsFailedError(TransferError):
    """Objects of the backup could not be made again. The copy without them is kept under its staged name."""

    exit_code = ExitCode.MISMATCH

    def __init__(self, message: str, objects: Sequence[Omission], staged: Sequence[str]) -> None:
        super().__init__("ObjectsFailed", message, "\n".join(failed.what for failed in objects))
        self.objects = tuple(objects)
        self.staged = tuple(staged)


class SourceError(TransferError):
    """The data store refused or broke; another attempt may succeed."""

    exit_code = ExitCode.SOURCE_FAILED


class TargetError(SourceError):
    """The server that is restored to refused or broke. Nothing more of the backup need be read to say so."""


class DestinationError(TransferError):
    """A destination refused or broke; another attempt may succeed."""

    exit_code = ExitCode.DESTINATION_FAILED


class UnreachableError(DestinationError):
    """A destination does not answer, so nothing else that is asked of it now would be answered."""


class DestinationWrongError(DestinationError):
    """A destination cannot give what the policy asks of it; another attempt would end the same."""

    exit_code = ExitCode.TASK_WRONG


class MismatchError(TransferError):
    """Data is not what its checksum or its manifest says."""

    exit_code = ExitCode.MISMATCH


class Sink(Protocol):
    """Takes the plain bytes of an artifact."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take `data`; blocks while the destinations are slower than the source."""


class Progress(Protocol):
    """Tells the operator how far the Job is. Cheap: lines are printed at most every other second."""

    def step(self, text: str) -> None:
        """Name what is being done now."""

    def rows(self, count: int) -> None:
        """Add `count` rows, embeddings or keys; bytes are counted by the pipeline."""


class BackupContext(ABC):
    """One target's backup, as its engine sees it."""

    spec: Any
    """The engine's section of the policy's target, as its `target_spec`."""
    namespace: str
    progress: Progress
    scratch: Path
    encrypted: bool
    """Whether what is stored is encrypted, so that it may hold secrets."""

    @abstractmethod
    def secret(self, folder: str) -> Path:
        """The folder that a `SecretMount` of that name is mounted at (it may be absent)."""

    @abstractmethod
    def store(self, name: str) -> AbstractContextManager[Sink]:
        """Store an artifact such as `knowledge_base.dump` from what is written inside the `with` block.

        It is stored only if the block ends without an exception; otherwise its uploads are aborted and the
        exception goes on, so the same name can be stored again.
        """


class RestoreContext(ABC):
    """One target's restore, as its engine sees it."""

    spec: Any
    """As it was backed up."""
    override: Any | None
    """The engine's section of the restore request's target, as its `restore_spec`."""
    namespace: str
    copy_uid: str
    """Marks what this request made of this target, so that its next attempt may clear it away."""
    snapshot_time: datetime
    """The instant that the backup is of."""
    manifest_detail: dict[str, Any]
    """What the backup left in `BackupSummary.detail`."""
    manifest_contents: dict[str, int]
    artifacts: tuple[str, ...]
    """The names given to `store`."""
    on_object_error: Literal["Fail", "Continue"] = "Fail"
    """Whether a copy that lacks objects may be put in place. An engine stages either; it need not ask."""
    accepted_risks: frozenset[str] = frozenset()
    """The names of checks that the request accepts."""
    swapped: bool = False
    """Of `discard`: `swap` has ended well before, so what stands under the final names is this request's."""
    progress: Progress
    scratch: Path

    @abstractmethod
    def secret(self, folder: str) -> Path:
        """The folder that a `SecretMount` of that name is mounted at (it may be absent)."""

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The plain bytes of an artifact.

        Raises MismatchError at its end when they are not those that were backed up; so nothing that was read
        may be taken as whole before the block has ended.
        """


@dataclass(frozen=True)
class BackupSummary:
    """What an engine says of the backup that it has just stored."""

    snapshot_time: datetime
    """The instant that the data is of: restoring gives what the source held then."""
    source: Source
    contents: dict[str, int]
    """Counted inside the backup's own snapshot: `databases`, `tables`, `rows` and so on."""
    detail: dict[str, Any]
    """Whatever the engine needs to restore and to compare; kept in the manifest."""
    notes: tuple[Note, ...] = ()
    omissions: tuple[Omission, ...] = ()
    """What of the source is not in the backup, although the policy asks for it."""


@dataclass(frozen=True)
class RestoreSummary:
    """What an engine found when it compared what it restored with the manifest."""

    address: str
    """Where it was restored to, `host:port`."""
    compared: int
    contents: dict[str, int]
    mismatches: tuple[str, ...] = ()
    """Each names a table, collection or database, what the backup held and what is there now."""
    notes: tuple[Note, ...] = field(default=())
    failed_objects: tuple[Omission, ...] = ()
    """What could not be made again: the object's kind and name, then the server's own words."""
    preflight: tuple[Check, ...] = ()
    """What the target was asked for before anything was loaded."""
    staged: tuple[str, ...] = ()
    """Where the copy is until `swap`, such as `database holdfast_restore_0123456789ab_0`."""


def checked(context: RestoreContext, checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks of a preflight; those that the request accepts only warn.

    Raises PreflightBlockedError if another one blocks.
    """
    settled = tuple(
        check.model_copy(update={"state": "Warned"})
        if check.state == "Blocked" and check.may_be_accepted and check.check in context.accepted_risks
        else check
        for check in checks
    )
    if any(check.state == "Blocked" for check in settled):
        raise PreflightBlockedError(settled)
    return settled
