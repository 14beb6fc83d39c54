"""Remembers what each image was built from, so that nothing is built twice from the same files."""

import hashlib
import json

from imagebuild.images import Image
from onenode import layout


def digest(image: Image, debian: str) -> str:
    """A digest of all that an image is made of: the names, modes and contents of files, and arguments."""
    parts = [debian, image.target, dict(image.arguments), dict(image.labels)]
    total = hashlib.sha256(json.dumps(parts).encode())
    for source in image.sources:
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        for file in files:
            if "__pycache__" in file.parts or not file.is_file():
                continue
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            total.update(f"{file.name} {file.stat().st_mode & 0o111} {content}\n".encode())
    return total.hexdigest()


def is_built(image: Image, inputs: str, identity: str) -> bool:
    """Whether the image `identity` was built from what has the digest `inputs`.

    A label of the image could not say so: one that comes out of the builder's cache as a whole keeps the
    label that it had.
    """
    return _read().get(image.name) == [inputs, identity]


def remember(image: Image, inputs: str, identity: str) -> None:
    """Write down that the image `identity` was built from what has the digest `inputs`."""
    path = layout.cache() / "images.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**_read(), image.name: [inputs, identity]}))
    partial.rename(path)


def _read() -> dict[str, list[str]]:
    path = layout.cache() / "images.json"
    stored: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
    return stored
