"""A bucket of Google Cloud Storage as a destination."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from google.api_core.exceptions import NotFound, PreconditionFailed

from holdfast.api.base import format_time
from holdfast.engines.transfer import TransferError
from holdfast.runner.destinations.destination import Readable, Upload, Version
from holdfast.runner.destinations.gcs.bucket import ONCE, Bucket
from holdfast.runner.destinations.gcs.reader import Reader
from holdfast.runner.destinations.gcs.upload import ResumableUpload


class GcsDestination(Bucket):
    """A bucket, with all that the data plane asks of it."""

    def upload(self, key: str) -> Upload:
        return ResumableUpload(self, key)

    def create(self, key: str, data: bytes, *, transient: bool = False) -> bool:
        attempts = 0

        def put() -> None:
            nonlocal attempts
            attempts += 1
            self.blob(key).upload_from_string(
                data, "application/octet-stream", if_generation_match=0, checksum="crc32c", **ONCE
            )

        with self.errors(key):
            try:
                self.ask(put)
            except PreconditionFailed:
                # When the answer to the first request was lost, the next one finds what that wrote.
                return attempts > 1 and self.read(key) == data
        return True

    def read(self, key: str) -> bytes | None:
        with self.errors(key):
            try:
                return self.ask(lambda: bytes(self.blob(key).download_as_bytes(raw_download=True, **ONCE)))
            except NotFound:
                self.see_bucket()
                return None

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        blob = self.find(key)
        if blob is None:
            raise self.mismatch(key, "it is not there")
        yield Reader(self, key, blob)

    def size(self, key: str) -> int | None:
        blob = self.find(key)
        return None if blob is None else int(blob.size)

    def list(self, prefix: str) -> Iterator[str]:
        for blob in self._listed(prefix, fields="items(name),nextPageToken"):
            yield str(blob.name).removeprefix(self._prefix)

    def versions(self, prefix: str) -> Iterator[Version]:
        fields = "items(name,generation,timeCreated),nextPageToken"
        for blob in self._listed(prefix, versions="true", fields=fields):  # the client would send True
            key = str(blob.name).removeprefix(self._prefix)
            yield Version(key, str(blob.generation), written=blob.time_created)

    def _listed(self, prefix: str, **options: Any) -> Iterator[Any]:
        token: str | None = None
        while True:
            with self.errors(prefix):
                page, token = self.ask(lambda after=token: self._page(prefix, after, options))  # type: ignore[misc]
            yield from page
            if token is None:
                return

    def _page(self, prefix: str, token: str | None, options: Any) -> tuple[tuple[Any, ...], str | None]:
        """One page of a list, and what asks for the next one."""
        listed = self.bucket.list_blobs(prefix=self._prefix + prefix, page_token=token, **options, **ONCE)
        return tuple(next(listed.pages)), listed.next_page_token

    def delete(self, key: str) -> None:
        self.erase_by(Version(key))

    def erase(self, version: Version) -> None:
        self.erase_by(version)

    def lock(self, version: Version) -> str | None:
        try:
            blob = self.find(version.key, version.id)
        except TransferError as error:
            if error.reason == "AccessDenied":
                return None  # without the right to look, only a refused deletion shows the lock
            raise
        if blob is None:
            return None
        if blob.temporary_hold or blob.event_based_hold:
            return "it is under a hold"
        ends = (blob.retention_expiration_time, blob.retention.retain_until_time)
        until = max((end for end in ends if end is not None), default=None)
        if until is not None and until > datetime.now(UTC):
            return f"it is locked until {format_time(until)}"
        return None

    def abort_uploads(self, prefix: str) -> int:
        """None: the store lists no unfinished upload, and drops it a week after it was started.

        https://cloud.google.com/storage/docs/resumable-uploads#session-uris
        """
        return 0
