"""Read what a catalogue says of one run."""

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


class LookupResult(Result):
    """What the catalogue says of a run."""

    kind: Literal["Lookup"] = "Lookup"
    policy: str
    run: str
    recovery_point: AwareDatetime
    targets: tuple[ListedTarget, ...]
    """In the Result as compressed JSON in base64: those of a large run would not fit into it otherwise."""

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
