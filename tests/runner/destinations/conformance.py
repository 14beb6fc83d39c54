"""What the data plane relies on in every kind of destination."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.places import Place

from holdfast.engines.transfer import MismatchError
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination, Upload
from holdfast.runner.destinations.parts import SIZES, Part, PartCutter, StoredBytes, constant
from holdfast.runner.process.mounts import Mounts

FOLDER = "ns/policy/run/target/attempt/"
KEY = f"{FOLDER}data.zst"
DOCUMENT = "ns/policy/catalogue/run.json"
DATA = b"a small object"
OTHER = StoredBytes(len(DATA), "0" * 64, "no checksum")
Connect = Callable[[str | None], Destination]


def parts_of(data: bytes) -> tuple[list[Part], StoredBytes]:
    """`data` as the data plane uploads it."""
    cutter = PartCutter(constant(SIZES.part))
    parts = [*cutter.add(data), cutter.finish()]
    return parts, cutter.stored()


def noise(size: int) -> bytes:
    """Bytes of which no two parts are alike."""
    return hashlib.shake_128(b"conformance").digest(size)


THREE_PARTS = noise(2 * SIZES.part + 1)


def put(destination: Destination, upload: Upload, parts: list[Part]) -> None:
    """Upload parts as the data plane does; whoever takes several at once may get them in any order."""
    with ThreadPoolExecutor(destination.workers) as pool:
        list(pool.map(upload.put, parts if destination.workers == 1 else reversed(parts)))


def store(destination: Destination, key: str = KEY, data: bytes = DATA) -> StoredBytes:
    """Upload an object."""
    parts, stored = parts_of(data)
    upload = destination.upload(key)
    put(destination, upload, parts)
    upload.complete()
    return stored


def content(destination: Destination, key: str = KEY, block: int = 1 << 20) -> bytes:
    """What `open` gives of an object."""
    blocks = []
    with destination.open(key) as stream:
        while data := stream.read(block):
            assert len(data) <= block
            blocks.append(data)
        assert stream.read(block) == b"", "the end stays the end"
    return b"".join(blocks)


def nothing_is_left(destination: Destination) -> bool:
    """Whether there is no object, version, temporary file or upload."""
    return not (any(destination.list("")) or any(destination.versions("")) or destination.abort_uploads(""))


class Conformance:
    """Every test is given a `place` of one kind, which is empty."""

    @pytest.fixture
    def connect_at(self, place: Place, tmp_path: Path) -> Connect:
        """Connects to the place, below a prefix."""
        place.mount(tmp_path / "destinations/here")
        return lambda prefix: connect(place.destination("here", prefix=prefix), Mounts(tmp_path))

    @pytest.fixture
    def destination(self, connect_at: Connect) -> Destination:
        """The place below a prefix, where most policies are."""
        return connect_at("some/prefix")

    # What it says of itself.

    def test_it_is_called_what_its_section_says(self, place: Place, destination: Destination) -> None:
        specification = place.destination("here", prefix="some/prefix")
        assert destination.uri(KEY) == specification.spec.uri(KEY)
        assert (destination.name, destination.required) == ("here", True)

    def test_its_pod_mounts_what_is_read_here(self, place: Place, tmp_path: Path) -> None:
        place.mount(tmp_path)
        mounts = place.destination("here").spec.mounts()
        assert sorted(mount.folder for mount in mounts) == sorted(path.name for path in tmp_path.iterdir())

    def test_what_a_policy_asks_of_it_can_be_had(self, destination: Destination) -> None:
        destination.check()
        assert destination.retain_until is None
        assert destination.workers >= 1

    # Uploads.

    @pytest.mark.parametrize("size", [1, SIZES.part, SIZES.part + 1, len(THREE_PARTS)])
    def test_an_upload_of_any_number_of_parts_gives_back_its_bytes(
        self, destination: Destination, size: int
    ) -> None:
        data = THREE_PARTS[:size]
        stored = store(destination, data=data)
        assert destination.size(KEY) == stored.size == size
        assert content(destination) == data
        assert list(destination.list("")) == [KEY]
        destination.verify(KEY, stored)

    def test_nothing_shows_before_an_upload_is_complete(self, destination: Destination) -> None:
        parts, stored = parts_of(THREE_PARTS)
        upload = destination.upload(KEY)
        put(destination, upload, parts)
        assert destination.size(KEY) is None
        assert destination.read(KEY) is None
        assert KEY not in destination.list("")
        upload.complete()
        destination.read_back(KEY, stored)

    @pytest.mark.parametrize("size", [1, len(THREE_PARTS)])
    @pytest.mark.parametrize("completed", [False, True], ids=["unfinished", "complete"])
    def test_an_aborted_upload_leaves_nothing(
        self, destination: Destination, size: int, completed: bool
    ) -> None:
        parts, _ = parts_of(THREE_PARTS[:size])
        upload = destination.upload(KEY)
        put(destination, upload, parts)
        if completed:
            upload.complete()
        upload.abort()
        assert nothing_is_left(destination)

    def test_an_upload_that_never_had_a_part_is_aborted(self, destination: Destination) -> None:
        destination.upload(KEY).abort()
        assert nothing_is_left(destination)

    def test_what_killed_uploads_leave_is_cleared_below_a_prefix_only(
        self, place: Place, destination: Destination
    ) -> None:
        parts, stored = parts_of(THREE_PARTS)
        other = destination.upload("ns/policy/other/target/attempt/data.zst")
        for upload in (destination.upload(KEY), destination.upload(f"{FOLDER}more.zst"), other):
            put(destination, upload, parts)
        aborted = destination.abort_uploads("ns/policy/run/")
        temporary = list(destination.list("ns/policy/run/"))
        left = 0 if getattr(place, "forgets_uploads", False) else 2
        assert aborted + len(temporary) == left, "an unfinished upload is aborted, or it is listed"
        for key in temporary:
            destination.delete(key)
        assert destination.abort_uploads("ns/policy/run/") == 0
        other.complete()
        destination.read_back("ns/policy/other/target/attempt/data.zst", stored)
        assert list(destination.list("")) == ["ns/policy/other/target/attempt/data.zst"]

    # Small objects.

    @pytest.mark.parametrize("transient", [False, True])
    def test_an_object_is_created_once(self, destination: Destination, transient: bool) -> None:
        assert destination.read(DOCUMENT) is None
        assert destination.create(DOCUMENT, DATA, transient=transient)
        assert not destination.create(DOCUMENT, b"other", transient=transient)
        assert destination.read(DOCUMENT) == DATA
        assert list(destination.list("")) == [DOCUMENT]

    def test_of_many_who_create_an_object_at_once_one_does(self, connect_at: Connect) -> None:
        writers = [connect_at(None) for _ in range(4)]
        start = threading.Barrier(len(writers))

        def write(number: int) -> bool:
            start.wait()
            return writers[number].create(DOCUMENT, b"%d" % number)

        with ThreadPoolExecutor(len(writers)) as pool:
            created = list(pool.map(write, range(len(writers))))
        assert created.count(True) == 1
        assert writers[0].read(DOCUMENT) == b"%d" % created.index(True)
        assert list(writers[0].list("")) == [DOCUMENT]

    # Reading.

    @pytest.mark.parametrize("block", [1 << 10, 1 << 20])
    def test_an_object_is_read_in_blocks(self, destination: Destination, block: int) -> None:
        data = THREE_PARTS[: 3 * (1 << 20) + 5]
        store(destination, data=data)
        assert content(destination, block=block) == data

    def test_what_is_not_there_is_said_to_be_so(self, destination: Destination) -> None:
        assert destination.read(KEY) is None
        assert destination.size(KEY) is None
        assert destination.archived(KEY) is None
        assert list(destination.list(FOLDER)) == []
        assert list(destination.versions(FOLDER)) == []
        uri = destination.uri(KEY)
        for attempt in (
            lambda: content(destination),
            lambda: destination.verify(KEY, OTHER),
            lambda: destination.read_back(KEY, OTHER),
        ):
            with pytest.raises(MismatchError, match=f"destination here: {uri} .*it is not there"):
                attempt()

    def test_objects_are_listed_by_what_their_keys_begin_with(self, destination: Destination) -> None:
        keys = ["a/b/one.json", "a/b/other", "a/bc", "a/.b", "a b/ü%2F+.dump", "b"]
        for key in keys:
            destination.create(key, DATA)
        for prefix in ("", "a", "a/", "a/b", "a/b/", "a/b/o", "a/b/one.json", "a/.", "a b/", "c", "c/d/"):
            assert sorted(destination.list(prefix)) == sorted(k for k in keys if k.startswith(prefix)), prefix
        for key in keys:
            assert destination.read(key) == DATA

    def test_prefixes_do_not_see_each_other(self, connect_at: Connect) -> None:
        one, other, root = connect_at("one"), connect_at("one/more"), connect_at(None)
        one.create("key", b"one")
        assert other.read("key") is None
        assert list(other.list("")) == []
        other.create("key", b"other")
        assert (one.read("key"), other.read("key")) == (b"one", b"other")
        assert list(one.list("k")) == ["key"]
        assert len({each.uri("key") for each in (one, other, root)}) == 3

    # Deleting.

    def test_deleting_twice_is_no_error(self, destination: Destination) -> None:
        store(destination)
        destination.create(f"{FOLDER}neighbour", DATA)
        destination.delete(KEY)
        destination.delete(KEY)
        assert destination.read(KEY) is None
        assert list(destination.list("")) == [f"{FOLDER}neighbour"]

    def test_every_version_can_be_erased(self, destination: Destination) -> None:
        store(destination)
        destination.delete(KEY)  # where versions are kept that only hides it
        store(destination, data=b"written later")
        destination.create(DOCUMENT, DATA)
        versions = list(destination.versions(FOLDER))
        assert {version.key for version in versions} == {KEY}
        for version in versions:
            assert destination.lock(version) is None
            destination.erase(version)
            destination.erase(version)
        assert list(destination.versions(FOLDER)) == []
        assert list(destination.list("")) == [DOCUMENT]

    # Believing.

    def test_bytes_are_read_back_and_counted(self, destination: Destination) -> None:
        stored = store(destination, data=THREE_PARTS)
        counts: list[int] = []
        destination.read_back(KEY, stored, counts.append)
        assert sum(counts) == len(THREE_PARTS)

    @pytest.mark.parametrize("size", [len(DATA), len(THREE_PARTS)])
    def test_other_bytes_are_a_mismatch_that_names_the_object(
        self, destination: Destination, size: int
    ) -> None:
        data = THREE_PARTS[:size]
        _, wanted = parts_of(data)
        store(destination, data=data[:-1] + bytes([data[-1] ^ 1]))
        start = f"destination here: {destination.uri(KEY)} is not what was stored: "
        for verify in (destination.verify, destination.read_back):
            with pytest.raises(MismatchError, match=start + "its SHA-256 is ") as caught:
                verify(KEY, wanted)
            assert caught.value.reason == "ChecksumMismatch"

    def test_another_size_is_a_mismatch(self, destination: Destination) -> None:
        store(destination)
        longer = StoredBytes(len(DATA) + 1, hashlib.sha256(DATA).hexdigest(), "no checksum")
        for verify in (destination.verify, destination.read_back):
            with pytest.raises(MismatchError, match=f"it has {len(DATA)} bytes, not {len(DATA) + 1}"):
                verify(KEY, longer)
        with pytest.raises(MismatchError, match=f"it has {len(DATA)} bytes, not 1"):
            destination.verify_size(KEY, 1)
        destination.verify_size(KEY, len(DATA))

    def test_what_was_not_asked_to_be_locked_needs_no_lock(self, destination: Destination) -> None:
        store(destination)
        destination.verify_lock(KEY, None)
        destination.verify_lock(KEY, datetime.now(UTC) + timedelta(days=1))
