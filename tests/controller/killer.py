"""Kills the operator at each of its writes, before or after it is done."""

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web
from tests.controller.client import wait_for
from tests.controller.process import Operator
from tests.controller.proxy import Passes, Request

Moment = Literal["before", "after"]
"""Whether the write is lost with the operator, or done and only its answer lost."""


def identity(request: Request) -> str:
    """The same for the same write when it is repeated after a kill."""
    body = json.loads(request.body) if request.body else {}
    status = body.get("status") or {}
    targets = "".join(f" {t['name']}={t['phase']}{t.get('copyState', '')}" for t in status.get("targets", []))
    name = body.get("metadata", {}).get("name", "")
    verified = (status.get("verification") or {}).get("phase", ""), status.get("lastVerifiedTime", "")
    handled = " ".join((*verified, status.get("verificationHandled", "")))
    return f"{request.method} {request.path} {name} {status.get('phase', '')}{targets} {handled}"


@dataclass
class KillAtEachWrite:
    """Kills the operator at every write that it has not been killed at before."""

    operator: Operator
    moment: Moment
    killed_at: list[str] = field(default_factory=list)
    dead: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, request: Request, passes: Passes) -> web.StreamResponse:
        if self.dead.is_set():
            return web.Response(status=503)  # what was under way beside the write that was hit
        if not request.writes or identity(request) in self.killed_at:
            return await passes()
        self.killed_at.append(identity(request))
        self.dead.set()
        answer = web.Response(status=503)
        if self.moment == "after":
            await passes()
        await asyncio.to_thread(self.operator.kill)
        return answer

    def until(self, over: Callable[[], bool], seconds: float = 180) -> None:
        """Start the operator anew after each death, until it lives and `over` says that all is done."""
        while True:
            wait_for("the operator's death or the end", lambda: not self.operator.running or over(), seconds)
            if self.operator.running:
                return
            assert self.dead.is_set(), "the operator ended by itself"
            assert len(self.killed_at) < 60, f"every repetition writes something new: {self.killed_at[-3:]}"
            over()
            self.dead.clear()
            self.operator.start()
