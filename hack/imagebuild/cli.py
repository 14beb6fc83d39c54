"""Build the images, and load them into the local cluster: hack/images build|load|list|id [IMAGE…]."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from imagebuild.build import build
from imagebuild.builders import builder
from imagebuild.description import Description, descriptions
from imagebuild.images import ROOT, Image, images
from imagebuild.load import load
from onenode.shell import UserError, say


def main() -> None:
    """Do what the command line says; ends with 1 when it cannot be done."""
    try:
        _run()
    except UserError as error:
        say(f"hack/images: {error}")
        sys.exit(1)


def _run() -> None:
    described = descriptions(ROOT)
    parser = _parser(described)
    arguments = parser.parse_args()
    every = images(_variants(described, vars(arguments)))
    known = {_name(image) for image in every}
    unknown = set(arguments.images) - known
    if unknown:
        parser.error(f"no image is called {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    chosen = [image for image in every if not arguments.images or _name(image) in arguments.images]
    match arguments.verb:
        case "build":
            build(chosen)
        case "load":
            load(chosen, arguments.cluster)
        case "id":
            tool = builder()
            print("\n".join(tool.id(image.name) for image in chosen))
        case _:
            print("\n".join(image.name for image in chosen))


def _parser(described: Sequence[Description]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["build", "load", "list", "id"])
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="such as operator; default: all")
    for description in described:
        if variants := description.variants:
            parser.add_argument(
                f"--{description.engine}", action="append", metavar="VARIANT",
                help=f"{variants.help}, repeatable; default: ${variants.variable}, else {variants.default}",
            )  # fmt: skip
    parser.add_argument("--cluster", default=os.environ.get("CLUSTER", "holdfast"), help="default: holdfast")
    return parser


def _variants(
    described: Sequence[Description], options: Mapping[str, list[str] | None]
) -> dict[str, list[str]]:
    """The variants to build of each engine that has some: by the command line, else by the environment."""
    return {
        description.engine: options[description.engine]
        or os.environ.get(variants.variable, variants.default).split()
        for description in described
        if (variants := description.variants)
    }


def _name(image: Image) -> str:
    return image.short.partition(":")[0]
