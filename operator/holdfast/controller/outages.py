"""Say once that a kind of request fails, however often it is repeated and for however many objects."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.controller.errors import (
    MAX_RETRY_PAUSE,
    ApiError,
    ForbiddenError,
    NamespaceTerminatingError,
    TransientError,
)

QUIET = 2 * MAX_RETRY_PAUSE
"""Seconds without a failure after which a success ends an outage."""
_MAX_KNOWN = 1000
_log = logging.getLogger(__name__)


@dataclass
class _Outage:
    began: float
    last: float
    failures: int = 1


class Outages:
    """By kind of request; what is forbidden, by kind and namespace, because roles are granted so."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[str, _Outage] = OrderedDict()

    def failed(self, method: str, path: str, error: ApiError) -> None:
        """A request has failed. Only what may succeed later without a change of the request counts."""
        if isinstance(error, NamespaceTerminatingError):
            return
        if isinstance(error, ForbiddenError):
            kind = _kind(method, path, by_namespace=True)
        elif isinstance(error, TransientError):
            kind = _kind(method, path)
        else:
            return
        now, outage = self._monotonic(), self._known.get(kind)
        if outage is not None:
            outage.last, outage.failures = now, outage.failures + 1
            return
        self._known[kind] = _Outage(now, now)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        _log.warning("%s fails. It is retried, and logged when it works again. %s", kind, error)

    def succeeded(self, method: str, path: str) -> None:
        """A request has succeeded."""
        if not self._known:
            return
        for kind in (_kind(method, path), _kind(method, path, by_namespace=True)):
            outage = self._known.get(kind)
            if outage is not None and self._monotonic() - outage.last >= QUIET:
                del self._known[kind]
                seconds = outage.last - outage.began
                _log.warning("%s works again: it failed %d times in %.0f s", kind, outage.failures, seconds)


def _kind(method: str, path: str, *, by_namespace: bool = False) -> str:
    """What the request does with which kind of object, without names."""
    parts = path.partition("?")[0].strip("/").split("/")
    parts = parts[2 if parts[0] == "api" else 3 :]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    kind = f"{method} {'/'.join([parts[0], *parts[2:]])}"
    return f"{kind} in namespace {namespace or '(all)'}" if by_namespace else kind
