"""What an error of botocore means: the reason that the status says, and an explanation."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from holdfast.engines.access import why_broken

MISSING = {"404", "NoSuchKey", "NoSuchVersion", "NotFound"}
"""What a store answers when asked for an object that is not there."""
_REASONS = {
    "NoSuchBucket": "BucketNotFound",
    "AccessDenied": "AccessDenied",
    "AllAccessDisabled": "AccessDenied",
    "403": "AccessDenied",
    "InvalidAccessKeyId": "InvalidAccessKeyId",
    "XAdminUserNotFound": "InvalidAccessKeyId",  # versitygw
    "SignatureDoesNotMatch": "SignatureDoesNotMatch",
    "ExpiredToken": "CredentialsExpired",
    "RequestTimeTooSkewed": "ClockSkewed",
    "AuthorizationHeaderMalformed": "RegionWrong",
    "PermanentRedirect": "RegionWrong",
    "301": "RegionWrong",
    "QuotaExceeded": "DestinationFull",
    "InsufficientStorage": "DestinationFull",
    "XMinioStorageFull": "DestinationFull",
    "XMinioAdminBucketQuotaExceeded": "DestinationFull",
    "InvalidStorageClass": "StorageClassInvalid",
    "InvalidObjectState": "ObjectArchived",
    "BadDigest": "ChecksumRefused",
    "XAmzContentChecksumMismatch": "ChecksumRefused",
    "SlowDown": "DestinationThrottled",
    "Throttling": "DestinationThrottled",
    "ServiceUnavailable": "DestinationThrottled",
}
_ADVICE = {
    "BucketNotFound": "bucket {bucket} does not exist at {endpoint}: make it, or correct s3.bucket",
    "InvalidAccessKeyId": "{said}; correct AWS_ACCESS_KEY_ID in {credentials}",
    "SignatureDoesNotMatch": "{said}; correct AWS_SECRET_ACCESS_KEY in {credentials}",
    "CredentialsExpired": "{said}; put new credentials into {credentials}",
    "RegionWrong": "{said}; correct s3.region",
    "CertificateNotTrusted": "{said}; {ca} must hold the CA that signed its certificate, in key ca.crt",
}
"""What is said of some reasons, with what the store said and with the names of a `Place`."""
UNREACHABLE = "DestinationUnreachable"
FINAL = {
    *("StorageClassInvalid", "ObjectArchived", "BucketNotFound", "RegionWrong"),
    *("InvalidAccessKeyId", "SignatureDoesNotMatch"),
}
"""Reasons that another attempt would meet again."""

OF_STORE = {UNREACHABLE, *_ADVICE}
"""Reasons that have nothing to do with the object that was asked for."""


@dataclass(frozen=True)
class Place:
    """How people name a bucket, the store's address and the Secrets of both."""

    bucket: str
    endpoint: str
    credentials: str
    ca: str


def explain(error: BotoCoreError | ClientError, place: Place) -> tuple[str, str]:
    """The reason, and what is said of it: it names the field or the Secret to correct."""
    reason, said = _explain(error, place.endpoint)
    return reason, _ADVICE.get(reason, "{said}").format(said=said, **vars(place))


def _explain(error: BotoCoreError | ClientError, endpoint: str) -> tuple[str, str]:
    if isinstance(error, ClientError):
        code = code_of(error)
        reason = _REASONS.get(code, "DestinationFull" if status_of(error) == 507 else "DestinationFailed")
        message = error.response["Error"].get("Message") or "no message"
        return reason, f"{error.operation_name}: {code}: {message}"
    if isinstance(error, NoCredentialsError):
        advice = "name a credentialsSecret, or give the service account a workload identity"
        return "CredentialsMissing", f"no credentials: {advice}"
    if isinstance(error, SSLError):
        return "CertificateNotTrusted", f"{endpoint}: {why_broken(error, _host(endpoint))}"
    if isinstance(error, HTTPClientError | BotoConnectionError | IncompleteReadError):
        return UNREACHABLE, f"{endpoint} cannot be reached: {why_broken(error, _host(endpoint))}"
    return "DestinationFailed", str(error)


def _host(endpoint: str) -> str:
    return urlsplit(endpoint).hostname or endpoint


def code_of(error: ClientError) -> str:
    """The store's code of an error."""
    return str(error.response["Error"].get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status of an error."""
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
