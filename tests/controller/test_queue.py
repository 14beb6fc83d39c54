"""One worker a key, nothing lost, nothing twice, and patience with what fails."""

import asyncio
import logging
import time
from collections import Counter

import pytest

from holdfast.controller import queue as queues
from holdfast.controller.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NamespaceTerminatingError,
    NotFoundError,
    TransientError,
)
from holdfast.controller.health import Health
from holdfast.controller.queue import Key, Lane, Queue

A, B = Key("runs", "ns", "a"), Key("runs", "ns", "b")


async def until(condition: "asyncio.Event") -> None:
    await asyncio.wait_for(condition.wait(), 5)


async def test_key_added_while_handled_is_handled_once_more() -> None:
    calls: Counter[Key] = Counter()
    entered, leave, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handle(key: Key) -> None:
        calls[key] += 1
        entered.set()
        await leave.wait()
        if calls[key] == 2:
            done.set()

    queue = Queue(handle, Health(time.monotonic))
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await until(entered)
    for _ in range(5):
        queue.add(A)
    leave.set()
    await until(done)
    await asyncio.sleep(0)
    task.cancel()
    assert calls[A] == 2


async def test_key_is_never_handled_by_two_workers() -> None:
    inside: set[Key] = set()
    handled: Counter[Key] = Counter()
    done = asyncio.Event()

    async def handle(key: Key) -> float | None:
        assert key not in inside
        inside.add(key)
        await asyncio.sleep(0)
        inside.discard(key)
        handled[key] += 1
        if handled[key] < 50:
            return 0
        if min(handled[A], handled[B]) >= 50:
            done.set()
        return None

    queue = Queue(handle, Health(time.monotonic))
    task = asyncio.create_task(queue.run())
    queue.add(A)
    queue.add(B)
    await until(done)
    assert not task.done()
    task.cancel()


@pytest.mark.parametrize("error", [TransientError("GET /x", 503, "away"), RuntimeError("a defect")])
async def test_key_that_fails_is_tried_again_and_stops_no_other(error: Exception) -> None:
    calls: Counter[Key] = Counter()
    done = asyncio.Event()

    async def handle(key: Key) -> None:
        calls[key] += 1
        if key == A and calls[A] < 3:
            raise error
        if key == A:
            done.set()

    queue = Queue(handle, Health(time.monotonic), workers=1)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    queue.add(B)
    await until(done)
    task.cancel()
    assert calls == {A: 3, B: 1}


async def handle_again(error: ApiError, *keys: Key) -> None:
    """The first time of each key fails with the error; until one of them is handled again."""
    calls: Counter[Key] = Counter()
    done = asyncio.Event()

    async def handle(key: Key) -> None:
        calls[key] += 1
        if calls[key] == 1:
            raise error
        done.set()

    queue = Queue(handle, Health(time.monotonic))
    task = asyncio.create_task(queue.run())
    for key in keys:
        queue.add(key)
    await until(done)
    task.cancel()


@pytest.mark.parametrize(
    ("error", "is_defect"),
    [
        (ConflictError("PUT /x/status", 409, "has changed"), False),
        (NotFoundError("PUT /x/status", 404, "not found"), False),
        (NamespaceTerminatingError("POST /x", 403, "being terminated"), False),
        (InvalidError("POST /x", 422, "no such field"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ApiError) else str(value),
)
async def test_what_people_delete_is_no_defect(
    error: ApiError, is_defect: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await handle_again(error, A)
    # asyncio may log of what tests before this one have left, whenever that is collected.
    said = [record for record in caplog.records if record.name == "holdfast.controller.queue"]
    assert [record.exc_info is not None for record in said] == [is_defect]
    assert str(error) in caplog.text


@pytest.mark.parametrize(
    "error", [TransientError("GET /x", 503, "away"), ForbiddenError("GET /x", 403, "may not")]
)
async def test_what_the_cluster_logs_once_is_not_logged_for_each_key(
    error: ApiError, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await handle_again(error, *(Key("runs", "ns", str(number)) for number in range(20)))
    assert [record for record in caplog.records if record.name == "holdfast.controller.queue"] == []


def test_a_key_that_gets_on_is_not_slowed_down_and_one_that_goes_round_is() -> None:
    async def handle(_: Key) -> None: ...

    queue = Queue(handle, Health(time.monotonic))
    requests = ("PUT /a", "PUT /a", "PUT /a", "PUT /b", "PUT /b", "PUT /a")
    pauses = [queue._backoff(A, TransientError(request, 503, "away")) for request in requests]
    assert pauses == [0.25, 0.5, 1.0, 0.25, 0.5, 2.0]


async def test_earlier_appointment_stands() -> None:
    done = asyncio.Event()

    async def handle(_: Key) -> None:
        done.set()

    queue = Queue(handle, Health(time.monotonic))
    task = asyncio.create_task(queue.run())
    queue.add_after(A, 0.01)
    queue.add_after(A, 3600)
    await until(done)
    task.cancel()


async def test_no_lane_waits_behind_a_less_urgent_one_and_none_starves() -> None:
    order: list[Key] = []
    done = asyncio.Event()
    keys = {lane: [Key("runs", "ns", f"{lane.name}-{number}") for number in range(40)] for lane in Lane}

    async def handle(key: Key) -> None:
        order.append(key)
        if len(order) == sum(map(len, keys.values())):
            done.set()

    queue = Queue(handle, Health(time.monotonic), workers=1)
    for lane in reversed(Lane):
        for key in keys[lane]:
            queue.add(key, lane)
    task = asyncio.create_task(queue.run())
    await until(done)
    task.cancel()
    first = Counter(key.name.partition("-")[0] for key in order[:60])
    assert first == {"START": 30, "DUE": 15, "BACKGROUND": 15}
    assert len(set(order)) == len(order)


async def test_key_of_the_background_that_becomes_due_is_handled_once_and_first() -> None:
    order: list[Key] = []
    done = asyncio.Event()

    async def handle(key: Key) -> None:
        order.append(key)
        if key == A:
            done.set()

    queue = Queue(handle, Health(time.monotonic), workers=1)
    queue.add_to_background(A)
    queue.add_to_background(B)
    queue.add(B, Lane.START)
    queue.add(B)
    task = asyncio.create_task(queue.run())
    await until(done)
    task.cancel()
    assert order == [B, A]


async def test_worker_outlives_the_end_of_what_its_handler_waited_for() -> None:
    done = asyncio.Event()
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    calls: Counter[Key] = Counter()

    async def handle(key: Key) -> None:
        calls[key] += 1
        if key == A and calls[A] == 1:
            await other
        if key == A:
            done.set()

    queue = Queue(handle, Health(time.monotonic), workers=1)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await until(done)
    task.cancel()
    assert calls[A] == 2


async def test_handler_that_hangs_stops_the_heart_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "LOOK_SECONDS", 0.001)
    now = 0.0
    health = Health(lambda: now)
    entered = asyncio.Event()

    async def handle(_: Key) -> None:
        entered.set()
        await asyncio.Event().wait()

    queue = Queue(handle, health)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await until(entered)
    now = queues.MAX_SECONDS + 1
    for _ in range(3):
        await asyncio.sleep(0.01)
    assert list(health.silent()) == [queues.NAME]
    task.cancel()


def test_silence_is_an_illness_only_after_its_limit() -> None:
    now = 0.0
    health = Health(lambda: now)
    health.expect("loop", 10)
    now = 10.0
    assert health.silent() == {}
    now = 10.5
    assert health.silent() == {"loop": 10.5}
    health.beat("loop")
    assert health.silent() == {}
