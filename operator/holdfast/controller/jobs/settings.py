"""What a policy says about its Jobs."""

from pydantic import Field

from holdfast.api.base import Model
from holdfast.api.policy import BackupPolicy
from holdfast.api.runner import Runner


class JobSettings(Model):
    """How a run's Jobs are run; kept with each of them, so that an edited policy changes nothing."""

    runner: Runner = Field(default_factory=Runner)
    retries: int = 2
    active_deadline_seconds: int = 6 * 3600

    @classmethod
    def of(cls, policy: BackupPolicy | None) -> "JobSettings":
        """The settings of a policy; the default once it is gone."""
        if policy is None:
            return cls()
        return cls(
            runner=policy.spec.runner or Runner(),
            retries=policy.spec.retries,
            active_deadline_seconds=policy.spec.active_deadline.seconds,
        )
