"""A bucket of Google Cloud Storage: credentials, the client, and requests that outlast an outage."""

import time
from abc import ABC
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import google.auth
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.auth.exceptions import MalformedError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.oauth2.service_account import Credentials

from holdfast.api.base import SecretRef
from holdfast.api.destination import Destination as Specification
from holdfast.destinations.gcs import KEY_FILE, Gcs
from holdfast.engines.access import named
from holdfast.engines.transfer import DestinationError, DestinationWrongError, TaskError, UnreachableError
from holdfast.mounts import CREDENTIALS
from holdfast.runner.destinations.destination import Destination, LockedError, Version
from holdfast.runner.destinations.gcs.errors import (
    ERRORS,
    FINAL,
    OF_STORE,
    UNREACHABLE,
    Place,
    explain,
    is_outage,
    lock_that_refused,
)
from holdfast.runner.process.mounts import Mounts, missing_key

Answer = TypeVar("Answer")
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
ONCE: dict[str, Any] = {"retry": None, "timeout": (10, 60)}
"""Of each request: seconds to connect and to read. `ask` retries, so the client does not."""


class Bucket(Destination, ABC):
    """A bucket."""

    pauses: tuple[float, ...] = (0.2, 0.4, 0.8, 1.6, 3.2)
    """Seconds before a request is made again."""

    def __init__(self, specification: Specification, mounts: Mounts) -> None:
        gcs = specification.spec
        assert isinstance(gcs, Gcs)
        super().__init__(specification, gcs.prefix)
        self._gcs = gcs
        self._place = Place(
            gcs.bucket,
            gcs.endpoint or "Google's endpoint",
            named("gcs.credentialsSecret", gcs.credentials_secret),
        )
        self._key = self._read_key(mounts, gcs.credentials_secret) if gcs.credentials_secret else None
        self._is_there = False

    @cached_property
    def session(self) -> AuthorizedSession:
        """For requests of which the client has no function. It has the token of the client's."""
        return AuthorizedSession(self._credentials)

    @cached_property
    def bucket(self) -> storage.Bucket:
        """The client's bucket."""
        options = {"api_endpoint": self._gcs.endpoint} if self._gcs.endpoint else None
        client = storage.Client(project=None, credentials=self._credentials, client_options=options)
        return client.bucket(self._gcs.bucket)

    @cached_property
    def _credentials(self) -> Any:
        if self._key is not None:
            return self._key
        return google.auth.default(scopes=[_SCOPE])[0]

    def blob(self, key: str, generation: str | None = None) -> Any:
        """The client's object of a key; of no generation it is the one that is in sight."""
        return self.bucket.blob(
            self._prefix + key, generation=None if generation is None else int(generation)
        )

    def ask(self, request: Callable[[], Answer]) -> Answer:
        """The answer to a request, which is made again while the store is away. Raises an error of ERRORS."""
        for pause in (*self.pauses, None):
            try:
                return request()
            except ERRORS as error:
                if pause is None or not is_outage(error):
                    raise
                time.sleep(pause)
        raise AssertionError

    def find(self, key: str, generation: str | None = None) -> Any:
        """The client's object with what the store says of it; None when it is not there."""
        with self.errors(key):
            blob = self.blob(key, generation)
            try:
                self.ask(lambda: blob.reload(**ONCE))
            except NotFound:
                self.see_bucket()
                return None
            return blob

    def see_bucket(self) -> None:
        """Tell an object that is not there from a bucket that is not: the store answers 404 in both cases.

        Raises NotFound of the bucket.
        """
        if not self._is_there:
            self.ask(lambda: next(self.bucket.list_blobs(max_results=1, **ONCE).pages))
            self._is_there = True

    def erase_by(self, version: Version, **options: Any) -> None:
        """Delete a version, or what is in sight if it has no id. Raises LockedError."""
        with self.errors(version.key):
            try:
                self.ask(lambda: self.blob(version.key, version.id).delete(**(ONCE | options)))
            except NotFound:
                self.see_bucket()
            except GoogleAPICallError as error:
                if (why := lock_that_refused(error)) is None:
                    raise
                what = f"destination {self.name}: {self.uri(version.key)}: {why}"
                raise LockedError("ObjectLocked", what) from error

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Say the client's errors as a DestinationError."""
        try:
            yield
        except ERRORS as error:
            reason, what = explain(error, self._place)
            raise self.error(reason, key, what) from error

    def error(self, reason: str, key: str, what: str) -> DestinationError:
        """An error about an object."""
        kind: type[DestinationError] = UnreachableError if reason == UNREACHABLE else DestinationError
        if reason in FINAL:
            kind = DestinationWrongError
        about = "" if reason in OF_STORE else f"{self.uri(key)}: "
        return kind(reason, f"destination {self.name}: {about}{what}")

    def _read_key(self, mounts: Mounts, secret: SecretRef) -> Any:
        """The key of a service account. It signs its own tokens, so nothing else of Google's is asked.

        https://google.aip.dev/auth/4111. Raises TaskError.
        """
        file = mounts.destination(self.name, CREDENTIALS) / KEY_FILE
        field = f"destination {self.name}: gcs.credentialsSecret"
        if not file.is_file():
            reason, what = missing_key(file, secret.name)
            raise TaskError(reason, f"{field}: {what}")
        try:
            key = Credentials.from_service_account_file(str(file), scopes=[_SCOPE])
        except (ValueError, MalformedError) as error:
            what = f"{KEY_FILE} in Secret {secret.name} is not the key of a service account"
            raise TaskError("CredentialsMissing", f"{field}: {what}: {error}") from error
        return key.with_always_use_jwt_access(True)
