"""Whether the loops that everything depends on still turn."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Health:
    """Heartbeats by name, each with the seconds after which its silence is an illness."""

    monotonic: Callable[[], float]
    _limits: dict[str, float] = field(default_factory=dict)
    _beats: dict[str, float] = field(default_factory=dict)

    def expect(self, name: str, within_seconds: float) -> None:
        """From now on `name` has to beat at least that often."""
        self.beat(name)
        self._limits[name] = within_seconds

    def beat(self, name: str) -> None:
        """Say that `name` is alive."""
        self._beats[name] = self.monotonic()

    def silent(self) -> dict[str, float]:
        """Those that have stood still for too long, and for how many seconds."""
        now = self.monotonic()
        limits = dict(self._limits)  # the probe asks from another thread
        ages = {name: now - self._beats[name] for name in limits}
        return {name: age for name, age in ages.items() if age > limits[name]}
