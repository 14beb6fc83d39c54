"""Retention: how many runs are kept, of a policy or in one destination."""

from typing import Annotated

from pydantic import Field

from holdfast.api.base import Model

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
