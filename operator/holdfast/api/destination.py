"""A destination: where copies of a policy's backups are stored, its quota, and rules of its own."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import DnsLabel, Model, Quantity, with_sections
from holdfast.api.retention import Retention
from holdfast.destinations.destination import DestinationSpec
from holdfast.destinations.registry import DESTINATIONS

Place = tuple[str | None, ...]
"""What tells one place from another."""


class Location(Model):
    """Where backups are stored: a bucket or a volume."""

    exactly_one: ClassVar[tuple[str, ...]] = tuple(DESTINATIONS)
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {
        name: () for name, section in DESTINATIONS.items() if not section.is_built
    }

    @property
    def kind(self) -> str:
        """The name of the section that is set."""
        return next(name for name in self.exactly_one if getattr(self, name) is not None)

    @property
    def spec(self) -> DestinationSpec:
        """The section that is set."""
        spec = getattr(self, self.kind)
        assert isinstance(spec, DestinationSpec)
        return spec

    @property
    def place(self) -> Place:
        """Where it points, whatever the destination's name and credentials are."""
        return self.kind, *self.spec.identity()


if not TYPE_CHECKING:
    Location = with_sections(Location, DESTINATIONS)


class Quota(Model):
    """How much a policy may store in a destination."""

    size: Quantity
    """The quota in bytes, such as `500Gi`. If a destination is at its quota when a run starts, the run is
    not written there. If that destination is required, the run fails."""
    warn_at_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """The policy warns when a destination holds this percentage of the size or more."""


class Destination(Location):
    """A named bucket or volume that every run of the policy is stored in."""

    name: DnsLabel
    """The destination's name. It is unique in the list."""
    required: bool = True
    """What happens if this destination fails. True: the run fails. False: the run becomes PartiallySucceeded,
    and the commit of a later run makes the missing copy."""
    quota: Quota | None = None
    """How much the policy may store here."""
    retention: Retention | None = None
    """Which runs are kept here. This section replaces the policy's retention as a whole."""
