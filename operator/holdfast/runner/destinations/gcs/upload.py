"""An object on its way into a bucket, by a resumable upload.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

import base64
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import from_http_response
from google_crc32c import Checksum

from holdfast.runner.destinations.destination import Upload, Version
from holdfast.runner.destinations.gcs.bucket import ONCE
from holdfast.runner.destinations.parts import Part

if TYPE_CHECKING:
    from holdfast.runner.destinations.gcs.bucket import Bucket

_STEP = 256 << 10
"""All but the last request of an upload carry multiples of this."""
_CLOSED = 499
"""What the store answers when an upload was aborted."""
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE, _CLOSED}
_BRIEF: dict[str, Any] = {"timeout": (10, 10)}
"""For clearing away after an error, when the store may be gone."""


class ResumableUpload(Upload):
    """Sends the parts in their order. The store shows the object once it knows how long it is."""

    def __init__(self, destination: "Bucket", key: str) -> None:
        self._destination = destination
        self._key = key
        self._address: str | None = None
        self._sent = 0
        self._rest = b""
        """What was put and is less than a step; nothing of it is sent before the upload goes on."""
        self._is_lost = False
        """Whether the answer to the last request was lost, so that `_sent` may be too little."""
        self._checksum = Checksum()
        self._is_visible = False
        """Whether the object may be visible."""
        self._generation: str | None = None
        """Of the object, once the store has said so."""

    def put(self, part: Part) -> None:
        self._checksum.update(part.data)
        data = memoryview(self._rest + part.data if self._rest else part.data)
        whole = len(data) - len(data) % _STEP
        with self._destination.errors(self._key):
            self._send(data[:whole], None)
        self._rest = bytes(data[whole:])

    def complete(self) -> None:
        self._is_visible = True
        with self._destination.errors(self._key):
            answer = self._send(memoryview(self._rest), self._sent + len(self._rest))
        self._generation, self._rest = str(answer["generation"]), b""
        checksum = base64.b64encode(self._checksum.digest()).decode()
        if answer["crc32c"] != checksum:
            self.abort()
            what = f"the store received other bytes: their CRC32C is {answer['crc32c']}, not {checksum}"
            raise self._destination.error("ChecksumRefused", self._key, what)

    def abort(self) -> None:
        if self._address is not None and self._generation is None:
            with self._destination.errors(self._key):
                answer = self._destination.session.delete(self._address, **_BRIEF)
                if answer.status_code >= HTTPStatus.BAD_REQUEST and answer.status_code not in _GONE:
                    raise from_http_response(answer)
        if self._is_visible:
            self._destination.erase_by(Version(self._key, self._generation), **_BRIEF)

    def _send(self, data: memoryview, total: int | None) -> Any:
        """Send bytes, all of them; with a total they are the last, and the answer describes the object."""
        start, end, described = self._sent, self._sent + len(data), None
        while described is None and (self._sent < end or total is not None):
            before = self._sent
            described = self._destination.ask(lambda: self._go_on(data, start, total))
            if described is None and not before < self._sent <= end:
                what = f"the store has {self._sent} bytes of an upload, after {before} of {end}"
                raise self._destination.error("DestinationFailed", self._key, what)
        return described

    def _go_on(self, data: memoryview, start: int, total: int | None) -> Any:
        """Send from where the store is. It is asked for that after a request whose answer was lost."""
        address = self._begin()
        if self._is_lost:
            described = self._request(address, memoryview(b""), total)
            self._is_lost = False
            if described is not None or (total is None and self._sent == start + len(data)):
                return described
        self._is_lost = True
        described = self._request(address, data[self._sent - start :], total)
        self._is_lost = False
        return described

    def _begin(self) -> str:
        if self._address is None:
            blob = self._destination.blob(self._key)
            self._address = str(
                blob.create_resumable_upload_session("application/octet-stream", checksum=None, **ONCE)
            )
        return self._address

    def _request(self, address: str, data: memoryview, total: int | None) -> Any:
        """What the store says of the object; None when it waits for more, then `_sent` is what it has."""
        span = f"{self._sent}-{self._sent + len(data) - 1}" if data else "*"
        answer = self._destination.session.put(
            address,
            data=data,
            headers={"Content-Range": f"bytes {span}/{'*' if total is None else total}"},
            allow_redirects=False,
            timeout=ONCE["timeout"],
        )
        if answer.status_code == HTTPStatus.PERMANENT_REDIRECT:
            stored = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
            self._sent = int(stored[1]) + 1 if stored else 0
            return None
        if answer.status_code in _GONE:
            what = f"the store dropped the upload after {self._sent} bytes"
            raise self._destination.error("DestinationFailed", self._key, what)
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise from_http_response(answer)
        return json.loads(answer.content)
