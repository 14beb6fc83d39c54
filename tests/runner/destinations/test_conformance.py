"""Every registered kind of destination keeps what the data plane relies on."""

from collections.abc import Callable

import pytest
from tests.places import Place, VolumePlace
from tests.runner.destinations.conformance import Conformance

from holdfast.destinations.registry import DESTINATIONS


def toy(_: pytest.FixtureRequest) -> Place:
    """A box; its module is there only where the toy is registered."""
    from tests.runner.destinations.toy.place import ToyPlace

    return ToyPlace()


PLACES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "s3": lambda request: request.getfixturevalue("s3").new_bucket(),
    "s3-with-versions": lambda request: request.getfixturevalue("versioned").new_bucket(lock=True),
    "gcs": lambda request: request.getfixturevalue("gcs").new_bucket(),
    "volume": lambda _: VolumePlace(),
    "toy": toy,
}
"""A new place of each kind, by the name of its section; and others that behave differently."""


BUILT = [name for name, section in DESTINATIONS.items() if section.is_built]


@pytest.fixture(params=[*BUILT, "s3-with-versions"])
def place(request: pytest.FixtureRequest) -> Place:
    """A new place of a kind."""
    assert request.param in PLACES, f"add a place of the new kind {request.param} to PLACES"
    return PLACES[request.param](request)


class TestConformance(Conformance):
    """Of each kind."""
