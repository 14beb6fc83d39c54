"""Builds the images whose files have changed, one build at a time on a machine."""

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from imagebuild import record
from imagebuild.builders import Buildah, Docker, builder
from imagebuild.images import Image
from onenode import layout
from onenode.shell import UserError, say, step
from onenode.tools import path_of

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_LOG_LINES = 25


def build(images: list[Image]) -> None:
    """Build what has changed, and say how large all are. Raises UserError with the end of the log."""
    tool = builder()
    with _alone():
        suites = {suite: tool.debian(suite) for suite in {image.suite for image in images}}
        for image in images:
            for program in image.tools:
                path_of(program)
            # Docker's cache does this by itself; buildah reads every file of a base to know it unchanged.
            if image.base and isinstance(tool, Buildah):
                base = _build_changed(tool, image.base, suites)
                argument = f"{image.target.upper()}_BASE"
                image = replace(image, arguments={**image.arguments, argument: base})
            _build_changed(tool, image, suites)
    for image in images:
        say(f"   {tool.size(image.name) / 1e6:6.0f} MB  {image.name}")


def _build_changed(tool: Docker | Buildah, image: Image, suites: Mapping[str, str]) -> str:
    """Build an image unless it was built from just these files; its identity."""
    inputs = record.digest(image, suites[image.suite])
    if not record.is_built(image, inputs, tool.id(image.name)):
        with step(f"building {image.name}"):
            _build_one(tool, image)
        record.remember(image, inputs, tool.id(image.name))
    return tool.id(image.name)


def _build_one(tool: Docker | Buildah, image: Image) -> None:
    log = layout.cache() / "logs" / f"image-{re.sub('[/:]', '-', image.name)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.run(
            tool.command([*_options(image), str(image.context)]),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            close_fds=False,  # the builder holds the lock, too: it may outlive this program
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
        raise UserError(f"building {image.name} failed; the end of {log}:\n{end}")


def _options(image: Image) -> list[str]:
    options = [f"--file={image.dockerfile}", f"--tag={image.name}"]
    options += [f"--target={image.target}"] if image.target else []
    options += [f"--build-arg={key}={value}" for key, value in image.arguments.items()]
    options += [f"--label={key}={value}" for key, value in image.labels.items()]
    if _CERTIFICATES.exists():
        options.append(f"--secret=id=ca-bundle,src={_CERTIFICATES}")
    return options


@contextmanager
def _alone() -> Iterator[None]:
    """Let one build run at a time on a machine; the lock ends with the builder, however this program ends."""
    path = layout.cache() / "images.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(" • another build of the images runs; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
