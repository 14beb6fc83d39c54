"""The operator's settings, from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from pydantic import TypeAdapter, ValidationError

from holdfast import __version__
from holdfast.api.base import Duration
from holdfast.api.runner import PodIdentity

_DURATION = TypeAdapter(Duration)


class ConfigError(Exception):
    """An environment variable has a value that cannot be used."""


@dataclass(frozen=True)
class Config:
    """What whoever installs the operator decides; every variable begins with HOLDFAST_."""

    image_prefix: str = "docker.io/holdfast"
    """IMAGE_PREFIX: the registry and the path of the runners' images."""
    image_tag: str = __version__
    """IMAGE_TAG: the version of all images."""
    operator_image: str = f"docker.io/holdfast/operator:{__version__}"
    """OPERATOR_IMAGE: the image of commit, lookup, purge, survey and verify Jobs. Not set: `operator` by
    IMAGE_PREFIX and IMAGE_TAG."""
    image_pull_policy: str = "IfNotPresent"
    """IMAGE_PULL_POLICY: the pull policy of the images of all Jobs."""
    namespaces: tuple[str, ...] = ()
    """WATCH_NAMESPACES: the watched namespaces, separated by commas. None: all namespaces."""
    max_running_jobs: int = 20
    """MAX_RUNNING_JOBS: how many Jobs of backups run at once in all namespaces; restores are not counted."""
    pod_start_deadline: timedelta = timedelta(minutes=2)
    """POD_START_DEADLINE: how long to wait for a pod that cannot start, if the cluster says why; for one that
    is deleted and does not end; and for the other containers of a pod whose runner has failed."""
    resync: timedelta = timedelta(minutes=1)
    """RESYNC: how often the operator looks for changes that no watch reported. Every tenth time it looks at
    all runs and Jobs."""
    progress_interval: timedelta = timedelta(seconds=5)
    """PROGRESS_INTERVAL: how often the progress of a Job is read."""
    job_ttl: timedelta = timedelta(hours=1)
    """JOB_TTL: how long the Jobs of an ended run or restore are kept."""
    survey_interval: timedelta = timedelta(hours=6)
    """SURVEY_INTERVAL: about how often the operator surveys a policy's destinations."""
    runner_service_account: str | None = None
    """RUNNER_SERVICE_ACCOUNT: the ServiceAccount of Jobs whose policy names none."""
    runner_pod_identity: PodIdentity = "Image"
    """RUNNER_POD_IDENTITY: Image or Cluster: who chooses the user of Jobs' pods, by default."""
    liveness_port: int = 8080
    """LIVENESS_PORT: the port of the health check, at path /healthz."""
    api_timeout: timedelta = timedelta(seconds=30)
    """API_TIMEOUT: how long one request to the API server may take."""
    log_level: str = "INFO"
    """LOG_LEVEL: a level of Python's logging."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings. Raises ConfigError, which names the variable."""
        read = _Reader(environment)
        prefix = read.text("IMAGE_PREFIX", cls.image_prefix).rstrip("/")
        tag = read.text("IMAGE_TAG", cls.image_tag)
        return cls(
            image_prefix=prefix,
            image_tag=tag,
            operator_image=read.text("OPERATOR_IMAGE", f"{prefix}/operator:{tag}"),
            image_pull_policy=read.text("IMAGE_PULL_POLICY", cls.image_pull_policy),
            namespaces=tuple(
                name.strip() for name in read.text("WATCH_NAMESPACES", "").split(",") if name.strip()
            ),
            max_running_jobs=read.number("MAX_RUNNING_JOBS", cls.max_running_jobs, least=1),
            pod_start_deadline=read.duration("POD_START_DEADLINE", cls.pod_start_deadline),
            resync=read.duration("RESYNC", cls.resync),
            progress_interval=read.duration("PROGRESS_INTERVAL", cls.progress_interval),
            job_ttl=read.duration("JOB_TTL", cls.job_ttl),
            survey_interval=read.duration("SURVEY_INTERVAL", cls.survey_interval),
            runner_service_account=read.text("RUNNER_SERVICE_ACCOUNT", "") or None,
            runner_pod_identity=read.pod_identity("RUNNER_POD_IDENTITY"),
            liveness_port=read.number("LIVENESS_PORT", cls.liveness_port),
            api_timeout=read.duration("API_TIMEOUT", cls.api_timeout),
            log_level=read.text("LOG_LEVEL", cls.log_level).upper(),
        )


@dataclass(frozen=True)
class _Reader:
    environment: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        return self.environment.get(f"HOLDFAST_{name}") or default

    def pod_identity(self, name: str) -> PodIdentity:
        match self.text(name, "Image"):
            case "Image":
                return "Image"
            case "Cluster":
                return "Cluster"
            case value:
                raise ConfigError(f"HOLDFAST_{name}={value!r} must be Image or Cluster")

    def number(self, name: str, default: int, least: int = 0) -> int:
        value = self.text(name, str(default))
        if not value.isdecimal() or int(value) < least:
            raise ConfigError(f"HOLDFAST_{name}={value!r} must be a number, at least {least}")
        return int(value)

    def duration(self, name: str, default: timedelta) -> timedelta:
        value = self.text(name, "")
        if not value:
            return default
        try:
            return timedelta(seconds=_DURATION.validate_python(value).seconds)
        except ValidationError as error:
            raise ConfigError(f"HOLDFAST_{name}={value!r} must be a duration such as 90s or 2m") from error
