"""An S3-compatible object store as a destination, by botocore."""

import base64
import hashlib
import io
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import botocore.session
from botocore.config import Config
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

from holdfast.api.destination import ARCHIVES, S3
from holdfast.api.destination import Destination as Specification
from holdfast.engines.transfer import (
    DestinationError,
    DestinationWrongError,
    TaskError,
    TransferError,
    UnreachableError,
)
from holdfast.runner.destinations.archive import archived, thaw_request
from holdfast.runner.destinations.destination import (
    Archived,
    Destination,
    LockedError,
    Readable,
    Upload,
    Version,
)
from holdfast.runner.destinations.objectlock import NO_LOCK, Lock
from holdfast.runner.destinations.parts import MAX_PARTS, Part, Stored
from holdfast.runner.process.mounts import Mounts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectRequestTypeDef

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_COMPLETE_SECONDS = 900
"""Completing an upload of many parts "could take several minutes"
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html)."""
_ATTEMPTS = 5
_RESUMES = 6
_NO_VERSIONS = {"NotImplemented", "501", "MethodNotAllowed"}
_LOCKED = re.compile("object lock|WORM", re.IGNORECASE)
"""What Amazon, versitygw and MinIO say; their code is AccessDenied or InvalidRequest, as of much else."""
_MISSING = {"404", "NoSuchKey", "NotFound"}
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
_FINAL = {"StorageClassInvalid", "ObjectArchived"}
"""Reasons that another attempt would meet again."""


