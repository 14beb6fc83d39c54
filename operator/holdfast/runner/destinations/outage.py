"""Waits for a store that is away: what was asked of it is asked again, for ten minutes."""

import os
import time
from http import HTTPStatus

from holdfast.protocol import OUTAGE_VARIABLE, WAITS
from holdfast.runner.process.progress import Meter

BUSY = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""What a store, or a proxy before it, answers that is away or too busy."""
LONG = 660.0
"""Seconds. A store that is away for ten minutes costs the time alone: the last attempt comes after them."""
SHORT = 120.0
"""Seconds, where somebody waits for the answer or a later Job makes good what this one lacks."""
_FIRST_PAUSE = 0.2
_MAX_PAUSE = 10.0


class Patience:
    """How long a Job waits for one destination that is away. It tells the meter what the Job waits for.

    Once it has ended, nothing waits again until the destination has answered.
    """

    def __init__(self, name: str, *, required: bool, meter: Meter | None = None) -> None:
        self.name = name
        self.meter = meter
        self.has_ended = False
        # A later commit heals what an optional destination lacks: the source and the others wait less for it.
        self.last(LONG if required else SHORT)

    def last(self, seconds: float) -> None:
        """Have it end after another time."""
        self.seconds = float(os.environ.get(OUTAGE_VARIABLE, seconds))


class Outage:
    """The wait of one request, or of one stream; it may go through several outages."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._began: float | None = None
        self._pause = _FIRST_PAUSE

    def wait(self, why: str) -> bool:
        """Pause before the request is made again; False when the destination was waited for long enough."""
        patience, now = self._patience, time.monotonic()
        if self._began is None:
            self._began, self._pause = now, _FIRST_PAUSE
        left = self._began + patience.seconds - now
        if left <= 0 or patience.has_ended:
            patience.has_ended = True
            self._resume()
            return False
        if patience.meter is not None:
            waited = int(now - self._began)
            text = f"{WAITS}{patience.name} for {waited} s: {why}"
            patience.meter.wait(self, text)
        time.sleep(min(self._pause, left))
        self._pause = min(2 * self._pause, _MAX_PAUSE)
        return True

    def end(self) -> None:
        """The destination has answered."""
        self._patience.has_ended = False
        self._resume()

    def _resume(self) -> None:
        if self._began is not None and self._patience.meter is not None:
            self._patience.meter.resume(self)
        self._began = None
