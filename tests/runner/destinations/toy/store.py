"""The toy's data plane: one flat folder of files. A test copies it beside the real kinds."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from holdfast.destinations.toy import BOX, Toy

from holdfast.api.destination import Destination as Specification
from holdfast.engines.transfer import DestinationError
from holdfast.runner.destinations.destination import Destination, Readable, Upload
from holdfast.runner.destinations.parts import Part
from holdfast.runner.process.mounts import Mounts


def connect(specification: Specification, mounts: Mounts) -> "ToyDestination":
    """The box that a policy describes."""
    return ToyDestination(specification, mounts)


class ToyDestination(Destination):
    """Every object is a file, whose name is its key."""

    workers = 2

    def __init__(self, specification: Specification, mounts: Mounts) -> None:
        toy = specification.spec
        assert isinstance(toy, Toy)
        super().__init__(specification, toy.shelf)
        box = mounts.destination(self.name, BOX)
        if not box.is_dir():
            raise DestinationError("DestinationUnreachable", f"destination {self.name}: no box at {box}")
        self._objects, self._uploads = box / "objects", box / "uploads"
        self._objects.mkdir(exist_ok=True)
        self._uploads.mkdir(exist_ok=True)

    def upload(self, key: str) -> Upload:
        folder = self._uploads / f"{self.file_name(key)}.{secrets.token_hex(4)}"
        folder.mkdir()
        return _Upload(self, key, folder)

    def create(self, key: str, data: bytes, *, transient: bool = False) -> bool:
        path = self._uploads / secrets.token_hex(4)
        path.write_bytes(data)
        try:
            self.path(key).hardlink_to(path)
        except FileExistsError:
            return False
        finally:
            path.unlink()
        return True

    def read(self, key: str) -> bytes | None:
        path = self.path(key)
        return path.read_bytes() if path.exists() else None

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        if not self.path(key).exists():
            raise self.mismatch(key, "it is not there")
        with self.path(key).open("rb") as file:
            yield file

    def size(self, key: str) -> int | None:
        path = self.path(key)
        return path.stat().st_size if path.exists() else None

    def list(self, prefix: str) -> Iterator[str]:
        for path in list(self._objects.iterdir()):
            key = unquote(path.name)
            if key.startswith(self._prefix + prefix):
                yield key.removeprefix(self._prefix)

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def abort_uploads(self, prefix: str) -> int:
        folders = [
            folder
            for folder in self._uploads.iterdir()
            if unquote(folder.name).startswith(self._prefix + prefix)
        ]
        for folder in folders:
            _remove(folder)
        return len(folders)

    def file_name(self, key: str) -> str:
        """The name of an object's file."""
        return quote(self._prefix + key, safe="")

    def path(self, key: str) -> Path:
        """An object's file."""
        return self._objects / self.file_name(key)


class _Upload(Upload):
    """A folder with a file for each part."""

    def __init__(self, destination: ToyDestination, key: str, folder: Path) -> None:
        self._destination = destination
        self._key = key
        self._folder = folder

    def put(self, part: Part) -> None:
        (self._folder / f"{part.number:06}").write_bytes(part.data)

    def complete(self) -> None:
        whole = self._folder / "whole"
        with whole.open("wb") as file:
            for path in sorted(self._folder.glob("[0-9]*")):
                file.write(path.read_bytes())
        whole.rename(self._destination.path(self._key))
        _remove(self._folder)

    def abort(self) -> None:
        _remove(self._folder)
        self._destination.delete(self._key)


def _remove(folder: Path) -> None:
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
