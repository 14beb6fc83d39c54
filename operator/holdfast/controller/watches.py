"""kopf in a thread of its own: when it fails, and its whole loop with it, nothing of ours is cancelled."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

import kopf

from holdfast.controller import handlers
from holdfast.controller.config import Config
from holdfast.controller.health import Health
from holdfast.controller.queue import Key

_PAUSE = 2.0
_STOP_SECONDS = 5.0
_CHATTY = ("kopf._cogs.clients.watching", "kopf._core.reactor.observation")
_log = logging.getLogger(__name__)


class Watches:
    """What kopf sees is handed to `tell`, in the event loop of whoever runs this."""

    def __init__(self, config: Config, health: Health, tell: Callable[[Key], None]) -> None:
        self._config = config
        self._health = health
        self._tell = tell
        self._stop = threading.Event()
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    async def run(self) -> None:
        """Run kopf until cancelled."""
        for name in _CHATTY:
            logging.getLogger(name).addFilter(_is_no_attempt)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def tell(key: Key) -> None:
            loop.call_soon_threadsafe(self._tell, key)

        def turn() -> None:
            try:
                self._run_again_and_again(tell)
            finally:
                loop.call_soon_threadsafe(ended.set)

        thread = threading.Thread(target=turn, name="kopf", daemon=True)
        thread.start()
        try:
            await ended.wait()
        finally:
            self._ask_to_stop()
            thread.join(_STOP_SECONDS)
            if thread.is_alive():
                _log.warning("kopf does not stop, and ends with the process")

    def _run_again_and_again(self, tell: Callable[[Key], None]) -> None:
        """Should it fail, as it does by a 410 in its own watch, it is started again."""
        while not self._stop.is_set():
            try:
                asyncio.run(self._watch(tell))
            except Exception:  # noqa: BLE001 watches are hints: without them the resync goes on
                _log.exception("the watches failed and start again in %.0f s", _PAUSE)
                self._stop.wait(_PAUSE)

    async def _watch(self, tell: Callable[[Key], None]) -> None:
        # An event of this loop: kopf would wait for any other in a thread that holds up the next turn.
        stop = asyncio.Event()
        self._turn = asyncio.get_running_loop(), stop
        if self._stop.is_set():
            return
        await kopf.operator(
            registry=handlers.register(tell, self._health),
            standalone=True,
            clusterwide=not self._config.namespaces,
            namespaces=self._config.namespaces,
            liveness_endpoint=f"http://0.0.0.0:{self._config.liveness_port}/healthz",
            stop_flag=stop,
        )

    def _ask_to_stop(self) -> None:
        self._stop.set()
        if self._turn is not None:
            loop, stop = self._turn
            with contextlib.suppress(RuntimeError):  # the turn has ended
                loop.call_soon_threadsafe(stop.set)


def _is_no_attempt(record: logging.LogRecord) -> bool:
    """kopf logs each attempt of each watch. What lasts is logged when it gives up, and by the cluster."""
    return not record.getMessage().startswith("Request attempt")
