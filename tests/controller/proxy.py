"""Stands between the operator and the API server, counts what is written, and breaks what it is told to."""

import asyncio
import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from tests.apiserver import ApiServer

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class Request:
    """What the operator asks for."""

    method: str
    path: str
    watch: bool
    body: bytes

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method in WRITES


Passes = Callable[[], Awaitable[web.StreamResponse]]
Treatment = Callable[[Request, Passes], Awaitable[web.StreamResponse]]
"""What becomes of a request; awaiting the second argument lets it pass and gives the answer."""


async def pass_on(_: Request, passes: Passes) -> web.StreamResponse:
    """Without any fault."""
    return await passes()


def refuse(status: int, reason: str) -> web.Response:
    """An answer of the API server that is a failure."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason}
    return web.json_response(body | {"message": f"injected {reason}"}, status=status)


class ApiProxy:
    """Plain HTTP on loopback, TLS behind it. Set `treatment` at any time."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.treatment: Treatment = pass_on
        self.rewrite: Callable[[Request], bytes] = lambda request: request.body
        """What of a request's body the API server gets."""
        self.requests: list[Request] = []
        self.answered_bytes: Counter[str] = Counter()
        """By path: of the answers that were passed on."""
        self.refused: list[tuple[Request, int]] = []
        """Requests that the API server itself answered with a failure."""
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, by way of the proxy."""
        return self.through(self._server.kubeconfig)

    def through(self, kubeconfig: Path) -> Path:
        """The same as `kubeconfig`, by way of the proxy."""
        config = json.loads(kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{self.port}"}
        path = self._server.folder / f"{kubeconfig.stem}-{self.port}.kubeconfig"
        path.touch(0o600)
        path.write_text(json.dumps(config))
        return path

    async def _start(self) -> None:
        context = ssl.create_default_context(cafile=str(self._server.certificate))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        application = web.Application(client_max_size=1 << 24)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        request = Request(
            incoming.method,
            incoming.path,
            incoming.query.get("watch") in ("true", "1"),
            await incoming.read(),
        )
        self.requests.append(request)

        async def passes() -> web.StreamResponse:
            answer = await self._forward(incoming, self.rewrite(request))
            if answer.status >= 400:
                self.refused.append((request, answer.status))
            return answer

        return await self.treatment(request, passes)

    async def _forward(self, incoming: web.Request, body: bytes) -> web.StreamResponse:
        headers: dict[str, Any] = {"Accept-Encoding": "identity"} | {
            name: incoming.headers[name]
            for name in ("Authorization", "Content-Type", "Accept")
            if name in incoming.headers
        }
        url = self._server.url + incoming.path_qs
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.request(
            incoming.method, url, headers=headers, data=body or None, timeout=timeout
        ) as answer:
            outgoing = web.StreamResponse(status=answer.status)
            outgoing.content_type = answer.content_type
            with contextlib.suppress(ConnectionError):  # the operator is gone, or wants no more of a watch
                await outgoing.prepare(incoming)
                async for block in answer.content.iter_any():
                    self.answered_bytes[incoming.path] += len(block)
                    await outgoing.write(block)
                await outgoing.write_eof()
            return outgoing
