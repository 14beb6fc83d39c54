"""What pg_dump prints is stored only if the program ended well, and what it says at its end is understood."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.engines.postgres import dump
from holdfast.engines.transfer import SourceError, TaskError

SIZE = 3 * dump.PIPE_BYTES + 7


class Sink:
    """Takes the plain bytes; `on_write` is called before."""

    def __init__(self, on_write: Callable[[], None] = lambda: None) -> None:
        self.data = bytearray()
        self._on_write = on_write

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._on_write()
        self.data += data
        return len(data)


def pump(code: str, folder: Path, sink: Sink | None = None, check: Callable[[], None] = lambda: None) -> None:
    """Pump what a program of Python prints, as if it were pg_dump's."""
    program = [sys.executable, "-c", f"import os, sys, time\n{code}"]
    dump.pump("pg_dump of ledger", program, sink or Sink(), folder, check)


def test_all_that_is_printed_comes_through(tmp_path: Path) -> None:
    sink = Sink()
    pump(f"sys.stdout.write('x' * {SIZE})", tmp_path, sink)
    assert sink.data == b"x" * SIZE


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("sys.exit('pg_dump: error: no more rows')", "pg_dump of ledger: pg_dump: error: no more rows"),
        ("os.kill(os.getpid(), 9)", "pg_dump of ledger: it ended with -9"),
    ],
)
def test_a_program_that_ends_otherwise_has_failed(tmp_path: Path, end: str, says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        pump(f"sys.stdout.write('x' * {SIZE}); sys.stdout.flush()\n{end}", tmp_path)
    assert caught.value.reason == "ProducerFailed"


def test_a_program_speaks_english_whatever_the_image_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    said = "{'C': 'permission denied', 'de_DE.UTF-8': 'keine Berechtigung'}[os.environ['LC_ALL']]"
    with pytest.raises(TaskError) as caught:
        pump(f"sys.exit('pg_dump: error: ' + {said})", tmp_path)
    assert caught.value.reason == "PermissionDenied"


@pytest.mark.parametrize("breaks", ["sink", "check"])
def test_a_program_is_ended_when_its_reader_breaks(tmp_path: Path, breaks: str) -> None:
    def broken() -> None:
        raise SourceError("SourceLost", "the counting broke")

    sink = Sink(broken) if breaks == "sink" else Sink()
    with pytest.raises(SourceError, match="the counting broke"):
        pump(
            "print(os.getpid(), flush=True); time.sleep(600)", tmp_path, sink,
            broken if breaks == "check" else lambda: None,
        )  # fmt: skip
