"""Checks an RDB while it streams by, with Redis's own redis-check-rdb, and counts what is in it."""

import contextlib
import fcntl
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.engines.redis import rdb
from holdfast.engines.redis.omissions import counted
from holdfast.engines.transfer import MismatchError, SourceError, TaskError

PIPE_BYTES = 1 << 20
VALKEY = b"VALKEY"
"""Begins an RDB of Valkey 9 and later; Redis's begins with REDIS (Valkey's src/rdb.h, RDB_VERSION)."""
_TAIL_BYTES = 1 << 16
"""Of the end of the RDB, where modules may write after the last key; what begins before it is not empty."""

_LENGTH = rb"([\x00-\x3f]|[\x40-\x7f].|\x80.{4}|\x81.{8})"
_SIZES = re.compile(rb"\xfe(?=" + _LENGTH + rb"\xfb" + _LENGTH + _LENGTH + rb")", re.DOTALL)
_LONGEST_MATCH = 29


@dataclass(frozen=True)
class Sizes:
    """One database in the snapshot."""

    keys: int
    expires: int
    """How many of the keys have a time to live."""


@dataclass(frozen=True)
class Summary:
    """What a snapshot holds, counted inside it."""

    head: rdb.Head
    databases: dict[int, Sizes]
    functions: tuple[str, ...]
    modules: dict[str, int]
    """What modules keep beside keys: how much, by the name of the module's type."""

    @property
    def keys(self) -> int:
        """Keys of all databases."""
        return sum(sizes.keys for sizes in self.databases.values())


