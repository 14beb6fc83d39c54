"""What an error of botocore means: the reason that the status says, and an explanation."""

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
UNREACHABLE = "DestinationUnreachable"
FINAL = {"StorageClassInvalid", "ObjectArchived"}
"""Reasons that another attempt would meet again."""


def explain(error: BotoCoreError | ClientError, endpoint: str) -> tuple[str, str]:
    """The reason, and what is said of it; `endpoint` is how people name the store's address."""
    if isinstance(error, ClientError):
        code = code_of(error)
        reason = _REASONS.get(code, "DestinationFull" if status_of(error) == 507 else "DestinationFailed")
        message = error.response["Error"].get("Message") or "no message"
        return reason, f"{error.operation_name}: {code}: {message}"
    if isinstance(error, NoCredentialsError):
        advice = "name a credentialsSecret, or give the service account a workload identity"
        return "CredentialsMissing", f"no credentials: {advice}"
    if isinstance(error, SSLError):
        return "CertificateNotTrusted", f"{endpoint}: {error}"
    if isinstance(error, HTTPClientError | BotoConnectionError | IncompleteReadError):
        return UNREACHABLE, f"{endpoint}: {error}"
    return "DestinationFailed", str(error)


def code_of(error: ClientError) -> str:
    """The store's code of an error."""
    return str(error.response["Error"].get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status of an error."""
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
