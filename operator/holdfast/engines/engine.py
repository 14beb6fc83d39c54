"""What the control plane needs to know of an engine; light, it loads nothing that talks to one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from holdfast.api.base import Model, SecretRef
from holdfast.mounts import CA, CA_FILE, CREDENTIALS, SecretMount


@dataclass(frozen=True)
class PodNeeds:
    """What a Job's pod needs for one target: an image and the Secrets that it mounts.

    `image` is the engine's name, `variant` a part of its tag (`pg17`); engines/<engine>/image describes both.
    """

    image: str
    variant: str = ""
    secrets: tuple[SecretMount, ...] = ()


class Encryption(Protocol):
    """How a connection is encrypted, as far as a pod needs to know."""

    @property
    def ca_secret(self) -> SecretRef | None:
        """The Secret with the authority that the server's certificate is verified by."""


class Secured(Protocol):
    """A section of a target that says how the engine logs in and whether the connection is encrypted."""

    @property
    def credentials_secret(self) -> SecretRef | None:
        """The Secret to log in with."""

    @property
    def tls(self) -> Encryption | None:
        """How the connection is encrypted; None: it is not, or as the engine does by itself."""


def mounts(*sections: Secured | None) -> tuple[SecretMount, ...]:
    """The Secrets for credentials and CA: of each the one of the first section that names it."""
    named = [section for section in sections if section is not None]
    credentials = next((section.credentials_secret for section in named if section.credentials_secret), None)
    tls = next((section.tls for section in named if section.tls), None)
    secrets = [] if credentials is None else [SecretMount(CREDENTIALS, credentials.name, credentials.files)]
    if tls is not None and tls.ca_secret is not None:
        secrets.append(SecretMount(CA, tls.ca_secret.name, {CA_FILE: CA_FILE}))
    return tuple(secrets)


class Engine(ABC):
    """One engine, as the control plane sees it; its folder's module `pod` calls it ENGINE.

    Its data plane, the modules `backup` and `restore`, is found by the folder's name, inside its image only.
    """

    is_built: ClassVar[bool] = True
    """False: the contract describes the engine, and nothing of it is built yet."""
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


class NotBuilt(Engine):
    """An engine that the contract describes; its behaviour is not built yet."""

    is_built = False

    def backup_pod(self, spec: Any) -> PodNeeds:
        raise NotImplementedError(type(self).__name__)

    def restore_pod(self, spec: Any, override: Any | None) -> PodNeeds:
        raise NotImplementedError(type(self).__name__)
