"""A refusal is believed only when the same request has been refused for a while."""

from holdfast.controller.refusals import Refusals


def test_what_is_refused_for_a_while_is_believed() -> None:
    refusals = Refusals()
    assert not refusals.lasts("run", "PUT /a", 0, 5)
    assert not refusals.lasts("run", "PUT /a", 4, 5)
    assert refusals.lasts("run", "PUT /a", 5, 5)
    refusals.end("run")
    assert not refusals.lasts("run", "PUT /a", 6, 5)


def test_another_request_and_one_of_long_ago_count_anew() -> None:
    refusals = Refusals()
    refusals.lasts("run", "PUT /a", 0, 5)
    assert not refusals.lasts("run", "PUT /b", 10, 5)
    assert not refusals.lasts("run", "PUT /b", 1000, 5)
    assert not refusals.lasts("other", "PUT /b", 1001, 5)


def test_its_memory_is_bounded() -> None:
    refusals = Refusals()
    for number in range(20_000):
        refusals.lasts(number, "PUT /a", 0, 5)
    assert len(refusals._known) <= 5000
