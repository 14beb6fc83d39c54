"""A bucket as uploads, readers and the destination use it: its clients, credentials, names and errors."""

import re
import threading
from abc import ABC
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import botocore.session
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from holdfast.api.base import SecretRef
from holdfast.api.destination import Destination as Specification
from holdfast.destinations.s3 import ARCHIVES, S3
from holdfast.engines.access import authority_named, named
from holdfast.engines.transfer import (
    DestinationError,
    DestinationWrongError,
    TaskError,
    TransferError,
    UnreachableError,
)
from holdfast.mounts import CA, CA_FILE, CREDENTIALS
from holdfast.runner.destinations.destination import Destination, LockedError, Version
from holdfast.runner.destinations.s3.abilities import Abilities
from holdfast.runner.destinations.s3.addressing import Addressing
from holdfast.runner.destinations.s3.errors import (
    FINAL,
    MISSING,
    OF_STORE,
    UNREACHABLE,
    Place,
    code_of,
    explain,
    status_of,
)
from holdfast.runner.destinations.s3.objectlock import Lock
from holdfast.runner.destinations.s3.retries import retry
from holdfast.runner.process.mounts import Mounts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, GetObjectRequestTypeDef

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_COMPLETE_SECONDS = 900
"""Completing an upload of many parts "could take several minutes"
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html)."""
NO_VERSION = "null"
"""The id of what was stored while the bucket kept no versions."""
NO_VERSIONS = {"NotImplemented", "501", "MethodNotAllowed", "VersioningNotConfigured"}
"""What a store answers when asked for the versions of a bucket, and it keeps none."""
_LOCKED = re.compile("object lock|WORM", re.IGNORECASE)
"""What Amazon, versitygw and MinIO say; their code is AccessDenied or InvalidRequest, as of much else."""
_creating = threading.Lock()


def new_client(**options: Any) -> Any:
    """A botocore client of S3. All share a session, because to load the description of S3 takes 0.13 s."""
    with _creating:  # "Similar to Resource objects, Session objects are not thread safe" (boto3's guide)
        return _session().create_client("s3", **options)


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


def _is_id_refused(version: Version, error: ClientError) -> bool:
    """Whether the store may know no ids: without versions it may list `null` as one, and refuse that id."""
    return version.id == NO_VERSION and status_of(error) == HTTPStatus.BAD_REQUEST


