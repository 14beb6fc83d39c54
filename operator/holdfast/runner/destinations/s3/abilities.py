"""What a store can do, learned from its answers: what it refuses is left out of the requests after that."""

import base64
import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from itertools import combinations
from typing import Any

from botocore.exceptions import ClientError

from holdfast.runner.destinations.s3.errors import code_of, status_of

_log = logging.getLogger(__name__)
_CONDITIONS = frozenset({"IfNoneMatch"})
_CHECKSUMS = frozenset({"ChecksumSHA256", "ChecksumAlgorithm", "ChecksumMode"})
_REFUSALS = {"NotImplemented", "InvalidArgument", "InvalidRequest", "400"}
"""Codes of a store that does not know a header. Backblaze B2 says InvalidArgument, "Unsupported header
'x-amz-checksum-sha256' received for this API call" (https://github.com/iterate-ch/cyberduck/issues/16107); to
a HEAD it can only say 400."""


def _is_refusal(error: ClientError) -> bool:
    return status_of(error) == HTTPStatus.NOT_IMPLEMENTED or code_of(error) in _REFUSALS


class Abilities:
    """Those of one bucket's store. None: nobody knows yet."""

    def __init__(self) -> None:
        self.conditional_writes: bool | None = None
        """Whether it refuses to write over an object when it is asked to."""
        self.checksums: bool | None = None
        """Whether it takes SHA-256 and keeps it."""

    def call(self, operation: Callable[..., Any], **fields: Any) -> Any:
        """Make a request with all that the store takes. `Body` is bytes. Raises ClientError."""
        refusal: ClientError | None = None
        for left_out in self._to_leave_out(fields):
            sent = {name: value for name, value in fields.items() if name not in left_out}
            if (body := fields.get("Body")) is not None:
                # A file, not bytes: botocore would copy those once more to put the headers before them.
                sent["Body"] = io.BytesIO(body)
                if "ChecksumSHA256" in fields.keys() - sent.keys():
                    # Locked objects need either (https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html).
                    md5 = hashlib.md5(body, usedforsecurity=False).digest()
                    sent["ContentMD5"] = base64.b64encode(md5).decode()
            try:
                answer = operation(**sent)
            except ClientError as error:
                if not _is_refusal(error):
                    raise
                refusal = refusal or error
                continue
            self._learn(left_out & fields.keys())
            return answer
        assert refusal is not None
        raise refusal

    def _to_leave_out(self, fields: dict[str, Any]) -> Iterator[frozenset[str]]:
        """From nothing but what is known to be refused, to all that may be."""
        known: frozenset[str] = frozenset()
        unsure = []
        for group, ability in ((_CONDITIONS, self.conditional_writes), (_CHECKSUMS, self.checksums)):
            if not group & fields.keys():
                continue
            if ability is False:
                known |= group
            else:
                unsure.append(group)
        for count in range(len(unsure) + 1):
            for chosen in combinations(unsure, count):
                yield known.union(*chosen)

    def _learn(self, refused: frozenset[str]) -> None:
        if refused & _CONDITIONS and self.conditional_writes is not False:
            _log.info("the store refuses conditional writes")
            self.conditional_writes = False
        if refused & _CHECKSUMS and self.checksums is not False:
            _log.info("the store refuses SHA-256 checksums")
            self.checksums = False
