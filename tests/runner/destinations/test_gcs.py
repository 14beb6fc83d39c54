"""What Google Cloud Storage alone does: its errors in Holdfast's words, versions, locks, a broken upload."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakegcs import GcsPlace, GcsServer
from tests.faultproxy import FaultProxy, Request, fault_proxy
from tests.machine import free_port
from tests.runner.destinations.conformance import DATA, DOCUMENT, KEY, THREE_PARTS, put, store
from tests.runner.destinations.conformance import parts_of as parts
from tests.runner.history import History

from holdfast.destinations.gcs import Gcs
from holdfast.engines.transfer import TransferError
from holdfast.protocol import CommittedTarget, VerifyTask
from holdfast.runner.destinations import connect
from holdfast.runner.destinations.destination import Destination, LockedError
from holdfast.runner.process.mounts import Mounts


@pytest.fixture
def proxy(gcs: GcsServer) -> Iterator[FaultProxy]:
    """Between a destination and the store."""
    with fault_proxy(gcs.port) as running:
        yield running


@pytest.fixture
def place(gcs: GcsServer, proxy: FaultProxy) -> GcsPlace:
    """A bucket behind the proxy."""
    return dataclasses.replace(gcs.new_bucket(), endpoint=proxy.endpoint)


@pytest.fixture
def at(tmp_path: Path) -> Callable[[GcsPlace], Destination]:
    """Connects to a place."""

    def connected(place: GcsPlace) -> Destination:
        place.mount(tmp_path / "destinations/here")
        return connect(place.destination("here"), Mounts(tmp_path))

    return connected


def test_a_run_is_backed_up_committed_verified_and_restored(history: History, gcs: GcsServer) -> None:
    history.jobs.places = {"google": gcs.new_bucket()}
    history.size = (8 << 20) + 1
    assert history.commit(1).destinations == ("google",)
    targets = tuple(CommittedTarget.model_validate(each.model_dump()) for each in history.tasks["r1"].targets)
    places = history.jobs.destinations()
    verified = history.do(
        VerifyTask(namespace="default", policy="policy", run="r1", targets=targets, destinations=places)
    )
    assert [copy.destination for copy in verified.copies] == ["google"]
    assert history.is_whole(1, "google")
    assert history.commit(2, 1, keep=(1,)).retention == {"google": "d"}
    assert history.is_whole(2, "google")


def test_every_version_is_seen_and_can_be_erased(
    gcs: GcsServer, at: Callable[[GcsPlace], Destination]
) -> None:
    destination = at(gcs.new_bucket(versions=True))
    store(destination)
    destination.delete(KEY)
    store(destination, data=b"written later")
    versions = destination.versions_of(KEY)
    assert len(versions) == len({version.id for version in versions}) == 2
    for version in versions:
        destination.erase(version)
    assert destination.versions_of(KEY) == ()


def uploads(request: Request) -> bool:
    """Whether this sends bytes of an upload."""
    return request.method == "PUT" and not request.headers["content-range"].startswith("bytes */")


def test_an_upload_goes_on_where_the_store_is(
    place: GcsPlace, proxy: FaultProxy, at: Callable[[GcsPlace], Destination]
) -> None:
    """The store is asked where it is; this fake would take that question for the end, so it is not asked."""
    destination = at(place)
    broken = proxy.add(uploads, times=1, reset_request_after=1 << 20)
    asked = proxy.add(lambda request: request.headers.get("content-range") == "bytes */*", status=308)
    stored = store(destination, data=THREE_PARTS)
    assert (broken.seen, asked.seen) == (1, 1)
    destination.read_back(KEY, stored)


def test_bytes_that_were_changed_on_the_way_are_refused(
    gcs: GcsServer, at: Callable[[GcsPlace], Destination]
) -> None:
    destination = at(gcs.new_bucket())
    upload: Any = destination.upload(KEY)
    put(destination, upload, parts(DATA)[0])
    upload._rest = b"X" + upload._rest[1:]
    with pytest.raises(TransferError, match="the store received other bytes") as caught:
        upload.complete()
    assert caught.value.reason == "ChecksumRefused"
    assert destination.size(KEY) is None


def test_an_object_whose_answer_was_lost_is_created(
    place: GcsPlace, proxy: FaultProxy, at: Callable[[GcsPlace], Destination]
) -> None:
    destination = at(place)
    lost = proxy.add(lambda request: request.method == "POST", times=1, cut_answer_after=10)
    assert destination.create(DOCUMENT, DATA)
    assert lost.seen == 1
    assert not destination.create(DOCUMENT, DATA)


def test_a_download_that_breaks_off_goes_on(
    place: GcsPlace, proxy: FaultProxy, at: Callable[[GcsPlace], Destination]
) -> None:
    destination = at(place)
    stored = store(destination, data=THREE_PARTS)
    destination.create(DOCUMENT, DATA)
    broken = proxy.add(lambda request: "/download/" in request.path, times=1, cut_answer_after=3)
    destination.read_back(KEY, stored)
    broken.times = 2
    assert destination.read(DOCUMENT) == DATA
    assert broken.seen == 2


REFUSALS = [
    ({"status": 401, "code": "Invalid Credentials"}, "AuthenticationFailed",
     "401: .*Invalid Credentials.*; correct the key in Secret google"),
    ({"status": 403, "code": "no storage.objects.get access"}, "AccessDenied", f"gs://.*/{KEY}: 403"),
    ({"status": 429, "code": "rate limit"}, "DestinationThrottled", "429: .*rate limit"),
    ({"status": 503, "code": "later"}, "DestinationThrottled", "503: .*later"),
    ({"status": 412, "code": "odd"}, "DestinationFailed", "412: .*odd"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reason", "said"), REFUSALS, ids=lambda value: str(value)[:20])
def test_what_the_store_refuses_is_said_in_our_words(
    place: GcsPlace,
    proxy: FaultProxy,
    at: Callable[[GcsPlace], Destination],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    reason: str,
    said: str,
) -> None:
    destination = at(place)
    monkeypatch.setattr(destination, "pauses", ())
    proxy.add(lambda request: True, **answer)
    for attempt in (
        lambda: destination.read(KEY),
        lambda: destination.size(KEY),
        lambda: store(destination),
        lambda: destination.delete(KEY),
    ):
        with pytest.raises(TransferError, match=said) as caught:
            attempt()
        assert caught.value.reason == reason
        assert "upload_id" not in caught.value.message


def test_a_bucket_that_does_not_exist_is_named(gcs: GcsServer, at: Callable[[GcsPlace], Destination]) -> None:
    destination = at(GcsPlace(gcs, "absent"))
    said = f"destination here: bucket absent does not exist at {gcs.endpoint}: make it, or correct gcs.bucket"
    for attempt in (
        lambda: destination.read(KEY),
        lambda: destination.size(KEY),
        lambda: list(destination.list("")),
        lambda: list(destination.versions("")),
        lambda: destination.create(KEY, DATA),
        lambda: store(destination),
        lambda: destination.delete(KEY),
    ):
        with pytest.raises(TransferError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.message) == ("BucketNotFound", said)


def test_a_store_that_does_not_answer_is_waited_for_and_named(
    gcs: GcsServer, at: Callable[[GcsPlace], Destination]
) -> None:
    port = free_port()
    destination = at(GcsPlace(gcs, "any", f"http://127.0.0.1:{port}"))
    for attempt in (lambda: destination.read(KEY), lambda: store(destination)):
        with pytest.raises(TransferError) as caught:
            attempt()
        assert caught.value.reason == "DestinationUnreachable"
        said = f"destination here: http://127.0.0.1:{port} cannot be reached: Connection refused"
        assert caught.value.message == said


@pytest.mark.parametrize("key", ["", "{}", '{"type": "authorized_user"}'])
def test_a_secret_without_a_key_is_named(
    gcs: GcsServer, at: Callable[[GcsPlace], Destination], key: str
) -> None:
    place = GcsPlace(gcs, "any", key=key or "no JSON")
    with pytest.raises(TransferError, match=r"gcs.credentialsSecret: key.json in Secret google") as caught:
        at(place)
    assert caught.value.reason == "CredentialsMissing"


def test_a_secret_that_is_not_there_is_named(gcs: GcsServer, tmp_path: Path) -> None:
    specification = GcsPlace(gcs, "any").destination("here")
    with pytest.raises(TransferError, match="this namespace has no Secret google") as caught:
        connect(specification, Mounts(tmp_path))
    assert caught.value.reason == "SecretNotFound"
    (tmp_path / "destinations/here/credentials").mkdir(parents=True)
    (tmp_path / "destinations/here/credentials/other.json").touch()
    with pytest.raises(TransferError, match=r"Secret google has no key key.json") as caught:
        connect(specification, Mounts(tmp_path))
    assert caught.value.reason == "SecretKeyNotFound"


def test_without_a_secret_and_an_identity_there_are_no_credentials(
    gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # no metadata server is asked
    monkeypatch.setenv("HOME", str(tmp_path))
    specification = GcsPlace(gcs, "any").destination("here")
    bare = Gcs(bucket="any", endpoint=gcs.endpoint)
    destination = connect(specification.model_copy(update={"gcs": bare}), Mounts(tmp_path))
    with pytest.raises(
        TransferError, match="name a credentialsSecret, or give the service account"
    ) as caught:
        destination.read(KEY)
    assert caught.value.reason == "CredentialsMissing"


def test_a_lock_that_refuses_a_deletion_is_named(
    place: GcsPlace, proxy: FaultProxy, at: Callable[[GcsPlace], Destination]
) -> None:
    destination = at(place)
    destination.create(DOCUMENT, DATA)
    (version,) = destination.versions_of(DOCUMENT)
    assert destination.lock(version) is None
    message = "Object is under active Temporary hold and cannot be deleted, overwritten or archived"
    proxy.add(lambda request: request.method == "DELETE", status=403, code=message)
    with pytest.raises(LockedError, match="active Temporary hold"):
        destination.erase(version)
