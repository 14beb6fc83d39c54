"""Reads what an engine's folder says of its image: engines/<engine>/image/image.toml.

The Dockerfile, hack/lock and hack/prerequisites use the files beside it:

    system/install            runs as root in the image, with the variant; what it needs lies beside it
    python/requirements.in    packages besides those of every Job; hack/lock pins them in requirements.txt
    python/server.in          wheels that python/install takes without their dependencies (if it is there)
    python/install            runs after the packages are installed, with their folder (if it is there)
    test-packages             Debian packages of the server that the tests start (if it is there)
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onenode.shell import UserError

DEBIAN = "trixie"
"""The Debian suite of an image that names none, as in the Dockerfile."""


@dataclass(frozen=True)
class Variants:
    """Several images of one engine that differ by a version of its server's programs."""

    help: str
    """Which variants exist, for the command line."""
    tag: str
    """What a variant adds to the image's tag, as `PodNeeds.variant` names it; contains `{variant}`."""
    default: str
    variable: str
    """The environment variable that lists the variants to build, when the command line does not."""
    debian: Mapping[str, str] = field(default_factory=dict)
    """The Debian suite of a variant, where it is not the usual one."""


@dataclass(frozen=True)
class Description:
    """One engine's image. `{variant}` in a text stands for the variant."""

    engine: str
    folder: Path
    title: str
    programs: str = ""
    """A folder of programs that comes first in PATH."""
    variants: Variants | None = None

    def debian(self, variant: str) -> str:
        """The Debian suite that a variant is built on."""
        return self.variants.debian.get(variant, DEBIAN) if self.variants else DEBIAN

    def tag(self, release: str, variant: str) -> str:
        """The image's tag: the release, and behind it what the variant adds."""
        return f"{release}-{self.variants.tag.format(variant=variant)}" if self.variants else release

    def arguments(self, variant: str) -> dict[str, str]:
        """The Dockerfile's build arguments, without those that have nothing to say."""
        every = {
            "DEBIAN": self.debian(variant),
            "ENGINE": self.engine,
            "VARIANT": variant,
            "PROGRAMS": self.programs.format(variant=variant),
            "TITLE": self.title.format(variant=variant),
        }
        return {name: value for name, value in every.items() if value}


def descriptions(root: Path) -> list[Description]:
    """The images that the engines below `root` describe, by name; an engine that is not built has none.

    Raises UserError when a description is wrong.
    """
    return [_read(path) for path in sorted(root.glob("operator/holdfast/engines/*/image/image.toml"))]


def _read(path: Path) -> Description:
    try:
        text = tomllib.loads(path.read_text())
        section = _text_fields(Variants, text.pop("variants", None), "debian")
        variants = Variants(**section) if section else None
        return Description(
            engine=path.parent.parent.name, folder=path.parent, variants=variants,
            **_text_fields(Description, text),
        )  # fmt: skip
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error


def _text_fields(kind: type[Any], section: Mapping[str, Any] | None, table: str = "") -> dict[str, Any]:
    """The section, after every value was found to be text, or that of `table` a table of texts."""
    for key, value in (section or {}).items():
        values = value.values() if key == table and isinstance(value, dict) else [value]
        if not all(isinstance(one, str) for one in values):
            raise ValueError(f"{key} of {kind.__name__} must be text")
    return dict(section or {})
