"""A volume as a destination: files that get their name only when they are whole and on disk."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from holdfast.api.destination import Destination as Specification
from holdfast.destinations.volume import VOLUME, Volume
from holdfast.engines.transfer import DestinationError, DestinationWrongError
from holdfast.runner.destinations.destination import Destination, Readable, Upload
from holdfast.runner.destinations.parts import Part
from holdfast.runner.process.mounts import Mounts

_REASONS = {
    errno.ENOSPC: "DestinationFull",
    errno.EDQUOT: "DestinationFull",
    errno.EACCES: "AccessDenied",
    errno.EPERM: "AccessDenied",
    errno.EROFS: "AccessDenied",
}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
"""What a file system says whose folders need no fsync or know none (fsync(2))."""
_ABANDONED_SECONDS = 60
"""Older than this an empty file belongs to a writer that was killed: it lives for a moment only."""
_RUN_DEPTH = 4
"""Slashes in the key of what is in a target's folder."""


def connect(specification: Specification, mounts: Mounts) -> "VolumeDestination":
    """The volume that a policy describes."""
    return VolumeDestination(specification, mounts)


class VolumeDestination(Destination):
    """A mounted volume. It needs no links: CIFS and many FUSE file systems have none (link(2), EPERM).

    `create` takes a name by an empty file, which the whole one replaces at once. An empty file is no object:
    a writer has just made it, or was killed before it replaced it.
    """

    def __init__(self, specification: Specification, mounts: Mounts) -> None:
        volume = specification.spec
        assert isinstance(volume, Volume)
        super().__init__(specification, volume.path)
        self._claim = volume.claim_name
        self._mount = mounts.destination(self.name, VOLUME)
        if not self._mount.is_dir():
            # The operator leaves a claim out that it does not find: the pod could not start with it.
            raise DestinationWrongError(
                "ClaimNotFound",
                f"destination {self.name}: volume.claimName: "
                f"this namespace has no PersistentVolumeClaim {self._claim}",
            )

    def upload(self, key: str) -> Upload:
        return _FileUpload(self, key)

    def create(self, key: str, data: bytes, *, transient: bool = False) -> bool:
        with self.errors(key):
            path = self.path(key)
            temporary = _temporary(path)
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                if not _take(path, temporary.stat().st_mtime):
                    return False
                temporary.rename(path)
            except OSError:
                _give_back(path)
                raise
            finally:
                temporary.unlink(missing_ok=True)
            self.sync(path)
            return True

    def read(self, key: str) -> bytes | None:
        with self.errors(key):
            try:
                return self.path(key).read_bytes() or None
            except FileNotFoundError:
                return None

    @contextmanager
    def open(self, key: str) -> Iterator[Readable]:
        try:
            with self.errors(key):
                file = self.path(key).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise self.mismatch(key, "it is not there") from error
        with file:
            # What the page cache still holds of the writing would hide what the disk has.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            yield _Reader(self, key, file)

    def size(self, key: str) -> int | None:
        with self.errors(key):
            try:
                return self.path(key).stat().st_size
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Iterator[str]:
        top = self.path(prefix.rpartition("/")[0])
        root = self._mount / self._prefix
        with self.errors(prefix):
            for folder, _, files in os.walk(top, onerror=_unless_absent):
                for name in files:
                    key = str(Path(folder, name).relative_to(root))
                    if key.startswith(prefix):
                        yield key

    def delete(self, key: str) -> None:
        with self.errors(key):
            path = self.path(key)
            path.unlink(missing_ok=True)
            if key.count("/") < _RUN_DEPTH:
                return
            with suppress(OSError):
                # An attempt's folder and its target's; those above are shared with other Jobs.
                path.parent.rmdir()
                path.parent.parent.rmdir()

    def abort_uploads(self, prefix: str) -> int:
        """None: an unfinished upload is a temporary file, which `list` names."""
        return 0

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self._mount / (self._prefix + key)

    @contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Say an OSError as a DestinationError; a missing file is left to the caller."""
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, "DestinationFailed")
            raise DestinationError(
                reason, f"destination {self.name}: {self.uri(key)}: {error.strerror or error}"
            ) from error

    def sync(self, path: Path) -> None:
        """Make a new name last: its folder and those above, which may be new too."""
        for folder in path.parents:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in _NO_SYNC:
                    raise
            finally:
                os.close(descriptor)
            if folder == self._mount:
                return


class _Reader:
    """A file whose errors are the destination's."""

    def __init__(self, destination: VolumeDestination, key: str, file: IO[bytes]) -> None:
        self._destination = destination
        self._key = key
        self._file = file

    def read(self, size: int, /) -> bytes:
        with self._destination.errors(self._key):
            return self._file.read(size)


class _FileUpload(Upload):
    """A temporary file beside the place of the whole one."""

    def __init__(self, destination: VolumeDestination, key: str) -> None:
        self._destination = destination
        self._key = key
        self._path = destination.path(key)
        with destination.errors(key):
            self._temporary = _temporary(self._path)
            self._file = self._temporary.open("wb", buffering=0)

    def put(self, part: Part) -> None:
        with self._destination.errors(self._key):
            rest = memoryview(part.data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def complete(self) -> None:
        with self._destination.errors(self._key):
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.rename(self._path)
            self._destination.sync(self._path)

    def abort(self) -> None:
        with self._destination.errors(self._key):
            self._file.close()
            self._temporary.unlink(missing_ok=True)
        self._destination.delete(self._key)


def _unless_absent(error: OSError) -> None:
    """What os.walk would pass over: a folder that cannot be read is not an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _take(path: Path, now: float) -> bool:
    """Make an empty file, which takes the name in one step; False when the name is another's.

    `now` is by the clock of the file system, as the times of its files are.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        try:
            there = path.stat()
        except FileNotFoundError:
            return False  # it was deleted at this moment
        return there.st_size == 0 and now - there.st_mtime > _ABANDONED_SECONDS
    return True


def _give_back(path: Path) -> None:
    """Remove the empty file that took a name."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def _temporary(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
