"""For how long the API server has refused something: it is believed only when that lasts.

A role, a quota or an admission policy may be on its way, and an authorizer may be away for a moment.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from holdfast.controller.errors import MAX_RETRY_PAUSE

_FORGOTTEN_AFTER = 2.5 * MAX_RETRY_PAUSE
"""Seconds."""
_MAX_KNOWN = 5000


class _Refused(NamedTuple):
    request: str
    since: float
    last: float


class Refusals:
    """By who asks, the request that was refused last. After a restart nothing is known."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Refused] = OrderedDict()

    def lasts(self, asker: Hashable, request: str, now: float, seconds: float) -> bool:
        """Note that a request is refused; returns whether it has been for so long."""
        before = self._known.pop(asker, None)
        same = before is not None and before.request == request and now - before.last < _FORGOTTEN_AFTER
        since = before.since if before is not None and same else now
        self._known[asker] = _Refused(request, since, now)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return now - since >= seconds

    def end(self, asker: Hashable) -> None:
        """Nothing is refused any more."""
        self._known.pop(asker, None)
