"""What the control plane needs to know of an engine; light, it loads nothing that talks to one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from holdfast.api.base import Model
from holdfast.mounts import SecretMount


@dataclass(frozen=True)
class PodNeeds:
    """What a Job's pod needs for one target: an image and the Secrets that it mounts.

    `image` is the name of an image of images/Dockerfile, `variant` a part of its tag (`pg17`).
    """

    image: str
    variant: str = ""
    secrets: tuple[SecretMount, ...] = ()


def mounts(*sections: Any) -> tuple[SecretMount, ...]:
    """The Secrets for credentials and CA: of each the one of the first section that names it."""
    named = [section for section in sections if section is not None]
    credentials = next((each.credentials_secret for each in named if each.credentials_secret), None)
    tls = next((each.tls for each in named if each.tls), None)
    found = [] if credentials is None else [SecretMount("credentials", credentials.name)]
    if tls is not None and tls.ca_secret is not None:
        found.append(SecretMount("ca", tls.ca_secret.name, {"ca.crt": "ca.crt"}))
    return tuple(found)


class Engine(ABC):
    """One engine, as the control plane sees it. Its data plane is found by name, inside its image only."""

    name: ClassVar[str]
    target_spec: ClassVar[type[Model]]
    """The engine's section of a policy's target."""
    restore_spec: ClassVar[type[Model]] = Model
    """The engine's section of a restore request's target."""

    @abstractmethod
    def backup_pod(self, spec: Any) -> PodNeeds:
        """What a backup of `spec` (a `target_spec`) needs."""

    @abstractmethod
    def restore_pod(self, spec: Any, override: Any | None) -> PodNeeds:
        """What a restore needs of a target that was backed up by `spec`, to where `override` says."""

    def not_supported_yet(self, spec: Any) -> list[str]:
        """The fields of `spec` whose behaviour is not built yet, as paths such as `method: Physical`."""
        return []

    def restore_not_supported_yet(self, override: Any) -> list[str]:
        """The fields of `override` whose behaviour is not built yet."""
        return []
