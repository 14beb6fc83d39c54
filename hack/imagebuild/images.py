"""Which images there are: the operator's, one for each engine and variant, and the sample's S3 server."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagebuild.description import DEBIAN, Description, descriptions
from onenode import layout
from onenode.shell import UserError
from onenode.tools import TOOLS

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = os.environ.get("HOLDFAST_IMAGE_PREFIX", "docker.io/holdfast").rstrip("/")


@dataclass(frozen=True)
class Image:
    """One image: its name with a tag, the Dockerfile's target, and the files that it is made of."""

    name: str
    dockerfile: Path
    context: Path
    sources: tuple[Path, ...]
    target: str = ""
    suite: str = DEBIAN
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    """Programs of hack/tools that the context must hold."""
    base: "Image | None" = None

    @property
    def short(self) -> str:
        """What a user calls it: `operator`, `postgres:0.1.0-pg17`."""
        return self.name.rpartition("/")[2]


def version() -> str:
    """The version of the distribution, which all of its images share."""
    text = (ROOT / "operator/holdfast/__init__.py").read_text()
    match = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if not match:
        raise UserError("operator/holdfast/__init__.py has no __version__")
    return match[1]


def images(chosen: Mapping[str, Sequence[str]]) -> list[Image]:
    """Every image; of an engine with variants those that are chosen."""
    release = version()
    requirements = ROOT / "requirements/operator.txt"
    made = [_product("operator", "operator", release, (requirements,), {"DEBIAN": DEBIAN})]
    for description in descriptions(ROOT):
        variants = chosen.get(description.engine, ()) if description.variants else ("",)
        made += [_of_engine(description, release, variant) for variant in variants]
    return [*made, versitygw()]


def _of_engine(description: Description, release: str, variant: str) -> Image:
    return _product(
        description.engine, "engine", description.tag(release, variant), (description.folder,),
        description.arguments(variant),
    )  # fmt: skip


def _product(name: str, target: str, tag: str, own: tuple[Path, ...], arguments: Mapping[str, str]) -> Image:
    """An image of Holdfast with its base, which has everything but the source of Holdfast."""
    base = Image(
        name=f"localhost/{re.sub('[^a-z0-9._-]', '-', PREFIX.rpartition('/')[2])}-base/{name}:{tag}",
        dockerfile=ROOT / "images/Dockerfile",
        context=ROOT,
        sources=(ROOT / "images", *own),
        target=f"{target}-base",
        suite=arguments["DEBIAN"],
        arguments=arguments,
    )
    return replace(
        base,
        name=f"{PREFIX}/{name}:{tag}",
        sources=(*base.sources, ROOT / "operator/holdfast"),
        target=target,
        labels={
            "org.opencontainers.image.version": version(),
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.vendor": "Holdfast",
        },
        base=base,
    )


def versitygw() -> Image:
    """The sample's S3 server; its context is the folder of the program, whose name has the version."""
    folder = layout.cache() / "tools" / f"versitygw-{TOOLS['versitygw'].version}"
    dockerfile = ROOT / "images/demo.Dockerfile"
    return Image(
        name=f"{PREFIX}-demo/versitygw:{TOOLS['versitygw'].version}",
        dockerfile=dockerfile,
        context=folder,
        sources=(dockerfile, folder / "versitygw"),
        tools=("versitygw",),
    )
