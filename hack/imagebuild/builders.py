"""The programs that build images, Docker and Buildah, with the same methods."""

import json
import shutil
import subprocess

from imagebuild.images import ROOT
from onenode.shell import run, succeeds


class Docker:
    """A Docker daemon."""

    def id(self, name: str) -> str:
        """The identity of an image; empty when there is none of that name."""
        return self._inspect(name, "{{.Id}}")

    def size(self, name: str) -> int:
        """The bytes of an image."""
        return int(self._inspect(name, "{{.Size}}") or 0)

    def debian(self, suite: str) -> str:
        """Docker takes Debian's image from its registry, by itself."""
        return suite

    def command(self, options: list[str]) -> list[str]:
        """The command that builds an image."""
        return ["docker", "build", *options]

    def _inspect(self, name: str, template: str) -> str:
        return output_of("docker", "image", "inspect", f"--format={template}", name)


class Buildah:
    """No daemon: buildah, on a Debian image that is bootstrapped from packages."""

    def id(self, name: str) -> str:
        """The identity of an image; empty when there is none of that name."""
        return output_of("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", name)

    def size(self, name: str) -> int:
        """The bytes of an image. A list of all images fails while another process deletes one."""
        (entry,) = json.loads(run("buildah", "images", "--json", name))
        number, unit = entry["size"].split()
        return int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])

    def debian(self, suite: str) -> str:
        """Make Debian's image when it is missing; its identity."""
        subprocess.run([ROOT / "hack/base-image", suite], check=True)
        return self.id(f"docker.io/library/debian:{suite}-slim")

    def command(self, options: list[str]) -> list[str]:
        """The command that builds an image."""
        return [
            *("buildah", "bud", "--layers", "--pull=never", "--isolation=chroot", "--network=host"),
            *options,
        ]


def output_of(*argv: str) -> str:
    """What a command prints; empty when it fails."""
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def builder() -> Docker | Buildah:
    """Docker where its daemon answers."""
    if shutil.which("docker") and succeeds("docker", "info"):
        return Docker()
    return Buildah()
