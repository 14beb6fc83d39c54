"""A node's end of pods/exec: the API server is real, and so are the processes; only the container is not.

What a hook runs becomes a process of the test's own machine, with POD in its environment.
"""

import asyncio
import contextlib
import json
import os
import ssl
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests.apiserver import ApiServer
from tests.controller.client import Client

NAME = "with-exec"


@dataclass(frozen=True)
class Command:
    """What was run, and where."""

    namespace: str
    pod: str
    container: str
    words: tuple[str, ...]


class Node:
    """A Node object whose kubelet speaks v4.channel.k8s.io, which the API server passes on as it is."""

    def __init__(self, control_plane: ApiServer, client: Client) -> None:
        self._control_plane = control_plane
        self._client = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._processes: list[asyncio.subprocess.Process] = []
        self.commands: list[Command] = []
        self.drops = 0
        """How many of the next connections are cut before the command has ended."""

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self._client.must("POST", "/api/v1/nodes", {"metadata": {"name": NAME}})
        status = {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        }
        self._client.must("PATCH", f"/api/v1/nodes/{NAME}/status", {"status": status})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.must("DELETE", f"/api/v1/nodes/{NAME}")
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def pod(self, namespace: str, name: str, *, ready: bool = True, **annotations: str) -> None:
        """A pod of the application with containers `app` and `proxy`, running here."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        names = ("app", "proxy")
        spec = {"nodeName": NAME, "containers": [{"name": each, "image": "played"} for each in names]}
        metadata = {"name": name, "labels": {"app": "chatbot"}, "annotations": annotations}
        self._client.must("POST", path, {"metadata": metadata, "spec": spec})
        self.make_ready(namespace, name, ready)

    def make_ready(self, namespace: str, name: str, ready: bool) -> None:
        """Have the pod say whether it is ready."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        containers = [
            {"name": each, "image": "played", "imageID": "played", "ready": ready, "restartCount": 0,
             "state": {"running": {"startedAt": now}}}
            for each in ("app", "proxy")
        ]  # fmt: skip
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": containers,
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        self._client.must("PATCH", path, {"status": status})

    def run_in(self, namespace: str) -> list[Command]:
        """The commands so far that were run in pods of a namespace."""
        return [each for each in self.commands if each.namespace == namespace]

    async def _start(self) -> int:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate = self._control_plane.certificate
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        application = web.Application()
        application.router.add_get("/exec/{namespace}/{pod}/{container}", self._execute)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        await self._runner.cleanup()

    async def _execute(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        words = tuple(request.query.getall("command"))
        where = request.match_info
        self.commands.append(Command(where["namespace"], where["pod"], where["container"], words))
        with contextlib.suppress(ConnectionError):  # whoever asked has given up
            for channel in (1, 2, 3):
                await socket.send_bytes(bytes([channel]))
            if self.drops:
                self.drops -= 1
            else:
                status = await self._run(socket, words, where["pod"])
                await socket.send_bytes(b"\3" + json.dumps(status).encode())
            await socket.close()
        return socket

    async def _run(self, socket: web.WebSocketResponse, words: tuple[str, ...], pod: str) -> dict[str, Any]:
        """The Status that a kubelet ends with."""
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=os.environ | {"POD": pod},
            )
        except OSError as error:
            return {"status": "Failure", "reason": "InternalError", "message": f"cannot exec: {error}"}
        self._processes.append(process)
        for channel, stream in ((1, process.stdout), (2, process.stderr)):
            assert stream is not None
            async for block in _blocks(stream):
                await socket.send_bytes(bytes([channel]) + block)
        code = await process.wait()
        if code == 0:
            return {"status": "Success"}
        return {
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }


def hook(name: str, *command: str, **fields: Any) -> dict[str, Any]:
    """A hook in the application's pods."""
    selector = {"matchLabels": {"app": "chatbot"}}
    return {"name": name, "podSelector": selector, "command": command or ["true"]} | fields


def until(path: Path) -> tuple[str, ...]:
    """A command that ends once the file is there."""
    return "sh", "-c", f"until [ -e {path} ]; do sleep 0.5; done; echo $POD goes on"


async def _blocks(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while block := await stream.read(4096):
        yield block
