"""An artifact on its way into a bucket."""

import base64
import threading
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from holdfast.runner.destinations.destination import Upload, Version
from holdfast.runner.destinations.parts import Part
from holdfast.runner.destinations.s3.errors import code_of
from holdfast.runner.destinations.s3.store import Bucket

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef


class S3Upload(Upload):
    """A multipart upload, or a single put when it has one part only."""

    def __init__(self, destination: Bucket, key: str) -> None:
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
                whole = destination.abilities.call(
                    destination.client.put_object,
                    **self._where,
                    Body=part.data,
                    ChecksumSHA256=checksum,
                    **destination.artifact_fields,
                )
                self._version = whole.get("VersionId")
                return
            answer = destination.abilities.call(
                destination.client.upload_part,
                **self._where,
                UploadId=self._begin(),
                PartNumber=part.number,
                Body=part.data,
                ChecksumSHA256=checksum,
            )
            uploaded: CompletedPartTypeDef = {"PartNumber": part.number, "ETag": answer["ETag"]}
            if "ChecksumSHA256" in answer:
                uploaded["ChecksumSHA256"] = checksum
            with self._lock:
                self._parts.append(uploaded)

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
                known = code_of(error) == "NoSuchUpload"
                if not (again and known and self._destination.size(self._key) is not None):
                    raise
        self._upload_id, self._parts = None, []

    def abort(self) -> None:
        with self._destination.errors(self._key):
            if self._upload_id is not None:
                self._destination.brief.abort_multipart_upload(**self._where, UploadId=self._upload_id)
            if self._visible:
                self._destination.erase_by(self._destination.brief, Version(self._key, self._version))

    def _begin(self) -> str:
        with self._lock:
            if self._upload_id is None:
                destination = self._destination
                answer = destination.abilities.call(
                    destination.client.create_multipart_upload,
                    **self._where,
                    ChecksumAlgorithm="SHA256",
                    **destination.artifact_fields,
                )
                self._upload_id = answer["UploadId"]
            return self._upload_id