class Check:
    """Feed it the whole RDB; `finish` says what it holds.

    redis-check-rdb reads every value, but tells the databases' sizes only as a total; the RDB itself has them
    behind each SELECTDB. So every place that looks like one is kept, and those that redis-check-rdb names
    by their offset are the true ones. Its memory is that of the largest single value.
    """

    def __init__(self, scratch: Path) -> None:
        self._output = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 closed by __exit__
        try:
            self._process = subprocess.Popen(
                ["redis-check-rdb", "/dev/stdin"],
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=subprocess.STDOUT,
            )
        except FileNotFoundError as error:
            self._output.close()
            raise TaskError("ToolMissing", "redis-check-rdb is not in this image") from error
        assert self._process.stdin is not None
        self._input = self._process.stdin
        fcntl.fcntl(self._input.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._places = _Places()
        self._head = bytearray()
        self._parsed: rdb.Head | None = None
        self._next_try = 0
        self._tail = b""
        self._length = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        # What it had not taken yet is lost; an exception of the block's own says why.
        with contextlib.suppress(BrokenPipeError):
            self._input.close()
        self._output.close()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; raises as `finish` does as soon as they are found to be wrong."""
        if self._parsed is None:
            self._read_head(chunk)
        self._places.feed(chunk)
        self._tail = (self._tail + chunk if len(chunk) < _TAIL_BYTES else chunk)[-_TAIL_BYTES:]
        self._length += len(chunk)
        try:
            self._input.write(chunk)
        except BrokenPipeError as error:
            raise self._refused() from error

    def finish(self, databases: dict[int, Sizes] | None = None) -> Summary:
        """What the RDB holds; `databases`, if it does not say itself how large they are.

        Raises SourceError when it is damaged, TaskError when it is too new.
        """
        try:
            self._input.close()
        except BrokenPipeError as error:
            raise self._refused() from error
        if self._process.wait() != 0:
            raise self._refused()
        if self._parsed is None:
            self._read_head(b"", last=True)
        assert self._parsed is not None
        head = bytes(self._head)
        functions = tuple(sorted(rdb.library_name(head, place) for place in self._parsed.functions))
        text = self._text()
        databases = self._databases(text) if databases is None else databases
        _compare_totals(databases, text)
        return Summary(self._parsed, databases, functions, self._modules(head, text))

    def _modules(self, head: bytes, text: str) -> dict[str, int]:
        """redis-check-rdb names the type and the place of every section of a module, but not its values."""
        modules: dict[str, int] = {}
        tail_starts = self._length - len(self._tail)
        sections = re.findall(r"^\[offset (\d+)\] MODULE AUX for: (\S+)$", text, re.MULTILINE)
        for place, name in sections:
            offset = int(place)
            if offset < len(head):
                amount = rdb.amount_of_aux(head, offset)
            else:
                amount = 1 if offset < tail_starts else rdb.amount_of_aux(self._tail, offset - tail_starts)
            if amount:
                modules[name] = modules.get(name, 0) + counted(name, amount)
        return modules

    def _databases(self, text: str) -> dict[int, Sizes]:
        chosen = re.findall(r"^\[offset (\d+)\] Selecting DB ID (\d+)$", text, re.MULTILINE)
        return {int(number): self._places.sizes(int(offset), int(number)) for offset, number in chosen}

    def _read_head(self, chunk: bytes, *, last: bool = False) -> None:
        """Parse what precedes the first database once it is there; function libraries may make it long."""
        self._head += chunk
        if len(self._head) < max(self._next_try, 9) and not last:
            return
        if self._head.startswith(VALKEY):
            raise TaskError(
                "FormatNotSupported",
                "the server is Valkey 9 or later and sends a snapshot of its own format "
                f"({self._head[:9].decode('ascii', 'replace')}), which Redis and this version of Holdfast do "
                "not read; back it up with valkey-cli --rdb, or use Valkey 8",
            )
        try:
            version = rdb.read_version(bytes(self._head[:9]))
            if version > rdb.NEWEST_VERSION:
                raise TaskError(
                    "ServerNewerThanClient",
                    f"the server writes RDB version {version}; this image of Holdfast restores versions up "
                    f"to {rdb.NEWEST_VERSION}",
                )
            self._parsed = rdb.read_head(bytes(self._head))
            del self._head[self._parsed.end :]
        except IndexError as error:
            if last:
                raise SourceError("SnapshotDamaged", "the RDB ends before its first database") from error
            self._next_try = 2 * len(self._head)
        except rdb.RdbError as error:
            raise SourceError("SnapshotDamaged", f"the server sent no RDB: it {error}") from error

    def _text(self) -> str:
        self._output.seek(0)
        return self._output.read().decode("utf-8", "replace")

    def _refused(self) -> SourceError | TaskError:
        self._process.wait()
        text = self._text()
        if match := re.search(r"Can't handle RDB format version (\d+)", text):
            return TaskError(
                "ServerNewerThanClient",
                f"the server writes RDB version {match[1]}, which this image's redis-check-rdb cannot read",
                log_tail=text[-2000:],
            )
        return SourceError(
            "SnapshotDamaged", "redis-check-rdb found the snapshot damaged", log_tail=text[-2000:]
        )


def _compare_totals(databases: dict[int, Sizes], text: str) -> None:
    for what, total in (
        ("keys read", sum(sizes.keys for sizes in databases.values())),
        ("expires", sum(sizes.expires for sizes in databases.values())),
    ):
        match = re.search(rf"^\[info\] (\d+) {what}$", text, re.MULTILINE)
        if match is None or int(match[1]) != total:
            raise MismatchError(
                "CountsDisagree", f"the snapshot's databases add up to {total} {what}", log_tail=text
            )


class _Places:
    """Every place of a stream that looks like SELECTDB followed by RESIZEDB, by the offset of RESIZEDB."""

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, Sizes]] = {}
        self._tail = b""
        self._offset = 0

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        data = self._tail + chunk
        for match in _SIZES.finditer(data):
            number, keys, expires = (rdb.read_length(part, 0)[0] for part in match.groups())
            # A true one has no empty database; this drops most of those that only look so.
            if 0 < keys >= expires:
                place = self._offset + match.end(1)
                self._sizes[place] = (number, Sizes(keys, expires))
        self._tail = data[-_LONGEST_MATCH + 1 :]
        self._offset += len(data) - len(self._tail)

    def sizes(self, offset: int, number: int) -> Sizes:
        """The sizes of database `number`, selected just before `offset`."""
        sizes_there = self._sizes.get(offset)
        if sizes_there is None or sizes_there[0] != number:
            raise MismatchError(
                "CountsDisagree", f"database {number} at {offset} has no size before its keys"
            )
        return sizes_there[1]
