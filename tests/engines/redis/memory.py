"""The contexts of a backup and a restore without a runner: artifacts are kept in memory."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from holdfast.engines.redis.backup import backup
from holdfast.engines.redis.restore import discard, stage, swap
from holdfast.engines.redis.spec import RedisRestore, RedisTarget
from holdfast.engines.transfer import BackupSummary, RestoreSummary


@dataclass
class Counter:
    """Adds progress up."""

    steps: list[str] = field(default_factory=list)
    total: int = 0

    def step(self, text: str) -> None:
        self.steps.append(text)

    def rows(self, count: int) -> None:
        self.total += count


@dataclass
class Memory:
    """A context of either kind, and the store behind it."""

    root: Path
    spec: Any = None
    override: Any = None
    namespace: str = "default"
    copy_uid: str = "22222222-2222-2222-2222-222222222222"
    stored: dict[str, bytes] = field(default_factory=dict)
    summary: BackupSummary | None = None
    swapped: bool = False
    accepted_risks: frozenset[str] = frozenset()
    on_object_error: str = "Fail"
    progress: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.scratch = self.root / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)

    @property
    def manifest_detail(self) -> dict[str, Any]:
        assert self.summary is not None
        return self.summary.detail

    @property
    def manifest_contents(self) -> dict[str, int]:
        assert self.summary is not None
        return self.summary.contents

    def secret(self, folder: str) -> Path:
        return self.root / "source" / folder

    def write_secret(self, folder: str, **files: str) -> None:
        for name, content in files.items():
            path = self.secret(folder) / name.replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    @contextmanager
    def store(self, name: str) -> Iterator[io.BytesIO]:
        stream = io.BytesIO()
        yield stream
        self.stored[name] = stream.getvalue()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.stored[name])

    def backup(self, **spec: Any) -> BackupSummary:
        """Back up; the summary is what a later restore finds in the manifest."""
        self.spec = RedisTarget.model_validate(spec)
        self.summary = backup(self)  # type: ignore[arg-type]
        return self.summary

    def restore(self, **override: Any) -> RestoreSummary:
        """Restore what was backed up."""
        summary = self.stage(**override)
        if not summary.mismatches:
            swap(self)  # type: ignore[arg-type]
        return summary

    def stage(self, **override: Any) -> RestoreSummary:
        """Restore what was backed up, so that it can still be taken back."""
        self.override = RedisRestore.model_validate(override)
        return stage(self)  # type: ignore[arg-type]

    def discard(self, *, swapped: bool = False) -> None:
        """Take back what was restored."""
        self.swapped = swapped
        discard(self)  # type: ignore[arg-type]
