"""Back one target up."""

from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, Field

from holdfast.api.destination import Destination
from holdfast.api.run import Source
from holdfast.protocol.message import CUT_MISSING, CUT_NOTES, CUT_OMISSIONS, Cut, Omission, Result, Task
from holdfast.protocol.stored import RunName, StoredArtifact


class BackupTask(Task):
    """Back one target up to every destination in one pass."""

    kind: Literal["Backup"] = "Backup"
    namespace: str
    policy: str
    run: RunName
    run_uid: str
    target: str
    engine: str
    spec: dict[str, Any]
    """The engine's section of the policy's target."""
    recipients: tuple[str, ...] = ()
    """age X25519 recipients that what is stored is encrypted to; none: it is not."""
    destinations: tuple[Destination, ...]
    on_omission: Literal["Warn", "Fail"] = "Warn"
    """Fail: a backup that lacks something of the source is not kept."""


def _with_artifacts(result: "BackupResult", keep: int) -> "BackupResult":
    # Never without any: they tell the operator which destinations hold the target.
    kept = result.artifacts[: max(1, keep)]
    left_out = len(result.artifacts) - len(kept)
    return result.model_copy(update={"artifacts": kept, "artifacts_omitted": left_out})


class BackupResult(Result):
    """A target's backup is stored and its manifest written."""

    cuts: ClassVar[tuple[Cut, ...]] = (
        Cut(lambda result: len(result.artifacts), _with_artifacts),
        CUT_OMISSIONS,
        CUT_NOTES,
        CUT_MISSING,
    )

    kind: Literal["Backup"] = "Backup"
    snapshot_time: AwareDatetime
    source: Source
    contents: dict[str, int]
    plain_bytes: int
    size_bytes: int
    """Of all artifacts, in one destination."""
    artifacts: tuple[StoredArtifact, ...]
    artifacts_omitted: int = 0
    """How many did not fit here; the manifest names them all."""
    omissions: tuple[Omission, ...] = ()
    omissions_omitted: int = 0
    """How many did not fit here; the manifest names them all."""
    encrypted: bool = False
    """Whether the artifacts are encrypted."""
    manifest_sha256: str
    destinations: tuple[str, ...]
    """Those that hold the backup and its manifest."""
    retain_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By destination that locks objects: until when these are locked, as the bucket says too."""
    missing: dict[str, str] = Field(default_factory=dict)
    """Optional destinations that failed, and why."""
