"""An engine for tests: it stores what HOLDFAST_TEST_ENGINE says, and a restore checks that it is the same."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.api.run import Source
from holdfast.engines.transfer import (
    BackupContext,
    BackupSummary,
    RestoreContext,
    RestoreSummary,
    SourceError,
    checked,
)
from holdfast.protocol import Check, Note, Omission
from holdfast.runner.destinations.parts import Sizes
from holdfast.runner.tasks.backup import StoringContext

VARIABLE = "HOLDFAST_TEST_ENGINE"
MODULES = ("holdfast.engines.redis.backup", "holdfast.engines.redis.restore")
"""Whose place this takes."""
SNAPSHOT = datetime(2026, 11, 23, 2, 0, 5, tzinfo=UTC)
SOURCE = Source(address="test:1", role="Primary", version="1.0")


def blocks(size: int, seed: int = 1, text: bool = False) -> Iterator[bytes]:
    """`size` bytes that are the same for the same seed: random ones, or text that compresses to a third."""
    chance = random.Random(seed)
    if text:
        words = [chance.randbytes(chance.randint(3, 9)).hex() for _ in range(4000)]
        base = [" ".join(chance.choices(words, k=12000)).encode()[: 1 << 17] for _ in range(8)]
    while size > 0:
        block = chance.choice(base) if text else chance.randbytes(min(size, 1 << 20))
        yield block[:size]
        size -= len(block)


def content(size: int, seed: int = 1, text: bool = False) -> bytes:
    """All of `blocks`."""
    return b"".join(blocks(size, seed, text))


def producer(size: int, seed: int = 1, *, text: bool = False, end: str = "") -> list[str]:
    """A command that prints `blocks`, then does `end`."""
    code = (
        "import sys; from tests.runner.engine import blocks\n"
        f"for block in blocks({size}, {seed}, {text}): sys.stdout.buffer.write(block)\n"
        f"sys.stdout.flush(); {end or 'pass'}"
    )
    return [sys.executable, "-c", code]


def configured(*artifacts: dict[str, Any], **more: Any) -> dict[str, str]:
    """The environment that makes the engine store `artifacts`."""
    return {VARIABLE: json.dumps({"artifacts": artifacts, **more})}


def backup(context: BackupContext) -> BackupSummary:
    """Store the artifacts: each `bytes` long from `seed`, or the output of `command`; cut in `sizes`."""
    told = json.loads(os.environ[VARIABLE])
    if "sizes" in told:
        assert isinstance(context, StoringContext)
        context.sizes = Sizes(**told["sizes"])
    digests: dict[str, str] = {}
    for artifact in told["artifacts"]:
        context.progress.step(f"storing {artifact['name']}")
        if "command" in artifact:
            _store_output(context, artifact["name"], artifact["command"])
            continue
        digest = hashlib.sha256()
        with context.store(artifact["name"]) as sink:
            for block in blocks(artifact["bytes"], artifact.get("seed", 1), artifact.get("text", False)):
                sink.write(block)
                digest.update(block)
                time.sleep(artifact.get("pause", 0))
            if artifact.get("fail"):
                raise SourceError("TestBroke", "the source broke")
        digests[artifact["name"]] = digest.hexdigest()
    if told.get("defect"):
        raise KeyError(told["defect"])
    snapshot = datetime.fromisoformat(told["snapshot"]) if "snapshot" in told else SNAPSHOT
    notes = (Note(reason="Tested", message="a note"),)
    omissions = tuple(Omission.model_validate(omission) for omission in told.get("omissions", ()))
    return BackupSummary(snapshot, SOURCE, {"rows": len(digests)}, {"digests": digests}, notes, omissions)


def _store_output(context: BackupContext, name: str, command: list[str]) -> None:
    """Store what a command prints, as an engine does whose store has a program of its own."""
    with (
        context.store(name) as sink,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout is not None
        try:
            while block := os.read(process.stdout.fileno(), 1 << 20):
                sink.write(block)
        except BaseException:
            process.kill()
            raise
        if code := process.wait():
            raise SourceError("ProducerFailed", f"{command[0]} ended with {code}")


def stage(context: RestoreContext) -> RestoreSummary:
    """Read every artifact and compare it with what was stored."""
    told = json.loads(os.environ.get(VARIABLE, "{}"))
    checks = checked(context, [Check.model_validate(check) for check in told.get("checks", ())])
    mismatches = list(told.get("mismatches", ()))
    for name in context.artifacts:
        context.progress.step(f"reading {name}")
        digest = hashlib.sha256()
        with context.open(name) as stream:
            while block := stream.read(1 << 18):
                digest.update(block)
                if told.get("refuse"):
                    raise SourceError("TestBroke", "the server does not take it")
        expected = context.manifest_detail["digests"].get(name)
        if expected not in (None, digest.hexdigest()):
            mismatches.append(f"{name}: {expected} became {digest.hexdigest()}")
    return RestoreSummary(
        "test:1",
        len(context.artifacts),
        context.manifest_contents,
        tuple(mismatches),
        failed_objects=tuple(
            Omission(what=what, reason="ObjectFailed") for what in told.get("failed_objects", ())
        ),
        preflight=checks,
        staged=tuple(told.get("staged", ("copy 1",))),
    )


def swap(context: RestoreContext) -> None:
    """Say so in a file, where the configuration names one."""
    _tell("swapped")


def discard(context: RestoreContext) -> None:
    """Say so in a file, where the configuration names one."""
    _tell("taken back" if context.swapped else "discarded")


def _tell(what: str) -> None:
    told = json.loads(os.environ.get(VARIABLE, "{}"))
    if "diary" in told:
        with Path(told["diary"]).open("a") as diary:
            diary.write(f"{what}\n")


def take_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the engine of Redis in this process: what is loaded already is not imported."""
    for name in MODULES:
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
