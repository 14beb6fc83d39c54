"""Which fields of a spec are set whose behaviour is not built yet: they are refused, never ignored."""

from collections.abc import Iterator

from holdfast.api.base import Model
from holdfast.api.policy import BackupPolicySpec
from holdfast.api.restore import RestoreRequestSpec


def not_supported_yet(spec: BackupPolicySpec | RestoreRequestSpec) -> list[str]:
    """The paths below a spec of what is not supported yet, with the value where others are."""
    return list(_paths(spec, ""))


def _paths(part: Model, at: str) -> Iterator[str]:
    unbuilt = part.set_but_unbuilt()
    for name, field in type(part).model_fields.items():
        if name in unbuilt:
            yield at + unbuilt[name]
        else:
            yield from _below(getattr(part, name), at + (field.alias or name))


def _below(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Model):
        yield from _paths(value, f"{path}.")
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from _below(part, f"{path}[{getattr(part, 'name', index)}]")
