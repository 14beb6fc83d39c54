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
    """The number of hours from which a run is kept: the newest run of each hour. Hours without a run do not
    count."""
    keep_daily: _Keep | None = None
    """The number of days from which a run is kept: the newest run of each day. Days without a run do not
    count."""
    keep_weekly: _Keep | None = None
    """The number of weeks from which a run is kept: the newest run of each week. Weeks without a run do not
    count."""
    keep_monthly: _Keep | None = None
    """The number of months from which a run is kept: the newest run of each month. Months without a run do
    not count."""
    keep_yearly: _Keep | None = None
    """The number of years from which a run is kept: the newest run of each year. Years without a run do not
    count."""
    min_verified: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest verified runs to keep in any case. The newest verified run is kept even with
    0."""
    dry_run: bool = False
    """While true, the status shows the plan and nothing is deleted."""
