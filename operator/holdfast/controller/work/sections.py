"""The sections of a reconcile, each of which can fail alone."""

import contextlib
import logging
from collections.abc import Iterator

from holdfast.controller.errors import ApiError, log_level
from holdfast.controller.queue import Key

_log = logging.getLogger(__name__)


class Sections:
    """They run one after the other. The failure of one is logged with its name, and the others go on."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._errors: list[Exception] = []

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[None]:
        """What is done inside is the section; if it raises, the rest of it is left out."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 a defect in one section must not stop the others
            is_defect = not isinstance(error, ApiError)
            level = log_level(error)
            _log.log(level, "%s: section %s failed: %s", self._key, name, error, exc_info=is_defect)
            self._errors.append(error)

    def raise_first(self) -> None:
        """Raise what the first section that failed raised, so that the queue retries the key."""
        if self._errors:
            raise self._errors[0]
