"""Who gets the next permit: pure."""

from datetime import UTC, datetime, timedelta

from holdfast.domain.turns import Line, Waiter, line_up, share_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def waiter(namespace: str, name: str = "a", minute: int = 0, wanted: int = 1) -> Waiter:
    return Waiter(namespace, name, START + timedelta(minutes=minute), wanted)


def granted(line: Line) -> dict[tuple[str, str], int]:
    return {(waiter.namespace, waiter.name): count for waiter, count in line.granted.items()}


def order(line: Line) -> list[tuple[str, str]]:
    return [(waiter.namespace, waiter.name) for waiter in line.waiters]


def test_a_namespace_of_many_leaves_the_next_permit_to_one_of_few() -> None:
    crowd = [waiter("crowd", f"r{number:03}") for number in range(500)]
    one = waiter("late", minute=60)
    line = line_up([*crowd, one], {"crowd": 3}, 4)
    assert granted(line) == {("late", "a"): 1}
    assert line.place_of(one).position == 0
    assert line.place_of(crowd[0]).position == 1
    assert line.place_of(crowd[-1]).position == line.place_of(crowd[0]).line_length == 500


def test_a_namespace_alone_leaves_half_of_the_permits_to_those_that_come_later() -> None:
    crowd = [waiter("crowd", f"r{number:03}") for number in range(500)]
    line = line_up(crowd, {}, 10)
    assert sum(line.granted.values()) == share_of(10) == 5
    later = line_up([*line.waiters, waiter("late", minute=60)], {"crowd": 5}, 10)
    assert granted(later) == {("late", "a"): 1}


def test_equal_namespaces_take_turns_and_whoever_has_waited_longest_is_first() -> None:
    line = line_up(
        [waiter("b", "late", 5), waiter("b", "early", 1), waiter("a", "late", 6), waiter("a", "early", 2)],
        {"a": 1, "b": 1},
        2,
    )
    assert order(line) == [("b", "early"), ("a", "early"), ("b", "late"), ("a", "late")]
    assert granted(line) == {}


def test_a_request_of_many_jobs_gets_some_and_waits_for_the_others() -> None:
    many, few = waiter("a", wanted=20), waiter("b", minute=1, wanted=2)
    line = line_up([many, few], {}, 6)
    assert granted(line) == {("a", "a"): 3, ("b", "a"): 2}
    place = line.place_of(many)
    assert (place.permits, place.position) == (3, 1)
    assert place.message("Jobs of restores") == (
        "waits for a permit, as number 1 of 1: at most 6 Jobs of restores run at once, and 3 of one namespace"
    )


def test_the_limit_holds_when_more_go_on_already() -> None:
    assert granted(line_up([waiter("a")], {"b": 9, "c": 3}, 4)) == {}
    assert granted(line_up([waiter("b")], {"b": 9}, 4)) == {}
    assert granted(line_up([waiter("a")], {}, 1)) == {("a", "a"): 1}


def test_what_a_namespace_has_beyond_its_share_costs_nobody_else() -> None:
    """Whoever may create Jobs can give them the labels of the operator's."""
    line = line_up([waiter("a"), waiter("b")], {"b": 50}, 50)
    assert granted(line) == {("a", "a"): 1}


def test_the_answer_depends_on_nothing_but_what_is_there() -> None:
    """So a restart changes nothing, in whatever order those that wait are handled after it."""
    waiters = [waiter(space, f"w{number}", number % 3) for space in "abc" for number in range(5)]
    lines = [line_up(order, {"a": 2}, 7) for order in (waiters, waiters[::-1])]
    assert granted(lines[0]) == granted(lines[1])
    assert order(lines[0]) == order(lines[1])
