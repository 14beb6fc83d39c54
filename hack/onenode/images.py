"""Bring images to the node without a registry: from a builder's storage, from archives, and a BusyBox."""

import hashlib
import io
import json
import platform
import shutil
import tarfile
import tempfile
from pathlib import Path

from onenode.layout import Cluster
from onenode.shell import UserError, run, step, succeeds, write_private

# The image of every pod's sandbox and of the storage provisioner's helper pods. Its default command waits,
# and reaps what the processes of a pod that share its process namespace leave behind.
BUSYBOX = "docker.io/library/busybox:onenode"
WAIT = ["/bin/sh", "-c", 'trap "exit 0" TERM; while :; do sleep 2147483647 & wait $!; done']
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def load_busybox(cluster: Cluster) -> None:
    """Make an image of Debian's busybox-static, and load it."""
    with tempfile.TemporaryDirectory(dir=cluster.root) as folder:
        archive = Path(folder) / "busybox.tar"
        _write_busybox(archive)
        load_archive(cluster, archive)


def load_archive(cluster: Cluster, archive: Path) -> None:
    """Load the images of a docker-archive or OCI archive into the node. Raises UserError."""
    run("ctr", f"--address={cluster.containerd_socket}", "--namespace=k8s.io", "images", "import", archive)


def load_from_storage(cluster: Cluster, image: str) -> None:
    """Load an image that buildah or podman built, unless the node has just this one.

    It gets the name that Kubernetes gives it: `app:dev` becomes docker.io/library/app:dev.
    Raises UserError when there is no such image.
    """
    if not succeeds("buildah", "inspect", "--type=image", image):
        raise UserError(f'image: "{image}" not present locally')
    image_id = run("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", image).strip()
    name = full_name(image)
    loaded_file = cluster.root / "loaded-images.json"
    loaded = json.loads(loaded_file.read_text()) if loaded_file.exists() else {}
    if loaded.get(name) == image_id:
        return
    with step(f"loading {name}"), tempfile.TemporaryDirectory(dir=cluster.root) as folder:
        archive = Path(folder) / "image.tar"
        # Not compressed: it takes a seventh of the time, and the archive is read at once.
        run("buildah", "push", "--disable-compression", image, f"docker-archive:{archive}:{name}")
        load_archive(cluster, archive)
    write_private(loaded_file, json.dumps({**loaded, name: image_id}))


def full_name(image: str) -> str:
    """The image's name with its registry and tag, completed as Docker and Kubernetes do."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif not ("." in first or ":" in first or first == "localhost"):
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def _write_busybox(archive: Path) -> None:
    """Write a docker-archive (its layout: image-spec of Docker, version 1.2) of one layer."""
    found = shutil.which("busybox")
    if not found:
        raise UserError("there is no busybox; hack/prerequisites installs the package busybox-static")
    busybox = Path(found).read_bytes()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, "bin/busybox", busybox, mode=0o755)
        for applet in run(found, "--list").split():
            if applet == "busybox":
                continue
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder, mode in (("tmp", 0o1777), ("etc", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    diff_id = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": WAIT, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [BUSYBOX], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, mode="w") as tar:
        _add(tar, "layer.tar", layer.getvalue())
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
