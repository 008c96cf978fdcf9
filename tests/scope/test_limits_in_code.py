"""`Limit` as a context manager: shared by coroutines, threads and loops; fair, safe to cancel."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.scope import many
from tests.waiting import until_async
from unified_exec import Collect, Limit, Rate, TaskScope


async def test_coroutines_wait_in_turn() -> None:
    limit = Limit(1)
    asked: list[int] = []
    order: list[int] = []

    async def work(n: int) -> None:
        asked.append(n)
        async with limit:
            order.append(n)
            await anyio.lowlevel.checkpoint()
            assert limit.free == 0

    async with TaskScope() as scope:
        for n in range(20):
            scope.spawn(work, n)
    assert order == asked
    assert limit.free == 1


async def test_a_cancelled_waiter_takes_nothing_along() -> None:
    limit = Limit(1)
    async with TaskScope() as scope:
        async with limit:
            with anyio.move_on_after(0):
                async with anyio.create_task_group():
                    await _enter_elsewhere(limit)
        del scope
    assert limit.free == 1


async def _enter_elsewhere(limit: Limit) -> None:
    import contextvars

    async def enter() -> None:
        async with limit:
            raise AssertionError("unreachable")

    done = anyio.Event()

    async def run() -> None:
        try:
            await enter()
        finally:
            done.set()

    async with anyio.create_task_group() as group:
        contextvars.Context().run(group.start_soon, run)
        await done.wait()


async def test_threads_and_coroutines_share_it() -> None:
    limit = Limit(1)
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with limit:
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    async def a_work() -> None:
        for _ in range(20):
            async with limit:
                inside.append(1)
                await anyio.lowlevel.checkpoint()
                assert len(inside) == 1
                inside.pop()

    async with TaskScope() as scope:
        for _ in range(4):
            scope.spawn(work)
            scope.spawn(a_work)
    assert limit.free == 1


async def test_a_waiting_thread_task_can_be_cancelled() -> None:
    limit = Limit(1)
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        with limit:
            raise AssertionError("unreachable")

    async with TaskScope(policy=Collect()) as outer:
        async with limit:
            async with TaskScope(policy=Collect()) as scope:
                import contextvars

                handle = contextvars.Context().run(scope.spawn, wait)
                assert await until_async(waiting.is_set, 60)
                handle.cancel()
                await handle.wait()
                assert handle.cancelled()
        del outer
    assert limit.free == 1


def test_plain_threads_wait_in_turn() -> None:
    limit = Limit(3)
    peak, inside, lock = [0], [0], threading.Lock()

    def work() -> None:
        for _ in range(30):
            with limit:
                with lock:
                    inside[0] += 1
                    peak[0] = max(peak[0], inside[0])
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak[0] <= 3
    assert limit.free == 3


def test_event_loops_of_several_threads_share_it() -> None:
    limit = Limit(1)
    order: list[int] = []

    async def work() -> None:
        async with limit:
            order.append(1)
            await anyio.lowlevel.checkpoint()
            assert len(order) == 1
            order.pop()

    async def many_of_them() -> None:
        async with TaskScope() as scope:
            for _ in range(30):
                scope.spawn(work)

    threads = [threading.Thread(target=anyio.run, args=(many_of_them,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit.free == 1


async def test_with_would_block_the_loop_and_is_refused() -> None:
    with pytest.raises(RuntimeError, match="async with Limit"):
        Limit(1).__enter__()


def test_it_stays_in_its_process() -> None:
    for gate in (Limit(1), Rate(1)):
        with pytest.raises(TypeError, match="limit=limit"):
            pickle.dumps(gate)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Limit(0), ValueError),
        (lambda: Limit(1.5), TypeError),  # type: ignore[arg-type]
        (lambda: Rate(0), ValueError),
        (lambda: Rate(1, per=0), ValueError),
        (lambda: Rate("1"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


async def test_what_is_no_limit_is_refused_by_spawn() -> None:
    async with TaskScope() as scope:
        for wrong, error in ((0, ValueError), ("3", TypeError), (anyio.CapacityLimiter(1), TypeError)):
            with pytest.raises(error):
                scope.spawn(many.double, 1, limit=wrong)  # type: ignore[call-overload]
