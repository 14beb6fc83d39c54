"""Loads images into the local cluster, whichever kind made it."""

import subprocess
from pathlib import Path

from imagebuild.builders import Docker, builder
from imagebuild.images import ROOT, Image
from onenode import layout
from onenode.shell import UserError, run, step


def load(images: list[Image], cluster: str) -> None:
    """Load images into the cluster, but for those that it has already. Raises UserError."""
    kind = run(ROOT / "hack/choose-kind").strip()
    is_ours = Path(kind) == ROOT / "hack/kind"
    names = [image.name for image in images]
    if is_ours or isinstance(builder(), Docker):
        command = [kind, "load", "docker-image", "--name", cluster, *names]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"the images could not be loaded into the cluster {cluster}")
        return
    # kind on Podman reads no image of buildah's storage.
    for name in names:
        archive = layout.cache() / "image.tar"
        archive.unlink(missing_ok=True)
        with step(f"loading {name}"):
            run("buildah", "push", "--disable-compression", name, f"docker-archive:{archive}:{name}")
            run(kind, "load", "image-archive", "--name", cluster, archive)
        archive.unlink()
