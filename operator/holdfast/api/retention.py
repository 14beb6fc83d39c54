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
    """For how many hours the newest run is kept. Only hours with a run count."""
    keep_daily: _Keep | None = None
    """For how many days the newest run is kept. Only days with a run count."""
    keep_weekly: _Keep | None = None
    """For how many weeks the newest run is kept. Only weeks with a run count."""
    keep_monthly: _Keep | None = None
    """For how many months the newest run is kept. Only months with a run count."""
    keep_yearly: _Keep | None = None
    """For how many years the newest run is kept. Only years with a run count."""
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest verified runs to keep in any case. The newest verified run is kept even with
    0."""
    dry_run: bool = False
    """While true, the status shows the plan and nothing is deleted."""
