"""`Rate`: so many starts in any window of time, wherever they happen."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.scope import many
from tests.waiting import until
from unified_exec import Cancelled, Limit, Rate, SyncTaskScope, TaskScope
from unified_exec._sync import rate as module


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queued(rate: Rate) -> Any:
    from unified_exec._sync.waiters import ThreadWaiter

    waiter = ThreadWaiter()
    rate.acquire_nowait_or_enqueue(waiter)
    return waiter


def test_a_rate_allows_so_many_starts_in_any_window() -> None:
    rate = Rate(2, per=10.0)
    clock = rate._clock = Clock()
    waiters = [queued(rate) for _ in range(5)]
    assert [each.granted for each in waiters] == [True, True, False, False, False]
    clock.now = 9.99
    rate._admit()
    assert not waiters[2].granted
    clock.now = 10.0
    rate._admit()
    assert [each.granted for each in waiters] == [True, True, True, True, False]
    rate.cancel(waiters[4])
    clock.now = 15.0
    late = queued(rate)
    assert not late.granted
    clock.now = 20.0
    rate._admit()
    assert late.granted


async def test_starts_are_spread_in_time_wherever_they_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = Rate(3, per=0.05)
    starts: list[float] = []
    clock = rate._clock

    class Starts(module.deque):  # type: ignore[type-arg, name-defined]
        def append(self, instant: float) -> None:
            starts.append(instant)
            super().append(instant)

    rate._starts = Starts(maxlen=3)

    def in_thread() -> None:
        with rate:
            pass

    async with TaskScope() as scope:
        for _ in range(3):
            scope.spawn(in_thread)
            scope.spawn(many.double, 1, on="process", limit=rate)
            scope.spawn(many.a_double, 1, limit=rate)
        async with rate:
            pass
        assert [x async for x in scope.map(many.double, range(3), limit=rate)] == [0, 2, 4]
    assert len(starts) == 13
    assert all(later - earlier >= 0.05 for earlier, later in zip(starts, starts[3:], strict=False))
    assert clock() >= starts[-1]


async def test_cancelling_those_that_wait_for_a_rate_leaves_it_whole() -> None:
    rate = Rate(1, per=0.05)
    async with TaskScope() as scope:
        for _ in range(50):
            scope.spawn(many.a_double, 1, limit=rate)
        scope.cancel()
    async with rate, rate:
        pass


def test_a_rate_without_a_loop() -> None:
    with SyncTaskScope() as scope:
        assert list(scope.map(many.double, range(4), limit=Rate(2, per=0.01))) == [0, 2, 4, 6]


def test_the_waiting_thread_is_interrupted_by_nothing_but_its_turn() -> None:
    limit = Limit(1)
    done = threading.Event()

    def wait() -> None:
        with limit:
            done.set()

    with limit:
        thread = threading.Thread(target=wait)
        thread.start()
        assert until(lambda: len(limit._queue) == 1)
        assert not done.is_set()
    thread.join()
    assert done.is_set()


def test_cancelled_is_what_a_waiting_thread_task_gets() -> None:
    assert issubclass(Cancelled, BaseException)
