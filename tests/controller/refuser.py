"""Refuses each write of the operator by some answers before it lets it pass, also from a kill on."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web
from tests.controller.killer import KillAtEachWrite, identity
from tests.controller.proxy import Passes, Request, refuse

from holdfast.domain.labels import COMPONENT

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
}
NOTHING = 0
"""The write is done, and the connection is cut instead of an answer."""


def write_of(request: Request) -> str:
    """The same for the same write when it is repeated; of a policy also by what its conditions say."""
    status = (json.loads(request.body) if request.body else {}).get("status") or {}
    conditions = [f"{each['type']}={each['reason']}" for each in status.get("conditions", ())]
    survey = status.get("catalogue", {}).get("job", "")
    return " ".join((identity(request), *conditions, str(survey), status.get("lastSuccessfulTime", "")))


def namespace_of(request: Request) -> str:
    """Where it is to change something."""
    return request.path.partition("/namespaces/")[2].partition("/")[0]


@dataclass
class RefuseEachWrite:
    """The writes in each namespace meet the answers of that namespace."""

    answers: dict[str, tuple[int, ...]]
    met: dict[str, Counter[str]] = field(default_factory=dict)
    """By namespace: how often each write was asked for."""
    made: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    """By namespace: how often the API server has made an object of a kind, or of a kind of Job, and name."""

    async def __call__(self, request: Request, passes: Passes) -> web.StreamResponse:
        namespace = namespace_of(request)
        if not request.writes or namespace not in self.answers:
            return await passes()
        met, write = self.met.setdefault(namespace, Counter()), write_of(request)
        met[write] += 1
        if met[write] > len(self.answers[namespace]):
            return await self.let_pass(request, passes)
        code = self.answers[namespace][met[write] - 1]
        if code != NOTHING:
            return refuse(code, REASONS[code])
        await self.let_pass(request, passes)
        raise ConnectionResetError

    async def let_pass(self, request: Request, passes: Passes) -> web.StreamResponse:
        """Without a fault; what is made is counted."""
        answer = await passes()
        if (request.method, answer.status) == ("POST", 201):
            body = json.loads(request.body)
            kind = body["metadata"].get("labels", {}).get(COMPONENT, body["kind"])
            self.made.setdefault(namespace_of(request), Counter())[kind, body["metadata"]["name"]] += 1
        return answer


@dataclass
class KillThenRefuse(KillAtEachWrite):
    """Kills the operator at one write of each namespace; those after it meet that namespace's answers."""

    number: int = 0
    """How many writes of a namespace come before that."""
    refuser: RefuseEachWrite = field(default_factory=lambda: RefuseEachWrite({}))
    seen: dict[str, set[str]] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)

    async def __call__(self, request: Request, passes: Passes) -> web.StreamResponse:
        namespace = namespace_of(request)
        if self.dead.is_set():
            return web.Response(status=503)
        if namespace in self.killed or not request.writes:
            return await self.refuser(request, passes)
        seen = self.seen.setdefault(namespace, set())
        seen.add(write_of(request))
        if len(seen) <= self.number:
            return await self.refuser.let_pass(request, passes)
        self.killed.add(namespace)
        self.dead.set()
        if self.moment == "after":
            await self.refuser.let_pass(request, passes)
        await asyncio.to_thread(self.operator.kill)
        return web.Response(status=503)
