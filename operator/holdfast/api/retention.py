"""Retention: how many runs are kept, of a policy or in one destination."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from holdfast.api.base import Model

_Keep = Annotated[int, Field(ge=0, le=10000)]


class Retention(Model):
    """Which runs are kept. A run is kept if any rule keeps it. If no number is above 0, every run is kept."""

    # A newer release may have rules that keep more: whoever passes over one deletes what it keeps.
    model_config = ConfigDict(extra="allow")
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {"verified_by": ("Restore",)}

    keep_last: _Keep | None = None
    """How many of the newest runs to keep."""
    keep_hourly: _Keep | None = None
    """For how many hours the newest run of the hour is kept. Hours without a run do not count."""
    keep_daily: _Keep | None = None
    """For how many days the newest run of the day is kept. Days without a run do not count."""
    keep_weekly: _Keep | None = None
    """For how many weeks the newest run of the week is kept. Weeks without a run do not count."""
    keep_monthly: _Keep | None = None
    """For how many months the newest run of the month is kept. Months without a run do not count."""
    keep_yearly: _Keep | None = None
    """For how many years the newest run of the year is kept. Years without a run do not count."""
    verified_by: Literal["Any", "Restore"] = "Any"
    """Which runs are verified ones for minVerified. Any: those that a verification of any mode passed. Not
    built yet: Restore. Restore: those that a drill restored."""
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest verified runs to keep in any case. 0 means the same as 1: the newest verified
    run is always kept."""
    dry_run: bool = False
    """While true, the status shows the plan and nothing is deleted."""

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """The fields that this release does not know."""
        return tuple(sorted(self.model_extra or ()))
