"""How a restore waits for an archive: what it asks for, how often it looks, what it tells."""

import io
import time
from typing import cast

import pytest

from holdfast.runner.destinations.destination import ArchiveState, Destination
from holdfast.runner.process.progress import Meter
from holdfast.runner.stored.thaw import thaw


class Frozen:
    """Objects that are thawed after so many looks at them."""

    name = "cold"

    def __init__(self, **looks: int) -> None:
        self.looks = looks
        self.asked: list[str] = []

    def uri(self, key: str) -> str:
        return key

    def archived(self, key: str) -> ArchiveState | None:
        left = self.looks.get(key, 0)
        self.looks[key] = left - 1
        return ArchiveState("GLACIER", thawing=key in self.asked) if left > 0 else None

    def thaw(self, key: str) -> None:
        self.asked.append(key)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes any time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_what_can_be_read_is_not_waited_for(pauses: list[float]) -> None:
    frozen = Frozen()
    assert thaw(cast(Destination, frozen), ["a", "b"], Meter(io.StringIO())) == ()
    assert (frozen.asked, pauses) == ([], [])


def test_each_is_asked_for_once_and_all_are_waited_for(pauses: list[float]) -> None:
    frozen = Frozen(a=1, b=12)
    out = io.StringIO()
    (note,) = thaw(
        cast(Destination, frozen), ["a", "b", "c"], Meter(out, clock=iter(range(0, 999, 9)).__next__)
    )
    assert frozen.asked == ["a", "b"]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert note.message.startswith("destination cold: 2 objects were thawed from GLACIER first, which took ")
    lines = out.getvalue().splitlines()
    assert "thawing 2 of 2 objects from GLACIER" in lines[0]
    assert "thawing 1 of 2 objects from GLACIER" in lines[-1]
    assert frozen.looks["a"] == -1, "what is thawed is not looked at again"


def test_a_copy_that_has_vanished_since_is_asked_for_again(pauses: list[float]) -> None:
    frozen = Frozen(a=3)
    original = frozen.archived

    def forgetful(key: str) -> ArchiveState | None:
        found = original(key)
        return found and ArchiveState("GLACIER", thawing=False)

    frozen.archived = forgetful  # type: ignore[method-assign]
    thaw(cast(Destination, frozen), ["a"], Meter(io.StringIO()))
    assert frozen.asked == ["a", "a", "a"]
