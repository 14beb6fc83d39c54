"""What the control plane knows of each kind of Job: its pod, its settings, and how many run at a time.

`holdfast.protocol.kinds` says what both planes know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from holdfast.api.destination import Destination
from holdfast.controller.config import Config
from holdfast.controller.jobs.settings import JobSettings
from holdfast.controller.views import CONTAINER
from holdfast.engines.engine import PodNeeds
from holdfast.engines.registry import ENGINES
from holdfast.protocol import (
    BACKUP,
    COMMIT,
    DISCARD,
    LOOKUP,
    PURGE,
    RESTORE,
    SURVEY,
    SWAP,
    VERIFY,
    BackupTask,
    DiscardTask,
    Kind,
    LookupTask,
    RestoreTask,
    SwapTask,
    Task,
)

MAX_RESTORES = 50
"""Jobs of restores that run at once. They never wait for Jobs of other kinds."""
MAX_VERIFICATIONS = 20
"""Runs that are verified at once."""
MAX_SURVEYS = 20
"""Policies whose destinations are surveyed at once."""
MAX_PURGES = 20
"""Runs whose data is deleted at once because their BackupRuns are."""
_USER = 65532
_SURVEY_SECONDS = 900
_PERSISTENT_RETRIES = 6
"""By the Job controller's pauses of 10 s, 20 s and so on: ten minutes in all."""


class Permit(Enum):
    """The right to run one Job, where the number of Jobs is limited."""

    RUN = auto()
    RESTORE = auto()
    VERIFICATION = auto()
    SURVEY = auto()
    PURGE = auto()

    def limit(self, config: Config) -> int:
        """How many Jobs may have one at once."""
        return config.max_running_jobs if self is Permit.RUN else _LIMITS[self]


_LIMITS = {
    Permit.RESTORE: MAX_RESTORES,
    Permit.VERIFICATION: MAX_VERIFICATIONS,
    Permit.SURVEY: MAX_SURVEYS,
    Permit.PURGE: MAX_PURGES,
}


@dataclass(frozen=True)
class Container:
    """A container of a Job's pod: its image and the Secrets that it mounts."""

    needs: PodNeeds | None = None
    """None: the operator's own image, and no Secrets."""
    name: str = CONTAINER
    identity: str | None = None
    """The Secret with the age identities. Whatever makes or commits a backup has none: it cannot read any."""


@dataclass(frozen=True)
class JobKind:
    """One kind of Job; each function is given the Job's Task."""

    kind: Kind
    containers: Callable[[Any], tuple[Container, ...]]
    """The runner's is the first."""
    destinations: Callable[[Any], tuple[Destination, ...]] = lambda task: task.destinations
    labels: tuple[str, ...] = ("policy",)
    """The fields of its Task that its Jobs carry as labels."""
    settings: Callable[[Any, JobSettings], JobSettings] = lambda task, settings: settings
    """What becomes of the policy's settings."""
    permit: Permit | None = None
    """The right that each of its Jobs needs to run; None: any number runs at a time."""
    reads_only: bool = False
    """Volumes of destinations are mounted read-only."""
    user: int = _USER
    has_token: bool = False
    """The pod may talk to the API server."""
    has_ttl: bool = False
    """The cluster deletes the Job a while after its end; of others the operator has that done."""


def _of_operator(task: Task) -> tuple[Container, ...]:
    return (Container(),)


def _backup(task: BackupTask) -> tuple[Container, ...]:
    engine = ENGINES[task.engine]
    return (Container(engine.backup_pod(engine.target_spec.model_validate(task.spec))),)


def _restore(task: RestoreTask | SwapTask | DiscardTask) -> tuple[Container, ...]:
    engine = ENGINES[task.engine]
    spec = engine.target_spec.model_validate(task.spec)
    override = None if task.override is None else engine.restore_spec.model_validate(task.override)
    return (Container(engine.restore_pod(spec, override), identity=task.identity_secret),)


def _source(task: LookupTask | RestoreTask | SwapTask | DiscardTask) -> tuple[Destination, ...]:
    return (task.source.destination,)


def _with_thawing(task: RestoreTask, settings: JobSettings) -> JobSettings:
    seconds = settings.active_deadline_seconds + task.source.destination.spec.thaw_seconds
    return settings.model_copy(update={"active_deadline_seconds": seconds})


def _persistent(task: Task, settings: JobSettings) -> JobSettings:
    """Half of a set is in place, or a copy lies about: a server that is away for ten minutes ends neither."""
    return settings.model_copy(update={"retries": max(settings.retries, _PERSISTENT_RETRIES)})


def _without_retries(task: Task, settings: JobSettings) -> JobSettings:
    """After a failure the operator makes another Job."""
    return settings.model_copy(update={"retries": 0})


def _short(task: Task, settings: JobSettings) -> JobSettings:
    return settings.model_copy(update={"retries": 1, "active_deadline_seconds": _SURVEY_SECONDS})


_KINDS = (
    JobKind(BACKUP, _backup, labels=("target", "policy"), permit=Permit.RUN),
    JobKind(COMMIT, _of_operator, permit=Permit.RUN),
    # Neither waits for a permit: the Restore Jobs of the set had theirs, and these are short.
    JobKind(DISCARD, _restore, _source, labels=("target",), settings=_persistent, reads_only=True),
    JobKind(SWAP, _restore, _source, labels=("target",), settings=_persistent, reads_only=True),
    JobKind(LOOKUP, _of_operator, _source, labels=(), permit=Permit.RESTORE, reads_only=True),
    JobKind(PURGE, _of_operator, settings=_without_retries, permit=Permit.PURGE),
    JobKind(
        RESTORE,
        _restore,
        _source,
        labels=("target",),
        settings=_with_thawing,
        permit=Permit.RESTORE,
        reads_only=True,
    ),
    JobKind(SURVEY, _of_operator, labels=(), settings=_short, permit=Permit.SURVEY, has_ttl=True),
    JobKind(VERIFY, _of_operator, permit=Permit.VERIFICATION, reads_only=True),
)
JOB_KINDS = {job_kind.kind.component: job_kind for job_kind in _KINDS}


def limit_of(kind: Kind, config: Config) -> int:
    """The number of permits for the Jobs of a kind that needs them."""
    permit = JOB_KINDS[kind.component].permit
    assert permit is not None, f"Jobs of kind {kind.component} need no permit"
    return permit.limit(config)
