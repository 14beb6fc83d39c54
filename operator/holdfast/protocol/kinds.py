"""The kinds of Jobs: what each is given, and how it answers. Both planes read them.

A new kind is its Task and Result, a row here, a row in `holdfast.controller.jobs.kinds` and the module
`holdfast.runner.tasks.<kind>`.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from holdfast.protocol.backup import BackupResult, BackupTask
from holdfast.protocol.commit import CommitResult, CommitTask
from holdfast.protocol.lookup import LookupResult, LookupTask
from holdfast.protocol.message import FailedResult, Result, Task
from holdfast.protocol.purge import PurgeResult, PurgeTask
from holdfast.protocol.restore import (
    DiscardResult,
    DiscardTask,
    RestoreResult,
    RestoreTask,
    SwapResult,
    SwapTask,
)
from holdfast.protocol.survey import SurveyResult, SurveyTask
from holdfast.protocol.verify import VerifyResult, VerifyTask


class Channel(Enum):
    """A way in which a Job answers."""

    RESULT = auto()
    """A Result in its termination message."""
    LOG = auto()
    """Lines of its log; the Result has their number and checksum."""
    REPORT = auto()
    """A report beside the run, with all that is too long for the Result."""


@dataclass(frozen=True)
class Kind:
    """One kind of Job."""

    task: type[Task]
    result: type[Result]
    channels: frozenset[Channel] = frozenset({Channel.RESULT})

    @property
    def component(self) -> str:
        """Its name: the `kind` of its Task and Result, and the label of its Jobs."""
        name: str = self.task.model_fields["kind"].default
        return name


BACKUP = Kind(BackupTask, BackupResult)
COMMIT = Kind(CommitTask, CommitResult, frozenset({Channel.RESULT, Channel.REPORT}))
DISCARD = Kind(DiscardTask, DiscardResult)
LOOKUP = Kind(LookupTask, LookupResult, frozenset({Channel.RESULT, Channel.LOG}))
PURGE = Kind(PurgeTask, PurgeResult)
RESTORE = Kind(RestoreTask, RestoreResult)
SWAP = Kind(SwapTask, SwapResult)
SURVEY = Kind(SurveyTask, SurveyResult, frozenset({Channel.RESULT, Channel.LOG}))
VERIFY = Kind(VerifyTask, VerifyResult)

_ALL = (BACKUP, COMMIT, DISCARD, LOOKUP, PURGE, RESTORE, SURVEY, SWAP, VERIFY)
KINDS = {kind.component: kind for kind in _ALL}


def _by_kind(models: tuple[type[Any], ...]) -> Any:
    union: Any = Annotated[Union[models], Field(discriminator="kind")]  # noqa: UP007 - made of a tuple
    return TypeAdapter(union)


TASK: TypeAdapter[Task] = _by_kind(tuple(kind.task for kind in KINDS.values()))
RESULT: TypeAdapter[Result] = _by_kind((*(kind.result for kind in KINDS.values()), FailedResult))
