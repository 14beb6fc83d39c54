"""A destination: where copies of a policy's backups are stored."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import DnsLabel, Model, Quantity, with_sections
from holdfast.destinations.destination import DestinationSpec
from holdfast.destinations.registry import DESTINATIONS


class Location(Model):
    """Where backups are stored: a bucket or a volume."""

    exactly_one: ClassVar[tuple[str, ...]] = tuple(DESTINATIONS)

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
    def place(self) -> tuple[str | None, ...]:
        """What tells one place from another, whatever the destination's name and credentials are."""
        return self.kind, *self.spec.identity()


if not TYPE_CHECKING:
    Location = with_sections(Location, DESTINATIONS)


class Quota(Model):
    """How much a policy may store in a destination."""

    size: Quantity
    """The quota in bytes, such as `500Gi`. A run is not written to a destination that is at its quota."""
    warn_at_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """The policy warns from this percentage of the size on."""


_Keep = Annotated[int, Field(ge=0, le=10000)]


class Retention(Model):
    """Which runs are kept. A run is kept if any rule keeps it. If no number is above 0, every run is kept."""

    keep_last: _Keep | None = None
    """How many of the newest runs to keep."""
    keep_hourly: _Keep | None = None
    """Keep the newest run of an hour, for this many hours that have a run."""
    keep_daily: _Keep | None = None
    """Keep the newest run of a day, for this many days that have a run."""
    keep_weekly: _Keep | None = None
    """Keep the newest run of a week, for this many weeks that have a run."""
    keep_monthly: _Keep | None = None
    """Keep the newest run of a month, for this many months that have a run."""
    keep_yearly: _Keep | None = None
    """Keep the newest run of a year, for this many years that have a run."""
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest verified runs to keep in any case. The newest one is always kept."""
    dry_run: bool = False
    """While true, the status shows the plan and nothing is deleted."""


class Destination(Location):
    """A named bucket or volume that every run of the policy is stored in."""

    name: DnsLabel
    """The destination's name. It is unique in the list."""
    required: bool = True
    """True: a failure of this destination fails the run. False: the run becomes PartiallySucceeded, and a
    later run makes the missing copy."""
    quota: Quota | None = None
    """How much the policy may store here."""
    retention: Retention | None = None
    """Which runs are kept here. It replaces the policy's retention."""
