"""Keeps all pods of the test's API server at hand by a watch, so that nobody has to list them."""

import contextlib
import http.client
import json
import socket
import threading
from types import TracebackType
from typing import Any, Self

from tests.apiserver import ApiServer

_PATH = "/api/v1/pods"


class Pods:
    """A context manager; `current` says what there is."""

    def __init__(self, server: ApiServer) -> None:
        self._headers = server.authorization
        self._connection = server.connect()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()
        self._pods: dict[str, dict[str, Any]] = {}
        self._stop = False
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._connection.connect()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop = True
        with self._lock, contextlib.suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)  # the thread waits for a line
        self._thread.join()
        self._connection.close()

    def current(self) -> list[dict[str, Any]]:
        """As they were a moment ago. Raises what ended the watch."""
        if self._error is not None:
            raise self._error
        with self._lock:
            return list(self._pods.values())

    def _run(self) -> None:
        try:
            while not self._stop:
                self._follow(self._list())
        except BaseException as error:  # noqa: BLE001 raised by `current`
            if not self._stop:
                self._error = error

    def _list(self) -> str:
        found = json.loads(self._get(_PATH).read())
        with self._lock:
            self._pods = {pod["metadata"]["uid"]: pod for pod in found["items"]}
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        """Until the server ends the watch, as it does from time to time."""
        with self._get(f"{_PATH}?watch=true&resourceVersion={version}") as answer:
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                pod = event["object"]
                with self._lock:
                    if event["type"] == "DELETED":
                        self._pods.pop(pod["metadata"]["uid"], None)
                    else:
                        self._pods[pod["metadata"]["uid"]] = pod

    def _get(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
        return answer