class S3Destination(Destination):
    """A bucket. Path-style addresses are used where an endpoint is given."""

    workers: ClassVar[int] = 2

    def __init__(self, specification: Specification, s3: S3, mounts: Mounts) -> None:
        super().__init__(specification.name, s3.prefix, required=specification.required)
        self.bucket = s3.bucket
        self._lock = Lock(s3.object_lock, datetime.now(UTC)) if s3.object_lock else None
        self.retain_until = self._lock.until if self._lock else None
        lock: Any = self._lock.fields if self._lock else {}
        storage: Any = {"StorageClass": s3.storage_class} if s3.storage_class else {}
        self.artifact_fields: Any = storage | lock
        # Manifests and entries are read by every commit and restore: an archive is no place for them.
        self._document_fields: Any = lock if s3.storage_class in ARCHIVES else storage | lock
        self._s3 = s3
        self._endpoint = s3.endpoint or f"Amazon's endpoint of {s3.region}"
        self._session = botocore.session.get_session()
        self._keys: Any = self._read_keys(mounts) if s3.credentials_secret else {}
        self._verify = str(mounts.ca(specification.name)) if s3.ca_secret else None

    @cached_property
    def client(self) -> "S3Client":
        """For everything but what follows."""
        return self._client(_READ_SECONDS, _ATTEMPTS)

    @cached_property
    def patient(self) -> "S3Client":
        """For completing an upload."""
        return self._client(_COMPLETE_SECONDS, _ATTEMPTS)

    @cached_property
    def brief(self) -> "S3Client":
        """For clearing away after an error, when the store may be gone."""
        return self._client(_CONNECT_SECONDS, 1)

    def check(self) -> None:
        if self._lock is None:
            return
        with self.errors(""):
            try:
                answer = self.client.get_object_lock_configuration(Bucket=self.bucket)
                enabled = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
            except ClientError as error:
                if error.response["Error"]["Code"] not in NO_LOCK:
                    raise
                enabled = False
        if not enabled:
            raise DestinationWrongError(
                "ObjectLockMissing",
                f"destination {self.name}: bucket {self.bucket} has no object lock, which objectLock asks "
                "for: name a bucket that was made with object lock enabled, or take objectLock away",
            )

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._prefix}{key}"

    def name_of(self, key: str) -> str:
        """The key in the bucket."""
        return self._prefix + key

    def upload(self, key: str) -> Upload:
        return _S3Upload(self, key)

    def create(self, key: str, data: bytes, *, transient: bool = False) -> bool:
        fields = {} if transient else self._document_fields
        with self.errors(key):
            try:
                self.client.put_object(
                    Bucket=self.bucket,
                    Key=self.name_of(key),
                    Body=data,
                    IfNoneMatch="*",
                    # Asked for by S3 of everything that is locked.
                    ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
                    **fields,
                )
            except ClientError as error:
                # 409 is a race with another writer (documented for conditional writes): one is there then.
                if _status(error) in (409, 412):
                    return False
                raise
            return True

    def read(self, key: str) -> bytes | None:
        with self.errors(key):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.name_of(key))
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
            return answer["Body"].read()

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        reader = _Reader(self, key)
        try:
            yield reader
        finally:
            reader.close()

    def size(self, key: str) -> int | None:
        head = self._head(key)
        return None if head is None else int(head["ContentLength"])

    def list(self, prefix: str) -> Iterator[str]:
        with self.errors(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.name_of(prefix)
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        with self.errors(key):
            self.client.delete_object(Bucket=self.bucket, Key=self.name_of(key))

    def versions(self, prefix: str) -> Iterator[Version]:
        with self.errors(prefix):
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self.name_of(prefix)
            )
            try:
                for page in pages:
                    yield from self._versions_of(page)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _NO_VERSIONS:
                    raise
                yield from super().versions(prefix)

    def _versions_of(self, page: Any) -> Iterator[Version]:
        for kind in ("Versions", "DeleteMarkers"):
            for item in page.get(kind, []):
                key = item["Key"].removeprefix(self._prefix)
                yield Version(key, item["VersionId"], kind == "DeleteMarkers", item["LastModified"])

    def erase(self, version: Version) -> None:
        self.erase_by(self.client, version)

    def erase_by(self, client: "S3Client", version: Version) -> None:
        """`erase`, by another client than the usual one."""
        which: Any = {"VersionId": version.id} if version.id else {}
        with self.errors(version.key):
            try:
                client.delete_object(Bucket=self.bucket, Key=self.name_of(version.key), **which)
            except ClientError as error:
                message = str(error.response["Error"].get("Message", ""))
                if _LOCKED.search(message):
                    what = f"destination {self.name}: {self.uri(version.key)}: {message}"
                    raise LockedError("ObjectLocked", what) from error
                raise

    def lock(self, version: Version) -> str | None:
        if version.marker or version.id in (None, "null"):
            return None  # only versions can be locked
        with self.errors(version.key):
            head = self.client.head_object(
                Bucket=self.bucket, Key=self.name_of(version.key), VersionId=version.id or ""
            )
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return "it is under a legal hold"
        until = head.get("ObjectLockRetainUntilDate")
        if until is not None and until > datetime.now(UTC):
            return f"it is locked until {until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return None

    def abort_uploads(self, prefix: str) -> int:
        count = 0
        with self.errors(prefix):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.name_of(prefix)
            )
            for page in pages:
                for item in page.get("Uploads", []):
                    self.client.abort_multipart_upload(
                        Bucket=self.bucket, Key=item["Key"], UploadId=item["UploadId"]
                    )
                    count += 1
        return count

    def verify(self, key: str, stored: Stored) -> None:
        """By the checksum that the store keeps, where it is the one the writer computed; else by reading."""
        head = self._head(key)
        if head is None or head["ContentLength"] != stored.size:
            self.verify_size(key, stored.size)
        elif head.get("ChecksumSHA256") != stored.s3_checksum:
            if archived(head) is not None:
                raise self._unreadable(key, head.get("ChecksumSHA256"), stored)
            super().verify(key, stored)

    def _unreadable(self, key: str, found: str | None, stored: Stored) -> TransferError:
        if found is not None:
            return self.mismatch(key, f"its checksum is {found}, not {stored.s3_checksum}")
        what = "the store keeps no SHA-256 of it, and its storage class does not let it be read back"
        return DestinationWrongError(
            "ChecksumMissing", f"destination {self.name}: {self.uri(key)}: {what}: use another storageClass"
        )

    def verify_lock(self, key: str, until: datetime | None) -> None:
        if self._lock is None:
            return
        head = self._head(key)
        if head is None:
            raise self.mismatch(key, "it is not there")
        lack = self._lock.lack(head, until or datetime.now(UTC))
        if lack is not None:
            raise DestinationWrongError(
                "ObjectLockNotApplied", f"destination {self.name}: {self.uri(key)}: {lack}"
            )

    def archived(self, key: str) -> Archived | None:
        head = self._head(key)
        return None if head is None else archived(head)

    def thaw(self, key: str) -> None:
        with self.errors(key):
            try:
                request = thaw_request(self._head(key) or {})
                self.client.restore_object(Bucket=self.bucket, Key=self.name_of(key), RestoreRequest=request)
            except ClientError as error:
                if error.response["Error"]["Code"] != "RestoreAlreadyInProgress":
                    raise

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Say botocore's errors as a DestinationError."""
        try:
            yield
        except ClientError as error:
            code = str(error.response["Error"].get("Code", ""))
            reason = _REASONS.get(code, "DestinationFull" if _status(error) == 507 else "DestinationFailed")
            message = error.response["Error"].get("Message") or "no message"
            raise self.error(reason, key, f"{error.operation_name}: {code}: {message}") from error
        except NoCredentialsError as error:
            advice = "name a credentialsSecret, or give the service account a workload identity"
            raise self.error("CredentialsMissing", key, f"no credentials: {advice}") from error
        except SSLError as error:
            raise self.error("CertificateNotTrusted", key, f"{self._endpoint}: {error}") from error
        except (HTTPClientError, BotoConnectionError, IncompleteReadError) as error:
            what = f"destination {self.name}: {self.uri(key)}: {self._endpoint}: {error}"
            raise UnreachableError("DestinationUnreachable", what) from error
        except BotoCoreError as error:
            raise self.error("DestinationFailed", key, str(error)) from error

    def error(self, reason: str, key: str, what: str) -> DestinationError:
        """An error about an object."""
        kind = DestinationWrongError if reason in _FINAL else DestinationError
        return kind(reason, f"destination {self.name}: {self.uri(key)}: {what}")

    def _head(self, key: str) -> Any:
        with self.errors(key):
            try:
                return self.client.head_object(
                    Bucket=self.bucket, Key=self.name_of(key), ChecksumMode="ENABLED"
                )
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise

    def _read_keys(self, mounts: Mounts) -> dict[str, str]:
        folder = mounts.credentials(self.name)
        names = {"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key"}
        for name in names:
            if not (folder / name).is_file():
                secret = self._s3.credentials_secret
                raise TaskError(
                    "CredentialsMissing",
                    f"destination {self.name}: Secret {secret.name if secret else ''} must have a key {name}",
                )
        return {option: (folder / name).read_text().strip() for name, option in names.items()}

    def _client(self, read_seconds: int, attempts: int) -> "S3Client":
        style: Literal["path", "auto"] = "path" if self._s3.endpoint else "auto"
        config = Config(
            connect_timeout=min(_CONNECT_SECONDS, read_seconds),
            read_timeout=read_seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # Signing the payload too would hash it once more here and there: what is uploaded carries its
            # SHA-256 in a header, which is signed.
            s3={"addressing_style": style, "payload_signing_enabled": False},
            # Holdfast sends and compares SHA-256 itself; not every store takes the default CRC.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=self.workers + 2,
        )
        with self.errors(""):
            client: Any = self._session.create_client(
                "s3",
                region_name=self._s3.region,
                endpoint_url=self._s3.endpoint,
                verify=self._verify,
                config=config,
                **self._keys,
            )
        return cast("S3Client", client)


