"""Probe a policy's destinations and read their catalogues; the log has a line for each run."""

from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from holdfast.api.base import DnsLabel, Model
from holdfast.api.destination import Destination
from holdfast.api.profile import DestinationProfile
from holdfast.api.run import Contents, Failure, RunTrigger, Source
from holdfast.api.text import ShortText
from holdfast.protocol.message import CUT_NOTES, MAX_MESSAGE, Cut, Omission, Result, Task
from holdfast.protocol.stored import RunName, StoredArtifact


class SurveyTask(Task):
    """Probe a policy's destinations, and read one page of what their catalogues have of it."""

    kind: Literal["Survey"] = "Survey"
    namespace: str
    policy: str
    destinations: tuple[Destination, ...]
    after: str = ""
    """Only runs whose names come after this one. The destinations are probed with the first page, of ""."""
    most: int = 1000
    """Of so many runs at most; fewer when their lines grow long."""


def _with_failures(result: "SurveyResult", keep: int) -> "SurveyResult":
    failures = {
        name: failure.model_copy(update={"message": failure.message[:keep]})
        for name, failure in result.failures.items()
    }
    return result.model_copy(update={"failures": failures})


class SurveyResult(Result):
    """A page of the catalogue was read. What it has is in the log, a line for each run and each damage."""

    cuts: ClassVar[tuple[Cut, ...]] = (CUT_NOTES, Cut(lambda result: MAX_MESSAGE, _with_failures))

    kind: Literal["Survey"] = "Survey"
    listed: tuple[str, ...]
    """The destinations whose catalogues were listed completely."""
    failures: dict[str, Failure] = Field(default_factory=dict)
    """By destination: why it could not be written to, read from or deleted from."""
    profiles: dict[str, DestinationProfile] = Field(default_factory=dict)
    """By destination that was probed and has something to say: what its store can do."""
    last: str = ""
    """The name of the last run of the page when there may be more after it."""
    lines: int
    sha256: str
    """Of these lines, each with a line feed at its end: a log that was cut off or rotated has others."""


class SurveyedTarget(Model):
    """A target of a run, by its entry in the catalogue."""

    name: DnsLabel
    engine: ShortText
    snapshot_time: AwareDatetime
    source: Source
    contents: Contents
    encrypted: bool = False
    retain_until: dict[str, AwareDatetime] = Field(default_factory=dict)
    """By destination: until when everything of it is locked there."""
    manifest_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    omissions: tuple[Omission, ...] = ()
    omissions_omitted: int = 0
    artifacts: tuple[StoredArtifact, ...]


class SurveyedRun(Model):
    """A run, by its entry in the catalogue."""

    kind: Literal["SurveyedRun"] = "SurveyedRun"
    run: RunName
    run_uid: ShortText
    trigger: RunTrigger
    scheduled_time: AwareDatetime | None = None
    started_time: AwareDatetime
    completed_time: AwareDatetime
    recovery_point: AwareDatetime
    skew_seconds: Annotated[int, Field(ge=0)]
    size_bytes: Annotated[int, Field(ge=0)]
    targets: Annotated[tuple[SurveyedTarget, ...], Field(min_length=1, max_length=20)]
    failed_targets: tuple[DnsLabel, ...] = ()
    skipped_targets: tuple[DnsLabel, ...] = ()
    """Those of `failed_targets` that the run was not to back up."""
    destinations: tuple[str, ...]
    """Those whose catalogue has it."""


class SurveyedDamage(Model):
    """Something in a catalogue that is no sound entry."""

    kind: Literal["SurveyedDamage"] = "SurveyedDamage"
    run: str
    """The run that it would be of, by its name."""
    destination: str
    uri: str
    message: str


SURVEY_LINE_START = b'{"kind":"Surveyed'
"""How the lines of a survey's log begin that tell of runs, and no others."""
SURVEY_LINE: TypeAdapter[SurveyedRun | SurveyedDamage] = TypeAdapter(
    Annotated[SurveyedRun | SurveyedDamage, Field(discriminator="kind")]
)
