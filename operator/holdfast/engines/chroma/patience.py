"""Tells that one thing on a server cannot be read from a server that does not answer for a while.

Chroma answers 500 while its SQLite is locked or its disk is full, and a proxy answers 429 or 503 while it
has too much to do: both pass. So a thing is given up only when it goes on failing while the server does
something else, or when the server has died of it.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from holdfast.engines.chroma.client import AwayError, BusyError, Client, ServerFailedError
from holdfast.engines.transfer import SourceError

_PERSISTENCE = 30
"""For how many seconds a thing must fail before it is given up, where no proxy or limit is to blame."""
_PAUSE = 0.2
_MAX_PAUSE = 2

Answer = TypeVar("Answer")
Failure = AwayError | ServerFailedError


class GivenUpError(SourceError):
    """The server fails at, or dies of, something that it is asked for, and would again."""


class Patience:
    """Asks for one thing until it is there, or it is known that it cannot be read."""

    def __init__(self, client: Client, ask_beside: Callable[[], object]) -> None:
        """`ask_beside` asks the server for something else."""
        self._client, self._ask_beside = client, ask_beside
        self._proven: set[type[Exception]] = set()

    def forget(self) -> None:
        """Wait again for what was given up."""
        self._proven.clear()

    def ask(
        self, act: Callable[[], Answer], on_death: Callable[[Failure], None] = lambda error: None
    ) -> Answer:
        """What `act` returns. After it was given up once, a failure of the same kind is not waited for.

        `on_death` hears that the server broke off and was away; it may raise GivenUpError. Raises
        GivenUpError, and what `act` raises when the server does nothing else either.
        """
        failing, pause = 0.0, _PAUSE
        while True:
            began = time.monotonic()
            try:
                return act()
            except (AwayError, ServerFailedError) as error:
                failing += time.monotonic() - began
                if self.died(error):
                    on_death(error)
                else:
                    self._weigh(error, failing)
            time.sleep(pause)
            failing += pause
            pause = min(2 * pause, _MAX_PAUSE)

    def died(self, error: Exception) -> bool:
        """Whether the server broke off and was away; it is back now. A status is no death, whatever it says.

        Raises AwayError when it does not come back.
        """
        was_away = self._client.wait()
        return was_away and isinstance(error, AwayError) and not isinstance(error, BusyError)

    def _weigh(self, error: Failure, failing: float) -> None:
        said = error.said if isinstance(error, ServerFailedError) else error.message
        if type(error) not in self._proven:
            if failing < (self._client.patience if isinstance(error, BusyError) else _PERSISTENCE):
                return
            if not self._does_something_else():
                if failing > self._client.patience:
                    raise error
                return
        self._proven.add(type(error))
        raise GivenUpError(error.reason, said) from error

    def _does_something_else(self) -> bool:
        try:
            self._ask_beside()
        except (AwayError, ServerFailedError):
            return False
        return True
