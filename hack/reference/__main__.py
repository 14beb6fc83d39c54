"""Write docs/reference, or check that it is not stale: `python -m hack.reference [--check] FOLDER`."""

import argparse
import sys
from pathlib import Path

from hack.reference import fields, reasons, settings

from holdfast.api.crd import KINDS


def pages() -> dict[str, str]:
    """By file name: what it holds."""
    kinds = {f"{kind.singular}.md": fields.page(kind) for kind in KINDS}
    return kinds | {"reasons.md": reasons.page(), "settings.md": settings.page()}


def stale(folder: Path) -> list[str]:
    """The names of the files in `folder` that are not what they should be, or should not be there."""
    wanted = pages()
    found = {path.name: path.read_text() for path in folder.glob("*.md")}
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


def main() -> int:
    """Write or check the files; 1 when a file is stale."""
    parser = argparse.ArgumentParser(prog="python -m hack.reference", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what is stale")
    arguments = parser.parse_args()
    names = stale(arguments.folder)
    if arguments.check:
        for name in names:
            sys.stderr.write(f"{arguments.folder / name} is stale: run `hack/manifests`\n")
        return 1 if names else 0
    arguments.folder.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for name in names:
        if name in wanted:
            (arguments.folder / name).write_text(wanted[name])
        else:
            (arguments.folder / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
