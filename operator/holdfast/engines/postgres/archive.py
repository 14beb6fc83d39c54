"""The table of contents of a dump: its entries, and the SQL that makes each of them.

A dump in pg_dump's custom format begins with it, so it is there before the rows are read, also from a stream
that can be read only once (https://www.postgresql.org/docs/current/app-pgrestore.html, --list).
"""

import re
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal

from holdfast.engines.postgres import tools
from holdfast.engines.transfer import SourceError

Section = Literal["pre-data", "data", "post-data"]
SECTIONS: tuple[Section, ...] = ("pre-data", "data", "post-data")
_CHUNK_BYTES = 64 << 10
_LINE = re.compile(rb"^(\d+); \d+ \d+ (.*)$", re.MULTILINE)
_RIGHTS = ("ACL ", "DEFAULT ACL ")
_NAME = re.compile(rb"\n-- Name: [^\n]*\n--\n")
_KEPT_SETTING = re.compile(rb"^SET (?!\w*timeout\b|row_security\b).*;$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One object, or the rows of one table."""

    number: int
    """The dump's own."""
    section: Section
    name: str
    """Kind, schema and name, as in `FK CONSTRAINT public child child_parent_fkey`."""
    owner: str

    @property
    def is_right(self) -> bool:
        """Whether it grants or revokes rights, which might keep a restore from going on."""
        return self.name.startswith(_RIGHTS)

    @property
    def is_event_trigger(self) -> bool:
        """Whether it is an event trigger, or says something of one."""
        return self.name.startswith("EVENT TRIGGER ") or " - EVENT TRIGGER " in self.name

    def is_of(self, kind: str, parts: Sequence[str]) -> bool:
        """Whether it is the object of that kind whose schema and name are `parts`."""
        return self.name == " ".join((kind, *parts))


@dataclass(frozen=True)
class Archive:
    """A dump whose beginning is in `file`: the table of contents, and perhaps some of the rows."""

    program: str
    """pg_restore."""
    file: Path
    options: tuple[str, ...]
    """Of pg_restore: what is left out."""
    entries: tuple[Entry, ...]

    def of(self, *sections: Section) -> list[Entry]:
        """The entries of those sections."""
        return [entry for entry in self.entries if entry.section in sections]

    def command(self, entries: Iterable[Entry], file: Path, *more: str) -> list[str]:
        """pg_restore for those entries alone; their list is written to `file`."""
        file.write_text("".join(f"{entry.number};\n" for entry in entries))
        return [self.program, *self.options, f"--use-list={file}", *more]

    def statements(self, entry: Entry) -> tuple[bytes, bytes]:
        """The SQL that makes an entry, and the SQL that gives it to its owner."""
        whole, without_owner = self._script(entry), self._script(entry, "--no-owner")
        settings, definition = without_owner
        rest = whole[1].strip().removeprefix(definition.strip())
        return settings + definition, rest.strip() and settings + rest

    def _script(self, entry: Entry, *more: str) -> tuple[bytes, bytes]:
        """The settings of the script that makes an entry, without those of a session; and the SQL itself."""
        command = self.command([entry], self.file.with_suffix(".entry"), *more, "--file=-", str(self.file))
        text = _printed(command)
        match = _NAME.search(text)
        if match is None:
            return b"", b""
        body, end = text[match.end() :], text.rfind(b"\n--\n-- PostgreSQL database dump complete")
        settings = b"\n".join(_KEPT_SETTING.findall(text[: match.start()]))
        return settings + b"\n", body if end < 0 else body[: end - match.end()]


def read(
    program: str, options: tuple[str, ...], stream: BinaryIO, file: Path, roles: Collection[str]
) -> Archive:
    """Read `stream` into `file` as far as its table of contents. Raises SourceError if it is no dump.

    `roles` are those of the server: a name may have spaces, and so may the owner behind it.
    """
    log = file.with_suffix(".log")
    with file.open("wb") as kept, log.open("wb") as errors, subprocess.Popen(
        [program, "--list"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, bufsize=0,
        env=tools.environment(),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                kept.write(chunk)
                write_all(process.stdin, chunk)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has read what it needs
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        said = tools.tail(log) or f"pg_restore --list ended with {process.returncode}"
        raise SourceError("DumpUnreadable", f"the dump cannot be read: {said.splitlines()[0]}", said)
    entries = [
        Entry(int(number), section, *_split(text.decode(errors="replace"), roles))
        for section in SECTIONS
        for number, text in _LINE.findall(
            _printed([program, *options, "--list", f"--section={section}", str(file)])
        )
    ]
    return Archive(program, file, options, tuple(entries))


def _split(text: str, roles: Collection[str]) -> tuple[str, str]:
    """A line's name and owner."""
    owners = [role for role in roles if text.endswith(f" {role}")]
    owner = max(owners, key=len, default=text.rpartition(" ")[2])
    return text[: len(text) - len(owner) - 1], owner


def _printed(command: Sequence[str]) -> bytes:
    run = subprocess.run(command, capture_output=True, check=False, env=tools.environment())
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace").strip()
        raise SourceError("DumpUnreadable", f"the dump cannot be read: {said.splitlines()[0]}", said)
    return run.stdout


def write_all(pipe: IO[bytes], data: bytes) -> None:
    """Write all of `data` to an unbuffered pipe."""
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]
