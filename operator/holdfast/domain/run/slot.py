"""Whether an object that has the name of a slot's run is this run. Pure."""

from holdfast.api.base import format_time
from holdfast.api.run import BackupRun
from holdfast.domain.rows import is_imported

_SCHEDULED = ("Schedule", "CatchUp")


def why_foreign(there: BackupRun, wanted: BackupRun) -> str | None:
    """Why it is not, None where it is: somebody may have made it by hand, or a copy of the cluster did."""
    spec, wanted_spec = there.spec, wanted.spec
    if spec.policy_ref != wanted_spec.policy_ref:
        return f"it belongs to policy {spec.policy_ref.name}"
    if spec.trigger not in _SCHEDULED and not is_imported(there):
        return f"its trigger is {spec.trigger}"
    if spec.targets is not None:
        return f"its spec.targets has only {', '.join(spec.targets)}"
    if spec.scheduled_time != wanted_spec.scheduled_time:
        return f"its slot is {format_time(spec.scheduled_time) if spec.scheduled_time else 'none'}"
    return None
