"""What a policy says about its Jobs."""

from typing import Any

from pydantic import Field

from holdfast.api.base import Duration, Model
from holdfast.api.policy import BackupPolicy
from holdfast.api.run import RunSettings
from holdfast.api.runner import Runner


class JobSettings(Model):
    """How Jobs are run. Each Job of a run has a copy: the former release reads it from there."""

    runner: Runner = Field(default_factory=Runner)
    retries: int = 2
    active_deadline_seconds: int = 6 * 3600

    @classmethod
    def of(cls, policy: BackupPolicy | None) -> "JobSettings":
        """The settings of a policy; the default once it is gone."""
        return cls.recorded(policy.spec.settings if policy is not None else RunSettings())

    def recorded_fields(self) -> dict[str, Any]:
        """The same, as fields of the settings that a status records."""
        return {
            "runner": self.runner.recorded,
            "retries": self.retries,
            "active_deadline": Duration(f"{self.active_deadline_seconds}s"),
        }

    def for_former_release(self) -> str:
        """As JSON, without what the former release refuses: it reads this after a rollback."""
        return self.model_dump_json(by_alias=True, exclude_none=True, exclude={"runner": {"pod_identity"}})

    @classmethod
    def recorded(cls, settings: RunSettings) -> "JobSettings":
        """The settings that a run was started with."""
        return cls(
            runner=settings.runner or Runner(),
            retries=settings.retries,
            active_deadline_seconds=settings.active_deadline.seconds,
        )
