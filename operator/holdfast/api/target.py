"""A target of a policy or a restore request: a name and the section of exactly one registered engine."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from holdfast.api.base import DnsLabel, Model, with_sections
from holdfast.engines.registry import ENGINES

_RESTORABLE = {name: engine for name, engine in ENGINES.items() if engine.restore_spec is not Model}


_UNBUILT: Mapping[str, tuple[object, ...]] = {
    name: () for name, engine in ENGINES.items() if not engine.is_built
}
Percent = Annotated[int, Field(ge=0, le=100)]


class _EngineChoice(Model):
    name: DnsLabel
    """The target's name. It is unique in the list and part of the path of stored objects."""

    @property
    def engine(self) -> str:
        """The name of the engine whose section is set."""
        return next(name for name in self.exactly_one if getattr(self, name) is not None)

    @property
    def engine_spec(self) -> Model:
        """The section that is set: the engine's `target_spec` or `restore_spec`."""
        spec = getattr(self, self.engine)
        assert isinstance(spec, Model)
        return spec


class TargetContentAlarm(Model):
    """Not built yet: a policy with this section is not ready. It replaces the policy's contentAlarm."""

    max_drop_percent: Percent
    """How much less than in the run before a count may be, in percent. 0: no alarm."""


class Target(_EngineChoice):
    """One data store that is backed up."""

    exactly_one: ClassVar[tuple[str, ...]] = tuple(ENGINES)
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = {
        **_UNBUILT,
        "content_alarm": (),
    }

    on_omission: Literal["Warn", "Fail"] = "Warn"
    """What happens if something of the source cannot be in the backup. Warn: the run has a warning. Fail: the
    target fails, and its backup is not kept."""
    content_alarm: TargetContentAlarm | None = None


class RestoreTarget(_EngineChoice):
    """One target that is restored, where it is restored to, and which part of it is restored."""

    exactly_one: ClassVar[tuple[str, ...]] = tuple(_RESTORABLE)
    unbuilt: ClassVar[Mapping[str, tuple[object, ...]]] = _UNBUILT


if not TYPE_CHECKING:
    Target = with_sections(Target, {name: engine.target_spec for name, engine in ENGINES.items()})
    RestoreTarget = with_sections(
        RestoreTarget, {name: engine.restore_spec for name, engine in _RESTORABLE.items()}
    )
