"""A bucket as a destination."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from holdfast.api.base import format_time
from holdfast.api.profile import DestinationProfile
from holdfast.engines.transfer import DestinationWrongError, TransferError
from holdfast.runner.destinations.destination import ArchiveState, Readable, Upload, Version
from holdfast.runner.destinations.outage import Outage
from holdfast.runner.destinations.parts import SIZES, StoredBytes
from holdfast.runner.destinations.s3.archive import archived, thaw_request
from holdfast.runner.destinations.s3.errors import MISSING, code_of, status_of
from holdfast.runner.destinations.s3.objectlock import NO_LOCK
from holdfast.runner.destinations.s3.reader import Reader
from holdfast.runner.destinations.s3.store import NO_VERSIONS, Bucket
from holdfast.runner.destinations.s3.upload import S3Upload


class S3Destination(Bucket):
    """A bucket, with all that the data plane asks of it."""

    def check(self) -> None:
        if self.object_lock is None:
            return
        with self.errors(""):
            has_lock = self._has_lock()
        if not has_lock:
            raise DestinationWrongError(
                "ObjectLockMissing",
                f"destination {self.name}: bucket {self.bucket} has no object lock, which objectLock asks "
                "for: name a bucket that was made with object lock enabled, or take objectLock away",
            )

    def upload(self, key: str) -> Upload:
        return S3Upload(self, key)

    def create(self, key: str, data: bytes, *, transient: bool = False) -> bool:
        """Where a store does not refuse to write over an object, look before and after.

        Of two writers at the same moment the one whose bytes stay has created the object.
        """
        is_safe = self.abilities.conditional_writes
        if not is_safe and self.read(key) is not None:
            return False
        with self.errors(key):
            try:
                self._put_if_absent(key, data, transient=transient)
            except ClientError as error:
                # 409 is a race with another writer (documented for conditional writes): one is there then.
                if status_of(error) not in (409, 412):
                    raise
                # When the answer to the first request was lost, the next one finds what that wrote.
                is_retry = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                self.abilities.conditional_writes = True
                return is_retry and self.read(key) == data
        return bool(is_safe) or self.read(key) == data

    def _put_if_absent(self, key: str, data: bytes, *, transient: bool = False) -> None:
        """Raises ClientError."""
        self.abilities.call(
            self.client.put_object,
            Bucket=self.bucket,
            Key=self.name_of(key),
            Body=data,
            IfNoneMatch="*",
            # Asked for by S3 of everything that is locked.
            ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
            **({} if transient else self.document_fields),
        )

    def profile(self, key: str) -> DestinationProfile:
        head = self.head(key) or {}
        with self.errors(key):
            if self.abilities.conditional_writes is None:
                self._try_to_write_over(key)
            versioning, lock = self._versioning(), self._known_lock()
        self.abilities.checksums = "ChecksumSHA256" in head
        virtual = self._style == "virtual" or self.addressing.style == "Virtual"
        return DestinationProfile(
            conditional_writes=self.abilities.conditional_writes,
            checksums=self.abilities.checksums,
            part_sizes=f"{SIZES.part >> 20} MiB",
            addressing_style="Virtual" if virtual or self._style == "auto" else "Path",
            versions=versioning,
            lock=lock,
        )

    def _try_to_write_over(self, key: str) -> None:
        try:
            self._put_if_absent(key, b"again", transient=True)
        except ClientError as error:
            # Of another refusal, such as that of a bucket that locks all it stores, nothing can be learned.
            if status_of(error) in (409, 412):
                self.abilities.conditional_writes = True
        else:
            self.abilities.conditional_writes = False

    def _known_lock(self) -> bool | None:
        try:
            return self._has_lock()
        except ClientError:
            return None

    def _versioning(self) -> str | None:
        """Enabled, Suspended or Off; None where the store does not say it."""
        try:
            return self.client.get_bucket_versioning(Bucket=self.bucket).get("Status", "Off")
        except ClientError as error:
            return "Off" if code_of(error) in NO_VERSIONS else None

    def read(self, key: str) -> bytes | None:
        outage = Outage(self.patience)
        while True:
            with self.errors(key):
                try:
                    data = self.get({"Bucket": self.bucket, "Key": self.name_of(key)})["Body"].read()
                except ClientError as error:
                    if code_of(error) in MISSING:
                        return None
                    raise
                except (HTTPClientError, IncompleteReadError) as error:
                    # The answer broke off after its head, which no client retries.
                    if not outage.wait(self.explain(error)):
                        raise
                    continue
            outage.end()
            return data

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        with closing(Reader(self, key)) as reader:
            yield reader

    def size(self, key: str) -> int | None:
        head = self.head(key)
        return None if head is None else int(head["ContentLength"])

    def list(self, prefix: str) -> Iterator[str]:
        with self.errors(prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.name_of(prefix)
            )
            for page in pages:
                for stored in page.get("Contents", []):
                    yield stored["Key"].removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        self.erase_by(self.client, Version(key))

    def versions(self, prefix: str) -> Iterator[Version]:
        with self.errors(prefix):
            pages = self.client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self.name_of(prefix)
            )
            try:
                for page in pages:
                    yield from self._versions_of(page)
            except ClientError as error:
                if code_of(error) not in NO_VERSIONS:
                    raise
                yield from super().versions(prefix)

    def _versions_of(self, page: Any) -> Iterator[Version]:
        for kind in ("Versions", "DeleteMarkers"):
            for version in page.get(kind, []):
                key = version["Key"].removeprefix(self._prefix)
                yield Version(key, version["VersionId"], kind == "DeleteMarkers", version["LastModified"])

    def erase(self, version: Version) -> None:
        self.erase_by(self.client, version)

    def _has_lock(self) -> bool:
        """Whether the bucket was made with object lock. Raises ClientError when the store does not say it."""
        try:
            answer = self.client.get_object_lock_configuration(Bucket=self.bucket)
        except ClientError as error:
            if code_of(error) in NO_LOCK:
                return False
            raise
        return answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"

    @cached_property
    def _may_lock(self) -> bool:
        """Whether to look for a lock of each object: not where the store says that the bucket has none."""
        with self.errors(""):
            try:
                return self._has_lock()
            except ClientError:
                return True

    def lock(self, version: Version) -> str | None:
        if version.marker or not self._may_lock:
            return None
        with self.errors(version.key):
            try:
                head = self.head_version(version)
            except ClientError as error:
                # Without the right to look, only a refused deletion shows the lock.
                if code_of(error) in MISSING or status_of(error) == HTTPStatus.FORBIDDEN:
                    return None
                raise
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            return "it is under a legal hold"
        until = head.get("ObjectLockRetainUntilDate")
        if until is not None and until > datetime.now(UTC):
            return f"it is locked until {format_time(until)}"
        return None

    def abort_uploads(self, prefix: str) -> int:
        count = 0
        with self.errors(prefix):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.name_of(prefix)
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    count += self._abort(upload["Key"], upload["UploadId"])
        return count

    def _abort(self, name: str, upload_id: str) -> bool:
        """Abort an upload; a retry may find that it is aborted already. True: it counts."""
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=name, UploadId=upload_id)
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise
        return True

    def verify(self, key: str, stored: StoredBytes) -> None:
        """By the checksum that the store keeps, where it is the one the writer computed; else by reading."""
        head = self.head(key)
        if head is None or head["ContentLength"] != stored.size:
            self.verify_size(key, stored.size)
        elif head.get("ChecksumSHA256") != stored.s3_checksum:
            if archived(head) is not None:
                raise self._unreadable(key, head.get("ChecksumSHA256"), stored)
            super().verify(key, stored)

    def _unreadable(self, key: str, checksum: str | None, stored: StoredBytes) -> TransferError:
        if checksum is not None:
            return self.mismatch(key, f"its checksum is {checksum}, not {stored.s3_checksum}")
        what = "the store keeps no SHA-256 of it, and its storage class does not let it be read back"
        return DestinationWrongError(
            "ChecksumMissing", f"destination {self.name}: {self.uri(key)}: {what}: use another storageClass"
        )

    def verify_lock(self, key: str, until: datetime | None) -> None:
        if self.object_lock is None:
            return
        head = self.head(key)
        if head is None:
            raise self.mismatch(key, "it is not there")
        lack = self.object_lock.lack(head, until or datetime.now(UTC))
        if lack is not None:
            raise DestinationWrongError(
                "ObjectLockNotApplied", f"destination {self.name}: {self.uri(key)}: {lack}"
            )

    def archived(self, key: str) -> ArchiveState | None:
        head = self.head(key)
        return None if head is None else archived(head)

    def thaw(self, key: str) -> None:
        with self.errors(key):
            try:
                request = thaw_request(self.head(key) or {})
                self.client.restore_object(Bucket=self.bucket, Key=self.name_of(key), RestoreRequest=request)
            except ClientError as error:
                if code_of(error) != "RestoreAlreadyInProgress":
                    raise
