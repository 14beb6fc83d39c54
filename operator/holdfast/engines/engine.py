"""What the control plane needs to know of an engine; light, it loads nothing that talks to one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from holdfast.api.base import ConfigMapRef, Model, SecretRef
from holdfast.mounts import (
    CLIENT_CERT,
    CLIENT_CERT_FILES,
    CREDENTIALS,
    ConfigMapMount,
    SecretMount,
    authority_mounts,
)


@dataclass(frozen=True)
class PodNeeds:
    """What a Job's pod needs for one target: an image, and the Secrets and ConfigMaps that it mounts.

    `image` is the engine's name, `variant` a part of its tag (`pg17`); engines/<engine>/image describes both.
    """

    image: str
    variant: str = ""
    secrets: tuple[SecretMount | ConfigMapMount, ...] = ()


class Encryption(Protocol):
    """How a connection is encrypted, as far as a pod needs to know."""

    @property
    def ca_secret(self) -> SecretRef | None:
        """The Secret with the authority that the server's certificate is verified by."""

    @property
    def ca_config_map(self) -> ConfigMapRef | None:
        """The ConfigMap with this authority."""


class Secured(Protocol):
    """A section of a target that says how the engine logs in and whether the connection is encrypted."""

    @property
    def credentials_secret(self) -> SecretRef | None:
        """The Secret to log in with."""

    @property
    def tls(self) -> Encryption | None:
        """How the connection is encrypted; None: it is not, or as the engine does by itself."""


def mounts(*sections: Secured | None) -> tuple[SecretMount | ConfigMapMount, ...]:
    """What to log in and to encrypt with: of each section `credentials_secret` and `tls` the first."""
    named = [section for section in sections if section is not None]
    credentials = next((section.credentials_secret for section in named if section.credentials_secret), None)
    tls = next((section.tls for section in named if section.tls), None)
    mounted: list[SecretMount | ConfigMapMount] = []
    if credentials is not None:
        mounted.append(SecretMount(CREDENTIALS, credentials.name, credentials.files))
    if tls is None:
        return tuple(mounted)
    mounted += authority_mounts(
        tls.ca_secret.name if tls.ca_secret else None,
        tls.ca_config_map.name if tls.ca_config_map else None,
    )
    client: SecretRef | None = getattr(tls, "client_cert_secret", None)
    if client is not None:
        mounted.append(SecretMount(CLIENT_CERT, client.name, {file: file for file in CLIENT_CERT_FILES}))
    return tuple(mounted)


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
    acceptable_risks: ClassVar[frozenset[str]] = frozenset()
    """The names of the checks of a restore that block it and that a request may accept."""

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
