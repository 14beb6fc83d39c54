"""A destination: where copies of a policy's backups are stored."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from holdfast.api.base import DnsLabel, Model, Quantity, with_sections
from holdfast.destinations.destination import DestinationSpec
from holdfast.destinations.registry import DESTINATIONS


class Location(Model):
    """A place that holds backups: a bucket or a volume."""

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
    """How much a policy may store in a destination before a warning, and before nothing is added."""

    size: Quantity
    """Bytes from which on no run is written there, such as `500Gi`."""
    warn_at_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Percent of the size from which on there is a warning."""


_Keep = Annotated[int, Field(ge=0, le=10000)]


class Retention(Model):
    """Which runs are kept; the union of all rules. Without a number above 0 everything is kept."""

    keep_last: _Keep | None = None
    """How many of the newest runs are kept."""
    keep_hourly: _Keep | None = None
    """For how many hours the newest run of each is kept."""
    keep_daily: _Keep | None = None
    """For how many days the newest run of each is kept."""
    keep_weekly: _Keep | None = None
    """For how many weeks the newest run of each is kept."""
    keep_monthly: _Keep | None = None
    """For how many months the newest run of each is kept."""
    keep_yearly: _Keep | None = None
    """For how many years the newest run of each is kept."""
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest verified runs are kept whatever the other rules say; one always is."""
    dry_run: bool = False
    """While true the plan is shown in the status, and nothing is deleted."""


class Destination(Location):
    """A named location that every run of the policy is copied to."""

    name: DnsLabel
    """Unique among the destinations."""
    required: bool = True
    """Whether a failure here fails the run; otherwise it is PartiallySucceeded, and healed by a later run."""
    quota: Quota | None = None
    """How much may be stored here."""
    retention: Retention | None = None
    """Which runs are kept here; replaces the policy's retention."""
