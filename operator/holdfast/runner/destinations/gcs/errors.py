"""What an error of Google's client means: the reason that the status says, and an explanation."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.cloud.storage.exceptions import DataCorruption
from requests.exceptions import RequestException, SSLError
from urllib3.exceptions import HTTPError

from holdfast.engines.access import why_broken
from holdfast.runner.destinations.outage import BUSY

ERRORS = (GoogleAPICallError, GoogleAuthError, RequestException, HTTPError, DataCorruption)
"""All that the client raises because of the store; urllib3's come of an answer that breaks off."""
UNREACHABLE = "DestinationUnreachable"
NOT_FOUND = "BucketNotFound"
_REASONS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "AuthenticationFailed",
    HTTPStatus.FORBIDDEN: "AccessDenied",
    # Of an object its caller knows what to say.
    HTTPStatus.NOT_FOUND: NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS: "DestinationThrottled",
    HTTPStatus.SERVICE_UNAVAILABLE: "DestinationThrottled",
}
"""https://cloud.google.com/storage/docs/retry-strategy names these."""
_ADDRESS = re.compile(r"^[A-Z]+ https?://\S+ ")
"""What the client puts before what the store says. The address of an upload lets everybody go on with it."""
_LOCKED = {"retentionPolicyNotMet", "objectUnderActiveHold"}
_ADVICE = {
    "AuthenticationFailed": "{said}; correct the key in {credentials}",
    NOT_FOUND: "bucket {bucket} does not exist at {endpoint}: make it, or correct gcs.bucket",
}
FINAL = {"AuthenticationFailed", NOT_FOUND}
"""Reasons that another attempt would meet again."""
OF_STORE = {UNREACHABLE, "CertificateNotTrusted", "CredentialsMissing", *_ADVICE}
"""Reasons that have nothing to do with the object that was asked for."""


@dataclass(frozen=True)
class Place:
    """How people name a bucket, the store's address and the Secret."""

    bucket: str
    endpoint: str
    credentials: str


def explain(error: Exception, place: Place) -> tuple[str, str]:
    """The reason, and what is said of it: it names the field or the Secret to correct."""
    reason, said = _explain(error, place.endpoint)
    return reason, _ADVICE.get(reason, "{said}").format(said=said, **vars(place))


def _explain(error: Exception, endpoint: str) -> tuple[str, str]:
    host = urlsplit(endpoint).hostname or endpoint
    if isinstance(error, GoogleAPICallError):
        return _REASONS.get(error.code or 0, "DestinationFailed"), f"{error.code}: {_message(error)}"
    if isinstance(error, DefaultCredentialsError):
        advice = "name a credentialsSecret, or give the service account a workload identity"
        return "CredentialsMissing", f"no credentials: {advice}"
    if isinstance(error, SSLError) and not is_outage(error):
        return "CertificateNotTrusted", f"{endpoint}: {why_broken(error, host)}"
    if is_outage(error):
        return UNREACHABLE, f"{endpoint} cannot be reached: {why_broken(error, host)}"
    if isinstance(error, GoogleAuthError):
        return "AuthenticationFailed", f"Google gives no token for these credentials: {error.args[0]}"
    return "DestinationFailed", str(error)


def _message(error: GoogleAPICallError) -> str:
    """What the store says."""
    return _ADDRESS.sub("", str(error.message)).strip()


def is_outage(error: Exception) -> bool:
    """Whether the store is away, or too busy, so that the same request may succeed later."""
    if isinstance(error, GoogleAPICallError):
        return error.code in BUSY
    if isinstance(error, SSLError):
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    if isinstance(error, RefreshError):
        return bool(error.retryable)
    return isinstance(error, RequestException | HTTPError | TransportError)


def lock_that_refused(error: GoogleAPICallError) -> str | None:
    """The retention policy or hold because of which the store deletes no object; None: something else.

    https://cloud.google.com/storage/docs/json_api/v1/status-codes#403-forbidden
    """
    reasons = {detail.get("reason") for detail in error.errors if isinstance(detail, dict)}
    message = _message(error)
    is_lock = bool(reasons & _LOCKED) or "retention policy" in message or "hold and cannot" in message
    return message if error.code == HTTPStatus.FORBIDDEN and is_lock else None
