"""Words for why a server cannot be reached or logged in to: the user's names, none of the pod's."""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from holdfast.api.base import ConfigMapRef, SecretRef
from holdfast.mounts import CLIENT_CERT_FILES

_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}
_INNER = re.compile(r"\[(?:Errno|SSL|X509)[^]]*\] |\s*\(_ssl\.c:\d+\)")
"""What Python puts around the text of an error."""


def named(field: str, secret: SecretRef | None) -> str:
    """How a message names a Secret: by its name and by its field; by the field if that is empty."""
    return field if secret is None else f"Secret {secret.name} ({field})"


class Authority(Protocol):
    """The fields of a section that name the CA of a server."""

    @property
    def ca_secret(self) -> SecretRef | None:
        """The Secret with the key ca.crt."""

    @property
    def ca_config_map(self) -> ConfigMapRef | None:
        """The ConfigMap with the key ca.crt."""


def authority_named(section: Authority | None, path: str = "tls.") -> str:
    """How a message names what holds the CA; the field `caSecret` below `path` if nothing does."""
    if section is not None and section.ca_config_map is not None:
        return f"ConfigMap {section.ca_config_map.name} ({path}caConfigMap)"
    return named(f"{path}caSecret", section.ca_secret if section else None)


@dataclass(frozen=True)
class ClientCert:
    """The files of a certificate to log in with, and of its private key."""

    certificate: Path
    key: Path

    @classmethod
    def mounted(cls, folder: Path) -> Self:
        """Where a Secret's mount has them; they may be absent."""
        return cls(*(folder / name for name in CLIENT_CERT_FILES))

    @property
    def absent(self) -> str | None:
        """The key that the Secret lacks."""
        return next((file.name for file in (self.certificate, self.key) if not file.is_file()), None)


def why_broken(error: BaseException, host: str) -> str:
    """Why a connection to `host` could not be made, or broke."""
    cause = system_error(error) or error
    if "IncompleteRead" in str(cause):
        return "the answer broke off"
    match cause:
        case socket.gaierror(errno=number) if number in _NO_SUCH_NAME:
            return unknown_host(host)
        case socket.gaierror():
            return f"DNS did not answer for {host}: {cause.strerror}"
        case ssl.SSLCertVerificationError():
            return f"certificate verify failed: {cause.verify_message}"
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str(text)):
            return without_inner_words(text)
    return without_inner_words(str(cause)) or "the connection broke"


def unknown_host(host: str) -> str:
    """What is wrong if DNS does not know `host`, which is `<Service>.<namespace>.svc` or a host's name."""
    match host.split("."):
        case [service, namespace, "svc"]:
            return f"namespace {namespace} has no Service {service}, or no pod of that Service is ready"
    return f"DNS knows no host {host}"


def without_inner_words(text: str) -> str:
    """The text of an error without `[Errno 111]` and the like."""
    return _INNER.sub("", text).rstrip(".")


def system_error(error: BaseException) -> OSError | None:
    """The error of the operating system that a client's own error came from.

    Those of requests are errors of the system too, without a word of the system's.
    """
    cause: BaseException | None = error
    last = None
    while cause is not None:
        if isinstance(cause, OSError):
            last = cause
            if cause.strerror or isinstance(cause, TimeoutError):
                break
        cause = cause.__cause__ or cause.__context__
    return last
