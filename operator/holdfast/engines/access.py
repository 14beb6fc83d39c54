"""Words for why a server cannot be reached or logged in to: the user's names, none of the pod's."""

import re
import socket
import ssl

from holdfast.api.base import SecretRef

_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}
_INNER = re.compile(r"\[(?:Errno|SSL|X509)[^]]*\] |\s*\(_ssl\.c:\d+\)")
"""What Python puts around the text of an error."""


def named(field: str, secret: SecretRef | None) -> str:
    """How a message names a Secret: by its name and by its field; by the field if that is empty."""
    return field if secret is None else f"Secret {secret.name} ({field})"


def why_broken(error: BaseException, host: str) -> str:
    """Why a connection to `host` could not be made, or broke."""
    cause = _system_error(error) or error
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


def _system_error(error: BaseException) -> OSError | None:
    """The error of the operating system that a client's own error came from."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause
