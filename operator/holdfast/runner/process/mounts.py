"""Where the pod's Secrets and volumes are: the folders below HOLDFAST_ROOT (see `holdfast.protocol`)."""

import os
from dataclasses import dataclass
from pathlib import Path

from holdfast.protocol import DEFAULT_ROOT, ROOT_VARIABLE


@dataclass(frozen=True)
class Mounts:
    """The mounts below one root folder."""

    root: Path

    @classmethod
    def from_environment(cls) -> "Mounts":
        """The mounts of this process."""
        return cls(Path(os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT)))

    @property
    def scratch(self) -> Path:
        """A folder that vanishes with the pod."""
        return self.root / "scratch"

    def source(self, folder: str) -> Path:
        """A Secret that the engine asked for."""
        return self.root / "source" / folder

    @property
    def identity(self) -> Path:
        """The identities that decrypt a backup; a restore alone has them."""
        return self.root / "identity" / "identity"

    def destination(self, name: str, folder: str) -> Path:
        """What a destination asked for."""
        return self.root / "destinations" / name / folder


def missing_key(file: Path, secret: str) -> tuple[str, str]:
    """Reason and words for a key of a Secret that is no file: the pod starts without the Secret too."""
    # What begins with two dots is the kubelet's own.
    if file.parent.is_dir() and any(not entry.name.startswith("..") for entry in file.parent.iterdir()):
        return "SecretKeyNotFound", f"Secret {secret} has no key {file.name}"
    return "SecretNotFound", f"this namespace has no Secret {secret} with a key {file.name}"
