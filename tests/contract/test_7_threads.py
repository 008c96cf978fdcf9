"""Design §1, clause 7: no thread task waits for a long one while a thread is free, and nested work never starves."""

from __future__ import annotations

import threading
from collections import deque

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.contract import tasks
from tests.contract.conftest import Folder
from unified_exec import Collect, PoolClosed, TaskScope, ThreadPool

pytestmark = pytest.mark.every_loop


async def test_short_tasks_do_not_wait_for_a_long_one_while_another_thread_is_free(folder: Folder) -> None:
    async with ThreadPool(2) as pool, TaskScope(threads=pool) as scope:
        for n in range(100):  # known as short from now on
            await scope.spawn(tasks.value, n)
        long = scope.spawn(tasks.hold, folder.path, "long")
        await folder.started("long")
        short = [scope.spawn(tasks.value, n) for n in range(200)]
        assert [await handle for handle in short] == list(range(200))
        assert not long.done()
        folder.release("long")


async def test_as_many_tasks_run_at_once_as_the_pool_has_threads() -> None:
    """Those that wait for each other would else wait for ever."""
    everybody = threading.Barrier(9)
    async with ThreadPool(9) as pool, TaskScope(threads=pool) as scope:
        handles = [scope.spawn(everybody.wait, 60) for _ in range(9)]
        assert sorted([await handle for handle in handles]) == list(range(9))


def test_every_event_loop_that_has_work_gets_a_thread_though_another_holds_all() -> None:
    """Beyond the limit of the pool, if need be."""

    def hold() -> None:
        begun.release()
        go.wait()

    async def holder() -> None:
        async with TaskScope(threads=pool) as scope:
            for _ in range(4):
                scope.spawn(hold)

    async def other() -> int:
        async with TaskScope(threads=pool) as scope:
            return sum([await handle for handle in [scope.spawn(int, 7) for _ in range(50)]])

    begun, go = threading.Semaphore(0), threading.Event()
    with ThreadPool(2) as pool:
        background = threading.Thread(target=anyio.run, args=(holder,))
        background.start()
        try:
            assert begun.acquire(timeout=30)
            assert begun.acquire(timeout=30)
            assert anyio.run(other) == 350
            assert not begun.acquire(blocking=False)
        finally:
            go.set()
            background.join()


async def test_nested_tasks_run_while_their_parents_hold_every_thread() -> None:
    def work(depth: int) -> int:
        return 1 + anyio.from_thread.run(child, depth - 1) if depth else 0

    async def child(depth: int) -> int:
        async with TaskScope(threads=pool) as inner:
            return await inner.spawn(work, depth)

    async with ThreadPool(2) as pool, TaskScope(threads=pool) as scope:
        tops = [scope.spawn(work, 5) for _ in range(6)]
        with anyio.fail_after(60):
            assert [await top for top in tops] == [5] * 6


async def test_tasks_spawned_by_tasks_nest_without_starving() -> None:
    """Also through a coroutine that a thread task waits for."""

    def in_a_thread() -> int:
        return anyio.from_thread.run(on_the_loop)

    async def on_the_loop() -> int:
        async with TaskScope(threads=pool) as scope:
            handle = scope.spawn(spawns_a_thread_task)
        return handle.result()

    async def spawns_a_thread_task() -> int:
        async with TaskScope(threads=pool) as scope:
            handle = scope.spawn(tasks.value, 3)
        return handle.result()

    async with ThreadPool(1) as pool, TaskScope(threads=pool) as scope:
        with anyio.fail_after(60):
            assert await scope.spawn(in_a_thread) == 3


@pytest.mark.usefixtures("quick_switches")
async def test_a_burst_of_tasks_loses_none_while_another_loop_cancels() -> None:
    ran = deque[int]()

    async def burst(numbers: range) -> tuple[int, int]:
        async with TaskScope(threads=pool, policy=Collect()) as scope:
            handles = [scope.spawn(ran.append, n) for n in numbers]
            for handle in handles[::3]:
                handle.cancel()
        return len([handle for handle in handles if handle.cancelled()]), len(handles)

    def another_loop() -> tuple[int, int]:
        return anyio.run(burst, range(3000, 6000))

    with ThreadPool(8) as pool, ThreadPool(1) as second:
        async with TaskScope(threads=second) as scope:
            other = scope.spawn(another_loop)
            cancelled, spawned = await burst(range(3000))
        cancelled, spawned = cancelled + other.result()[0], spawned + other.result()[1]
    assert len(ran) == len(set(ran)) == spawned - cancelled


@pytest.mark.usefixtures("quick_switches")
async def test_a_pool_that_closes_during_a_burst_runs_a_task_or_refuses_it() -> None:
    async with ThreadPool(1) as second:
        for _ in range(20):
            ran, refused = deque[int](), False
            pool = ThreadPool(4)
            with anyio.fail_after(60):
                async with TaskScope(threads=second) as closing, TaskScope(threads=pool) as scope:
                    closing.spawn(pool.close)
                    handles = []
                    while not refused:
                        try:
                            handles.append(scope.spawn(ran.append, len(handles)))
                        except PoolClosed:
                            refused = True
                        if not len(handles) % 100:
                            await anyio.lowlevel.checkpoint()
            assert [handle.result() for handle in handles] == [None] * len(handles)
            assert sorted(ran) == list(range(len(handles)))
