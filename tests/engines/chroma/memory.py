"""A backup's and a restore's context without a runner: artifacts in memory, everything else as it is."""

import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from holdfast.engines.chroma.backup import backup
from holdfast.engines.chroma.restore import discard, stage, swap
from holdfast.engines.chroma.spec import ChromaRestore, ChromaTarget
from holdfast.engines.transfer import (
    BackupContext,
    BackupSummary,
    MismatchError,
    RestoreContext,
    RestoreSummary,
)
from holdfast.protocol import Note


@dataclass
class Memory:
    """What a backup leaves for a restore, and hooks at what they write and read."""

    root: Path
    artifacts: dict[str, bytes] = field(default_factory=dict)
    checksums: dict[str, int] = field(default_factory=dict)
    summary: BackupSummary | None = None
    rows: int = 0
    on_write: Callable[[bytes], None] = lambda data: None
    """Called before every write of an artifact."""
    on_read: Callable[[bytes], None] = lambda data: None
    """Called with every line that a restore reads."""

    @property
    def scratch(self) -> Path:
        """An empty folder."""
        folder = self.root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class _Progress:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def step(self, text: str) -> None:
        assert text

    def rows(self, count: int) -> None:
        self._memory.rows += count


class _Sink(io.BytesIO):
    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self._memory = memory

    def write(self, data: Any, /) -> int:
        self._memory.on_write(bytes(data))
        return super().write(data)


class _Backup(BackupContext):
    namespace = "default"

    def __init__(self, memory: Memory, spec: ChromaTarget) -> None:
        self.memory, self.spec = memory, spec
        self.progress, self.scratch = _Progress(memory), memory.scratch

    def secret(self, folder: str) -> Path:
        return self.memory.root / "source" / folder

    @contextmanager
    def store(self, name: str) -> Iterator[_Sink]:
        sink = _Sink(self.memory)
        yield sink
        self.memory.artifacts[name] = sink.getvalue()
        self.memory.checksums[name] = zlib.crc32(sink.getvalue())


class _Stream(io.BytesIO):
    def __init__(self, memory: Memory, data: bytes) -> None:
        super().__init__(data)
        self._memory = memory

    def __next__(self) -> bytes:
        line = super().__next__()
        self._memory.on_read(line)
        return line


class _Restore(RestoreContext):
    namespace = "default"
    copy_uid = "22222222-2222-2222-2222-222222222222"

    def __init__(self, memory: Memory, spec: ChromaTarget, override: ChromaRestore | None) -> None:
        assert memory.summary is not None
        self.memory, self.spec, self.override = memory, spec, override
        self.snapshot_time = memory.summary.snapshot_time
        self.manifest_detail, self.manifest_contents = memory.summary.detail, memory.summary.contents
        self.artifacts = tuple(memory.artifacts)
        self.progress, self.scratch = _Progress(memory), memory.scratch

    def secret(self, folder: str) -> Path:
        return self.memory.root / "source" / folder

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        yield _Stream(self.memory, self.memory.artifacts[name])
        if zlib.crc32(self.memory.artifacts[name]) != self.memory.checksums[name]:
            raise MismatchError("ChecksumMismatch", name)


def run_backup(memory: Memory, spec: Mapping[str, Any]) -> BackupSummary:
    """Back up into memory."""
    memory.summary = backup(_Backup(memory, ChromaTarget.model_validate(spec)))
    return memory.summary


def run_restore(
    memory: Memory, spec: Mapping[str, Any], override: Mapping[str, Any] | None = None
) -> RestoreSummary:
    """Restore what `run_backup` left."""
    summary = run_stage(memory, spec, override)
    if not summary.mismatches:
        run_swap(memory, spec, override)
    return summary


def run_stage(
    memory: Memory, spec: Mapping[str, Any], override: Mapping[str, Any] | None = None
) -> RestoreSummary:
    """Stage it."""
    return stage(_restore_context(memory, spec, override))


def run_swap(
    memory: Memory, spec: Mapping[str, Any], override: Mapping[str, Any] | None = None
) -> tuple[Note, ...]:
    """Put what is staged in place."""
    return swap(_restore_context(memory, spec, override))


def run_discard(memory: Memory, spec: Mapping[str, Any], override: Mapping[str, Any] | None = None) -> None:
    """Drop what is staged."""
    discard(_restore_context(memory, spec, override))


def _restore_context(memory: Memory, spec: Mapping[str, Any], override: Mapping[str, Any] | None) -> _Restore:
    wanted = None if override is None else ChromaRestore.model_validate(override)
    return _Restore(memory, ChromaTarget.model_validate(spec), wanted)
