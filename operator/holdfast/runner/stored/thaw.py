"""Waits until archived objects are thawed, before anything at a restore's target is touched."""

import logging
import time
from collections.abc import Iterable

from holdfast.api.text import human_seconds
from holdfast.protocol import Note
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.progress import Meter

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 1.0
_MAX_PAUSE = 300.0
"""Seconds. A store tells nobody when an object is thawed: it has to be asked."""


def thaw(source: Destination, keys: Iterable[str], meter: Meter) -> tuple[Note, ...]:
    """Have every archived object of `keys` thawed and wait until all are, as long as the Job may run.

    Returns what is to be reported: nothing when all can be read at once.
    """
    began, pause, every = time.monotonic(), _FIRST_PAUSE, 0
    classes: set[str] = set()
    waiting = list(keys)
    while True:
        frozen = [(key, state) for key in waiting if (state := source.archived(key)) is not None]
        if not frozen:
            break
        every = every or len(frozen)
        classes |= {state.storage_class for _, state in frozen}
        for key, state in frozen:
            if not state.thawing:
                _log.info("thawing %s from %s", source.uri(key), state.storage_class)
                source.thaw(key)
        names = ", ".join(sorted(classes))
        meter.step(f"thawing {len(frozen)} of {every} objects from {names}, which takes 3 to 48 hours")
        time.sleep(pause)
        waiting, pause = [key for key, _ in frozen], min(2 * pause, _MAX_PAUSE)
    if not every:
        return ()
    waited = human_seconds(int(time.monotonic() - began))
    message = (
        f"destination {source.name}: {every} objects were thawed from {', '.join(sorted(classes))} first"
    )
    return (Note(reason="Thawed", message=f"{message}, which took {waited}"),)
