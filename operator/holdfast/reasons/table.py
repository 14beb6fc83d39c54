"""The one table of all reasons and conditions, from which docs/reference is generated and tests are made."""

from importlib import import_module
from importlib.util import find_spec

from holdfast.engines.registry import ENGINES
from holdfast.reasons import destinations, jobs, policies, restores, runs, stores
from holdfast.reasons.reason import ConditionType, Group, Reason

CONDITIONS: tuple[ConditionType, ...] = (*policies.CONDITIONS, *runs.CONDITIONS, *restores.CONDITIONS)


def _engine_groups() -> tuple[Group, ...]:
    """Those of every engine that has a module `reasons`."""
    names = [f"holdfast.engines.{name}.reasons" for name in ENGINES]
    return tuple(group for name in names if find_spec(name) for group in import_module(name).GROUPS)


GROUPS: tuple[Group, ...] = (
    *policies.GROUPS,
    *runs.GROUPS,
    *restores.GROUPS,
    *jobs.GROUPS,
    *destinations.GROUPS,
    *stores.GROUPS,
    *_engine_groups(),
)
REASONS: dict[str, Reason] = {reason.name: reason for group in GROUPS for reason in group.reasons}
