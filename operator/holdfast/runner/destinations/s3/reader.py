"""The bytes of an object in a bucket, as a stream that survives broken connections."""

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

from holdfast.runner.destinations.outage import Outage
from holdfast.runner.destinations.s3.errors import MISSING, code_of, status_of
from holdfast.runner.destinations.s3.store import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef


class Reader:
    """The bytes of an object; a broken connection is taken up again where it broke."""

    def __init__(self, destination: Bucket, key: str) -> None:
        self._destination = destination
        self._key = key
        self._offset = 0
        self._etag: str | None = None
        self._outage = Outage(destination.patience)
        self._body: Any = None

    def read(self, size: int, /) -> bytes:
        while True:
            try:
                if self._body is None:
                    self._body = self._get()
                data: bytes = self._body.read(size)
            except (HTTPClientError, IncompleteReadError) as error:
                self._resume(error)
                continue
            self._offset += len(data)
            self._outage.end()
            return data

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _resume(self, error: BotoCoreError) -> None:
        self.close()
        if not self._outage.wait(self._destination.explain(error)):
            with self._destination.errors(self._key):
                raise error

    def _get(self) -> Any:
        request: GetObjectRequestTypeDef = {
            "Bucket": self._destination.bucket,
            "Key": self._destination.name_of(self._key),
        }
        if self._etag is not None:
            request |= {"Range": f"bytes={self._offset}-", "IfMatch": self._etag}
        try:
            answer = self._destination.get(request)
        except ClientError as error:
            with self._destination.errors(self._key):
                if code_of(error) in MISSING:
                    raise self._destination.mismatch(self._key, "it is not there") from error
                if status_of(error) == 412:
                    raise self._destination.mismatch(self._key, "it changed while it was read") from error
                raise
        self._etag = answer["ETag"]
        return answer["Body"]
