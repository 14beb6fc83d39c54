"""Which fields of a spec are set whose behaviour is not built yet: they are refused, never ignored."""

from collections.abc import Callable, Iterable

from holdfast.api.base import Model
from holdfast.api.policy import BackupPolicySpec
from holdfast.api.restore import RestoreRequestSpec
from holdfast.api.target import RestoreTarget, Target
from holdfast.engines.engine import Engine
from holdfast.engines.registry import ENGINES


def policy_not_supported_yet(spec: BackupPolicySpec) -> list[str]:
    """The paths below a policy's spec of what is not supported yet, with the value where others are."""
    whole = {
        "verification.mode: Restore (the default; set verification.mode: Checksum)": spec.verification
        is not None
        and spec.verification.mode == "Restore",
        "objectives": spec.objectives,
        "notifications": spec.notifications,
    }
    paths = [path for path, value in whole.items() if _is_set(value)]
    return paths + _targets(spec.targets, lambda engine, section: engine.not_supported_yet(section))


def restore_not_supported_yet(spec: RestoreRequestSpec) -> list[str]:
    """The paths below a restore request's spec of what is not supported yet."""
    paths = [] if spec.point_in_time is None else ["pointInTime"]
    if spec.mode != "New":
        paths.append(f"mode: {spec.mode}")
    return paths + _targets(spec.targets, lambda engine, section: engine.restore_not_supported_yet(section))


def _is_set(value: object) -> bool:
    # A model that is there counts, even an empty one; an empty list and False do not.
    return isinstance(value, Model) or bool(value)


def _targets(
    targets: Iterable[Target | RestoreTarget], not_supported_yet: Callable[[Engine, Model], list[str]]
) -> list[str]:
    paths: list[str] = []
    for target in targets:
        at = f"targets[{target.name}].{target.engine}"
        fields = not_supported_yet(ENGINES[target.engine], target.engine_spec)
        # An engine that is missing as a whole names itself.
        paths += [at if field == target.engine else f"{at}.{field}" for field in fields]
    return paths
