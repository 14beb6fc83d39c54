"""The destinations that a Job works with: those that answer, and the optional ones that failed."""

import logging
from collections.abc import Callable, Sequence

from holdfast.api.destination import Destination as Specification
from holdfast.engines.transfer import TransferError
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter

_log = logging.getLogger(__name__)


class LiveDestinations:
    """Those that the Job still works with. A required one that fails fails the Job."""

    def __init__(self, destinations: Sequence[Destination]) -> None:
        self.live = list(destinations)
        self.missing: dict[str, str] = {}
        """By optional destination that failed: why, without its name."""

    @classmethod
    def connect(
        cls, specifications: Sequence[Specification], mounts: Mounts, meter: Meter | None = None
    ) -> "LiveDestinations":
        """The destinations, without optional ones that cannot even be set up."""
        connected: list[Destination] = []
        failed: list[tuple[Specification, TransferError]] = []
        for specification in specifications:
            try:
                connected.append(connect(specification, mounts, meter))
            except TransferError as failure:
                failed.append((specification, failure))
        destinations = cls(connected)
        for specification, error in failed:
            destinations.drop(specification.name, error, required=specification.required)
        return destinations

    def drop(self, destination_name: str, error: TransferError, *, required: bool) -> None:
        """Go on without a destination. Raises `error` when it is required or was the last one."""
        self.live = [destination for destination in self.live if destination.name != destination_name]
        if required or not self.live:
            raise error
        _log.warning("going on without optional destination: %s", error.message)
        why = error.message.removeprefix(f"destination {destination_name}").removeprefix(":").strip()
        self.missing.setdefault(destination_name, why)

    def for_all(
        self, action: Callable[[Destination], None], chosen: Sequence[Destination] | None = None
    ) -> None:
        """Do `action` in every live destination, or in those `chosen`, and drop those that fail."""
        for destination in list(self.live if chosen is None else chosen):
            try:
                action(destination)
            except TransferError as error:
                self.drop(destination.name, error, required=destination.required)
