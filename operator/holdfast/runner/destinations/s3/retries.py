"""Which answers of a store mean that it is away, and the retries of requests that met them."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, SSLError
from botocore.exceptions import ConnectionError as BotoConnectionError

from holdfast.runner.destinations.outage import BUSY, Outage, Patience
from holdfast.runner.destinations.s3.errors import code_of, status_of

_CONTEXT = "holdfast-outage"
_BUSY = BUSY | {509}  # Bandwidth Limit Exceeded, of Apache's and others' proxies
_BUSY_CODES = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling"}
"""Codes of errors whose status may be another one: RequestTimeout has 400
(https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)."""
Explain = Callable[[BotoCoreError | ClientError], str]


def is_outage(error: BaseException) -> bool:
    """Whether the store is away, or too busy, so that the same request may succeed later."""
    if isinstance(error, SSLError):
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    if isinstance(error, ClientError):
        status = status_of(error)
        is_edge = 520 <= status <= 530  # of Cloudflare, before a store that is away
        return status in _BUSY or is_edge or code_of(error) in _BUSY_CODES
    return isinstance(error, HTTPClientError | BotoConnectionError | IncompleteReadError)


def retry(client: Any, patience: Patience, explain: Explain) -> None:
    """Have a client make each request again until `patience` ends.

    In place of botocore's own retries, which last less than a second
    (https://docs.aws.amazon.com/boto3/latest/guide/retries.html). botocore asks after each answer.
    """

    def handle(response: Any, caught_exception: Any, operation: Any, request_dict: Any, **_: Any) -> Any:
        outage = request_dict["context"].setdefault(_CONTEXT, Outage(patience))
        error = caught_exception
        if response is not None and response[0].status_code >= HTTPStatus.MULTIPLE_CHOICES:
            error = ClientError(response[1], operation.name)
        if error is None or not is_outage(error):
            outage.end()
            return None
        return 0 if outage.wait(explain(error)) else None

    client.meta.events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    client.meta.events.register("needs-retry.s3", handle, unique_id="holdfast-outage")
