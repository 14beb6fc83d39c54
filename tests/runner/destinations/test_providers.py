"""A run goes once through its life in the store of each provider: what a store cannot do costs no backup."""

import copy
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faultproxy import FaultProxy, fault_proxy
from tests.harness import POLICY
from tests.places import S3Place, S3Server, VolumePlace
from tests.providers import HOST, PROVIDERS, Provider
from tests.runner.history import History, traces
from tests.runner.jobs import Jobs
from tests.runner.upkeep.test_healing import Pair

from holdfast.engines.transfer import DestinationError
from holdfast.protocol import CommittedTarget, SurveyTask, VerifyTask
from holdfast.runner.destinations import connect
from holdfast.runner.process.mounts import Mounts
from holdfast.runner.process.progress import Meter
from holdfast.runner.tasks.survey import survey

SIZES = {"part": 5 << 20, "parts": 2}
TWO_PARTS = (5 << 20) + 1000


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request: pytest.FixtureRequest, versioned: S3Server) -> Provider:
    provider: Provider = copy.deepcopy(request.param)
    provider.server = versioned
    return provider


@pytest.fixture
def proxy(provider: Provider, versioned: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(versioned.port) as running:
        running.provider = provider
        if provider.is_virtual:  # no DNS knows the store: the fault proxy is an HTTP proxy too
            monkeypatch.setenv("http_proxy", running.endpoint)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield running


@pytest.fixture
def place(provider: Provider, versioned: S3Server, proxy: FaultProxy) -> S3Place:
    """A bucket of the provider's."""
    endpoint = f"http://{HOST}" if provider.is_virtual else proxy.endpoint
    return dataclasses.replace(versioned.new_bucket(), endpoint=endpoint)


def test_a_run_goes_through_its_life(
    history: History, provider: Provider, place: S3Place, tmp_path: Path
) -> None:
    (tmp_path / "good").mkdir()
    pair = Pair(history, VolumePlace(tmp_path / "good"), place)
    history.size, history.sizes = TWO_PARTS, SIZES
    pair.store_good(1)
    result = pair.commit(2, 1)
    assert (result.healing, result.missing, result.destinations) == ("h", {}, ("good", "lacking"))
    pair.assert_healed(1)
    assert history.is_whole(2, "lacking")

    jobs = history.jobs
    targets = tuple(
        CommittedTarget.model_validate(target.model_dump()) for target in history.tasks["r2"].targets
    )
    verified = history.do(
        VerifyTask(namespace="default", policy=POLICY, run="r2", targets=targets,
                   destinations=jobs.destinations())
    )  # fmt: skip
    assert [copy.destination for copy in verified.copies] == ["good", "lacking"]

    task = SurveyTask(namespace="default", policy=POLICY, destinations=jobs.destinations())
    surveyed = survey(task, Mounts(jobs.root), Meter(io.StringIO()), out=io.StringIO())
    assert (surveyed.listed, surveyed.failures, surveyed.lines) == (("good", "lacking"), {}, 2)
    assert surveyed.profiles.keys() == {"lacking"}, "a volume has none"
    profile = surveyed.profiles["lacking"]
    assert profile.conditional_writes is provider.conditional_writes
    assert profile.checksums is provider.checksums
    assert profile.addressing_style == ("Virtual" if provider.is_virtual else "Path")

    assert history.commit(3, 1, keep=(2,)).retention == {"good": "d", "lacking": "d"}
    assert traces(place, 1) == [] or provider.missing, "only what it hides may be left"
    assert history.is_whole(3, "lacking")


def test_what_is_there_is_not_written_over(jobs: Jobs, place: S3Place) -> None:
    jobs.places = {"store": place}
    first, second = (connect(each, Mounts(jobs.root)) for each in jobs.destinations() * 2)
    assert first.create("a/manifest.json", b"first")
    assert not second.create("a/manifest.json", b"second")
    assert second.read("a/manifest.json") == b"first"


@pytest.mark.parametrize("provider", [PROVIDERS[4]], indirect=True, ids=["oss"])
def test_the_style_of_addresses_can_be_said(jobs: Jobs, place: S3Place) -> None:
    for style in ("Virtual", "Auto"):
        jobs.places = {"store": dataclasses.replace(place, settings={"addressing_style": style})}
        (destination,) = (connect(each, Mounts(jobs.root)) for each in jobs.destinations())
        assert destination.size("absent") is None, "the first request may be one whose answer has no body"
        destination.create(style, b"data")
        assert destination.read(style) == b"data"
    jobs.places = {"store": dataclasses.replace(place, settings={"addressing_style": "Path"})}
    (destination,) = (connect(each, Mounts(jobs.root)) for each in jobs.destinations())
    with pytest.raises(DestinationError, match="virtual hosted"):
        destination.read("Auto")
