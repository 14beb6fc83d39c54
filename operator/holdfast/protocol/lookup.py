"""Read what a catalogue says of one run."""

import hashlib
import zlib
from base64 import b64decode, b64encode
from typing import Any, Literal

from pydantic import AwareDatetime, TypeAdapter, field_serializer, field_validator

from holdfast.protocol.message import Result, Task
from holdfast.protocol.stored import ListedTarget, StoredRun


class LookupTask(Task):
    """Read a run's entry in the catalogue, for a restore without a BackupRun."""

    kind: Literal["Lookup"] = "Lookup"
    source: StoredRun


_LISTED_TARGETS = TypeAdapter(tuple[ListedTarget, ...])
LOOKUP_LINE_START = b'{"version":1,"kind":"Lookup"'
"""How the line of a lookup's log begins that has the whole Result, and no other."""


class LookupResult(Result):
    """What the catalogue says of a run."""

    kind: Literal["Lookup"] = "Lookup"
    policy: str
    run: str
    recovery_point: AwareDatetime
    targets: tuple[ListedTarget, ...]
    """In the Result as compressed JSON in base64: those of most runs fit into it only so."""
    lines: int | None = None
    """1: the targets do not fit, and a line of the log has the Result with them. None: they are here."""
    sha256: str | None = None
    """Of that line, with the line feed at its end."""

    @field_serializer("targets")
    def _pack(self, targets: tuple[ListedTarget, ...]) -> str:
        return b64encode(zlib.compress(_LISTED_TARGETS.dump_json(targets, by_alias=True), 9)).decode()

    @field_validator("targets", mode="before")
    @classmethod
    def _unpack(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return _LISTED_TARGETS.validate_json(zlib.decompress(b64decode(value)))
        except zlib.error as error:
            raise ValueError(f"no compressed JSON: {error}") from error

    def to_line(self) -> bytes:
        """The line of the log that has the Result."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def in_log(self) -> "LookupResult":
        """The Result whose targets are in the line of the log."""
        sha256 = hashlib.sha256(self.to_line()).hexdigest()
        return self.model_copy(update={"targets": (), "lines": 1, "sha256": sha256})

    def from_log(self, log: bytes) -> "LookupResult | None":
        """The Result that the log has; None when the log is not what was written."""
        for text in log.split(b"\n"):
            line = text + b"\n"
            if line.startswith(LOOKUP_LINE_START) and hashlib.sha256(line).hexdigest() == self.sha256:
                return LookupResult.model_validate_json(line)
        return None
