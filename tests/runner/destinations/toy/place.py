"""The toy as a place of the tests' Jobs."""

from dataclasses import dataclass
from pathlib import Path

from holdfast.api.destination import Destination


@dataclass(frozen=True)
class ToyPlace:
    """A box inside the runner's root."""

    def destination(self, name: str, *, required: bool = True, prefix: str | None = None) -> Destination:
        """The box as a destination."""
        toy = {"claim": "toys", "shelf": prefix, "key_secret": {"name": "toy-key"}}
        return Destination.model_validate({"name": name, "required": required, "toy": toy})

    def mount(self, folder: Path) -> None:
        """Make the mount points."""
        (folder / "box").mkdir(parents=True, exist_ok=True)
        (folder / "key").mkdir(exist_ok=True)
        (folder / "key/key").write_text("open")
