"""The report beside a run: all that is too long for a Result or a status. No decision is made from it.

<namespace>/<policy>/<run>/report.json[.zst.age]
"""

import logging
from collections.abc import Sequence
from typing import Literal

from pydantic import AwareDatetime, Field

from holdfast.api.meta import LenientModel
from holdfast.engines.transfer import TransferError
from holdfast.layout import ENCRYPTED_REPORT, REPORT, RunPath
from holdfast.protocol import Note, Omission, WrittenReport
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.stored.manifest import Document, EncryptionRecord, Manifest, ManifestArtifact
from holdfast.runner.stream.crypto import parse_recipients
from holdfast.runner.stream.pipeline import stages

_log = logging.getLogger(__name__)


class ReportedTarget(LenientModel):
    """A target that the run holds."""

    name: str
    engine: str
    destinations: tuple[str, ...]
    contents: dict[str, int]
    encrypted: EncryptionRecord | None = None
    notes: tuple[Note, ...] = ()
    omissions: tuple[Omission, ...] = ()
    artifacts: tuple[ManifestArtifact, ...]

    @classmethod
    def of(cls, manifest: Manifest, destinations: Sequence[str]) -> "ReportedTarget":
        """A target as its manifest has it."""
        shared = {
            name: getattr(manifest, name) for name in cls.model_fields.keys() & Manifest.model_fields.keys()
        }
        return cls.model_validate({"name": manifest.target, "destinations": tuple(destinations), **shared})


class ReportedOutcome(LenientModel):
    """What became of one thing that a commit was to do for an earlier run."""

    work: str
    """Retention, Leftovers or Healing."""
    run: str
    destination: str
    outcome: str
    """Deleted, Locked, Refused, Untouched or Failed; Healed or Damaged."""
    message: str | None = None
    """Why, where it did not go as it was meant to."""


class Report(Document):
    """What a commit found and did. Each field with a list is a section; a later one has a default."""

    version: Literal[1] = 1
    tool_version: str
    namespace: str
    policy: str
    run: str
    run_uid: str
    written_time: AwareDatetime
    targets: tuple[ReportedTarget, ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)
    """By destination that lacks the run: why."""
    outcomes: tuple[ReportedOutcome, ...] = ()
    notes: tuple[Note, ...] = ()


def write_report(
    report: Report, recipients: Sequence[str], destinations: Sequence[Destination]
) -> tuple[WrittenReport | None, tuple[Note, ...]]:
    """Write it where the run is, encrypted as an artifact is; where it is, and what kept it from elsewhere.

    What an earlier attempt of the commit wrote stays: it was complete too.
    """
    path = RunPath(report.namespace, report.policy, report.run)
    name = ENCRYPTED_REPORT if recipients else REPORT
    written, notes = [], []
    try:
        data = _encoded(report, recipients)
    except TransferError as error:
        return None, (_not_written(error),)
    for destination in destinations:
        try:
            destination.create(path.folder + name, data)
            written.append(destination.name)
        except TransferError as error:
            notes.append(_not_written(error))
    where = WrittenReport(name=name, destinations=tuple(written)) if written else None
    return where, tuple(notes)


def _encoded(report: Report, recipients: Sequence[str]) -> bytes:
    data = report.encode()
    if recipients:
        for stage in stages(parse_recipients(recipients)):
            data = stage.feed(data) + stage.finish()
    return data


def _not_written(error: TransferError) -> Note:
    _log.warning("the report is not written: %s", error.message)
    return Note(reason="ReportNotWritten", message=error.message, warning=True)


def copy_report(path: RunPath, source: Destination, lacking: Destination) -> None:
    """Copy a run's report, if it has one. Raises what the destinations raise."""
    for key in path.reports:
        data = source.read(key)
        if data is not None:
            lacking.create(key, data)