class _S3Upload(Upload):
    """A multipart upload, or a single put when there is one part only."""

    def __init__(self, destination: S3Destination, key: str) -> None:
        self._destination = destination
        self._key = key
        self._where: Any = {"Bucket": destination.bucket, "Key": destination.name_of(key)}
        self._lock = threading.Lock()
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self._visible = False
        self._version: str | None = None
        """Where versions are kept: its own, once it is visible."""

    def put(self, part: Part) -> None:
        checksum = base64.b64encode(part.sha256).decode()
        destination = self._destination
        with destination.errors(self._key):
            if part.number == 1 and part.last:
                self._visible = True
                whole = destination.client.put_object(
                    **self._where,
                    Body=io.BytesIO(part.data),
                    ChecksumSHA256=checksum,
                    **destination.artifact_fields,
                )
                self._version = whole.get("VersionId")
                return
            if part.number > MAX_PARTS:
                raise destination.error("StreamTooLarge", self._key, f"it needs over {MAX_PARTS} parts")
            # A file, not bytes: botocore would copy those once more to put the headers before them.
            answer = destination.client.upload_part(
                **self._where,
                UploadId=self._begin(),
                PartNumber=part.number,
                Body=io.BytesIO(part.data),
                ChecksumSHA256=checksum,
            )
            with self._lock:
                self._parts.append(
                    {"PartNumber": part.number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
                )

    def complete(self) -> None:
        if self._upload_id is not None:
            self._complete(self._upload_id)
        self._destination.verify_lock(self._key, self._destination.retain_until)

    def _complete(self, upload_id: str) -> None:
        self._visible = True
        parts = sorted(self._parts, key=lambda part: part["PartNumber"])
        with self._destination.errors(self._key):
            try:
                whole = self._destination.patient.complete_multipart_upload(
                    **self._where, UploadId=upload_id, MultipartUpload={"Parts": parts}
                )
                self._version = whole.get("VersionId")
            except ClientError as error:
                # When the answer to the first attempt was lost, the next one finds the upload completed.
                again = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                known = error.response["Error"]["Code"] == "NoSuchUpload"
                if not (again and known and self._destination.size(self._key) is not None):
                    raise
        self._upload_id = None

    def abort(self) -> None:
        with self._destination.errors(self._key):
            if self._upload_id is not None:
                self._destination.brief.abort_multipart_upload(**self._where, UploadId=self._upload_id)
            if self._visible:
                self._destination.erase_by(self._destination.brief, Version(self._key, self._version))

    def _begin(self) -> str:
        with self._lock:
            if self._upload_id is None:
                answer = self._destination.client.create_multipart_upload(
                    **self._where, ChecksumAlgorithm="SHA256", **self._destination.artifact_fields
                )
                self._upload_id = answer["UploadId"]
            return self._upload_id


class _Reader:
    """The bytes of an object; a broken connection is taken up again where it broke."""

    def __init__(self, destination: S3Destination, key: str) -> None:
        self._destination = destination
        self._key = key
        self._offset = 0
        self._etag: str | None = None
        self._failures = 0
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
            self._failures = 0 if data else self._failures
            return data

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _resume(self, error: Exception) -> None:
        self.close()
        self._failures += 1
        if self._failures > _RESUMES:
            with self._destination.errors(self._key):
                raise error
        time.sleep(min(0.1 * 2**self._failures, 5))

    def _get(self) -> Any:
        request: GetObjectRequestTypeDef = {
            "Bucket": self._destination.bucket,
            "Key": self._destination.name_of(self._key),
        }
        if self._etag is not None:
            request |= {"Range": f"bytes={self._offset}-", "IfMatch": self._etag}
        with self._destination.errors(self._key):
            try:
                answer = self._destination.client.get_object(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    raise self._destination.mismatch(self._key, "it is not there") from error
                if _status(error) == 412:
                    raise self._destination.mismatch(self._key, "it changed while it was read") from error
                raise
        self._etag = answer["ETag"]
        return answer["Body"]


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