class Bucket(Destination, ABC):
    """A bucket."""

    workers: ClassVar[int] = 2

    def __init__(self, specification: Specification, mounts: Mounts) -> None:
        s3 = specification.spec
        assert isinstance(s3, S3)
        super().__init__(specification, s3.prefix)
        self.bucket = s3.bucket
        self.object_lock = Lock(s3.object_lock, datetime.now(UTC)) if s3.object_lock else None
        self.retain_until = self.object_lock.until if self.object_lock else None
        lock: Any = self.object_lock.fields if self.object_lock else {}
        storage: Any = {"StorageClass": s3.storage_class} if s3.storage_class else {}
        self.artifact_fields: Any = storage | lock
        # Manifests and entries are read by every commit and restore: an archive is no place for them.
        self.document_fields: Any = lock if s3.storage_class in ARCHIVES else storage | lock
        self.abilities = Abilities()
        self.addressing = Addressing(s3.bucket)
        self._s3 = s3
        self._place = Place(
            s3.bucket,
            s3.endpoint or f"Amazon's endpoint of {s3.region}",
            named("s3.credentialsSecret", s3.credentials_secret),
            authority_named(s3, "s3."),
        )
        self._keys: Any = self._read_keys(mounts, s3.credentials_secret) if s3.credentials_secret else {}
        self._verify = self._authority(mounts) if s3.ca_secret or s3.ca_config_map else None

    @cached_property
    def client(self) -> "S3Client":
        """For everything but what follows."""
        return self._client(_READ_SECONDS)

    @cached_property
    def patient(self) -> "S3Client":
        """For completing an upload."""
        return self._client(_COMPLETE_SECONDS)

    @cached_property
    def brief(self) -> "S3Client":
        """For clearing away after an error, when the store may be gone."""
        return self._client(_CONNECT_SECONDS, is_patient=False)

    def name_of(self, key: str) -> str:
        """The key in the bucket."""
        return self._prefix + key

    def head(self, key: str) -> Any:
        """What the store says of an object; None when it is not there."""
        with self.errors(key):
            try:
                return self.abilities.call(
                    self.client.head_object,
                    Bucket=self.bucket,
                    Key=self.name_of(key),
                    ChecksumMode="ENABLED",
                )
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise

    def erase_by(self, client: "S3Client", version: Version) -> None:
        """`erase`, by another client than the usual one."""
        with self.errors(version.key):
            try:
                self._delete_version(client, version)
            except ClientError as error:
                if code_of(error) in MISSING:
                    return  # Amazon says so of no version, versitygw does
                if (why := self._lock_that_refused(version, error)) is not None:
                    what = f"destination {self.name}: {self.uri(version.key)}: {why}"
                    raise LockedError("ObjectLocked", what) from error
                raise

    def head_version(self, version: Version) -> Any:
        """What the store says of a version. Raises ClientError."""
        try:
            return self.client.head_object(**self._named(version))
        except ClientError as error:
            if not _is_id_refused(version, error):
                raise
            return self.client.head_object(**self._named(Version(version.key)))

    def _delete_version(self, client: "S3Client", version: Version) -> None:
        try:
            client.delete_object(**self._named(version))
        except ClientError as error:
            # Where versions are kept, a deletion without an id deletes nothing: it hides what is there.
            if not _is_id_refused(version, error) or self._keeps_versions:
                raise
            client.delete_object(**self._named(Version(version.key)))

    def _named(self, version: Version) -> Any:
        named = {"Bucket": self.bucket, "Key": self.name_of(version.key)}
        return named if version.id is None else named | {"VersionId": version.id}

    @cached_property
    def _keeps_versions(self) -> bool:
        """Whether the bucket keeps versions, or did. True as well where the store does not say it."""
        try:
            return "Status" in self.client.get_bucket_versioning(Bucket=self.bucket)
        except ClientError as error:
            return code_of(error) not in NO_VERSIONS

    def _lock_that_refused(self, version: Version, error: ClientError) -> str | None:
        """The lock that made the store refuse a deletion; None when it was something else."""
        message = str(error.response["Error"].get("Message", ""))
        is_named = _LOCKED.search(message) is not None
        if not is_named and status_of(error) != HTTPStatus.FORBIDDEN:
            return None
        try:
            why = self.lock(version)
        except TransferError:
            why = None  # whoever may not delete may not look either
        return why or (message if is_named else None)

    def get(self, request: "GetObjectRequestTypeDef") -> "GetObjectOutputTypeDef":
        """GetObject. botocore reads the body of an error, which may break off, without a guard."""
        try:
            return self.client.get_object(**request)
        except urllib3.exceptions.HTTPError as error:
            raise HTTPClientError(error=error) from error

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Say botocore's errors as a DestinationError."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            reason, what = explain(error, self._place)
            raise self.error(reason, key, what) from error

    def explain(self, error: BotoCoreError | ClientError) -> str:
        """What an error of botocore means, for people."""
        return explain(error, self._place)[1]

    def error(self, reason: str, key: str, what: str) -> DestinationError:
        """An error about an object."""
        kind: type[DestinationError] = UnreachableError if reason == UNREACHABLE else DestinationError
        if reason in FINAL:
            kind = DestinationWrongError
        about = "" if reason in OF_STORE else f"{self.uri(key)}: "
        return kind(reason, f"destination {self.name}: {about}{what}")

    def _read_keys(self, mounts: Mounts, secret: SecretRef) -> dict[str, str]:
        folder = mounts.destination(self.name, CREDENTIALS)
        names = {"AWS_ACCESS_KEY_ID": "aws_access_key_id", "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key"}
        for name in names:
            self._require(folder / name, "s3.credentialsSecret", secret)
        return {option: (folder / name).read_text().strip() for name, option in names.items()}

    def _authority(self, mounts: Mounts) -> str:
        file = mounts.destination(self.name, CA) / CA_FILE
        if self._s3.ca_secret is not None:
            self._require(file, "s3.caSecret", self._s3.ca_secret)
        elif self._s3.ca_config_map is not None and not file.is_file():
            raise TaskError(
                "ConfigMapNotFound",
                f"destination {self.name}: s3.caConfigMap: this namespace has no ConfigMap "
                f"{self._s3.ca_config_map.name} with a key {CA_FILE}",
            )
        return str(file)

    def _require(self, file: Path, field: str, secret: SecretRef) -> None:
        """Raises TaskError where a key of a Secret is no file: the pod starts without the Secret too."""
        if file.is_file():
            return
        if file.name != CA_FILE and file.parent.is_dir() and any(file.parent.iterdir()):
            reason, what = "SecretKeyNotFound", f"Secret {secret.name} has no key {file.name}"
        else:
            reason, what = (
                "SecretNotFound",
                f"this namespace has no Secret {secret.name} with a key {file.name}",
            )
        raise TaskError(reason, f"destination {self.name}: {field}: {what}")

    @property
    def _style(self) -> Literal["path", "virtual", "auto"]:
        """As botocore calls it. With an address of its own a store is asked by the path first."""
        match self._s3.addressing_style:
            case "Path":
                return "path"
            case "Virtual":
                return "virtual"
        return "path" if self._s3.endpoint else "auto"

    def _client(self, read_seconds: int, *, is_patient: bool = True) -> "S3Client":
        config = Config(
            connect_timeout=min(_CONNECT_SECONDS, read_seconds),
            read_timeout=read_seconds,
            retries={"mode": "standard", "total_max_attempts": 1},
            # Signing the payload too would hash it once more here and there: what is uploaded carries its
            # SHA-256 in a header, which is signed.
            s3={"addressing_style": self._style, "payload_signing_enabled": False},
            # Holdfast sends and compares SHA-256 itself; not every store takes the default CRC.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=self.workers + 2,
        )
        with self.errors(""):
            client = new_client(
                region_name=self._s3.region,
                endpoint_url=self._s3.endpoint,
                verify=self._verify,
                config=config,
                **self._keys,
            )
        if self._style == "path" and self._s3.addressing_style == "Auto":
            self.addressing.teach(client)
        if is_patient:
            retry(client, self.patience, self.explain)
        return cast("S3Client", client)
