"""Requests to the tests' API server as its administrator, over one kept connection."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

_KEPT_SECONDS = 30
"""A connection that was idle for longer is made anew: the server closes it sooner or later."""


class ApiServerError(Exception):
    """A server did not start or an answer was not a success."""


class ApiClient:
    """Sends one request at a time, from any thread."""

    def __init__(
        self, connect: Callable[[], http.client.HTTPSConnection], authorization: Mapping[str, str]
    ) -> None:
        self._connect = connect
        self._authorization = authorization
        self._connection: http.client.HTTPSConnection | None = None
        self._used = 0.0
        self._lock = threading.Lock()

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status code and parsed answer."""
        patch = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {**self._authorization, "Content-Type": patch, **(headers or {})}
        with self._lock:
            response, text = self._exchange(method, path, None if body is None else json.dumps(body), sent)
        is_json = (response.headers.get_content_type() or "").endswith("json")
        return response.status, json.loads(text) if is_json else text.decode()

    def must(self, method: str, path: str, body: Any = None) -> Any:
        """`request`, raising ApiServerError for an answer that is not a success."""
        status, answer = self.request(method, path, body)
        if not 200 <= status < 300:
            raise ApiServerError(f"{method} {path}: {status} {answer}")
        return answer

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(
        self, method: str, path: str, body: str | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        if time.monotonic() - self._used > _KEPT_SECONDS:
            self.close()
        self._used = time.monotonic()
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response, response.read()
        except (http.client.HTTPException, OSError):
            self.close()
            raise
