"""Libraries written for trio call `trio.from_thread`: it works in thread tasks as in trio's own threads.

Trio keeps what it needs in one thread-local object, which we fill: a new trio that changes it fails here.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import trio
import trio.from_thread
import trio.lowlevel
from trio._threads import PARENT_TASK_DATA, _ParentTaskData

from unified_exec import Cancelled, TaskScope, ThreadPool, call
from unified_exec._pools.thread import from_thread_trio


def test_trio_keeps_in_its_thread_local_what_we_put_there() -> None:
    assert set(_ParentTaskData.__annotations__) == {"token", "abandon_on_cancel", "cancel_register", "task_register"}
    assert from_thread_trio._parent_task_data is PARENT_TASK_DATA


async def plus_one(x: int) -> int:
    await trio.lowlevel.checkpoint()
    return x + 1


async def fail() -> None:
    raise ValueError("on the loop")


def uses_the_loop(x: int) -> tuple[int, Any]:
    trio.from_thread.check_cancelled()
    return trio.from_thread.run(plus_one, x), trio.from_thread.run_sync(trio.current_time)


def test_run_and_run_sync_reach_the_loop_from_many_threads_at_once() -> None:
    async def main() -> None:
        async with TaskScope() as scope:
            found = await scope.gather(*(scope.spawn(uses_the_loop, n) for n in range(50)))
        assert [value for value, _ in found] == [*range(1, 51)]
        assert all(isinstance(at, float) for _, at in found)
        with pytest.raises(ValueError, match="on the loop"):
            await call(trio.from_thread.run, fail)

    trio.run(main)


def test_what_runs_on_the_loop_and_a_look_are_cancelled_with_the_task() -> None:
    def looks() -> None:
        while True:
            trio.from_thread.check_cancelled()
            time.sleep(0.001)

    async def main() -> None:
        for fn, args in ((trio.from_thread.run, (trio.sleep_forever,)), (looks, ())):
            with trio.move_on_after(0.1) as outer:
                async with TaskScope() as scope:
                    handle = scope.spawn(fn, *args)  # type: ignore[arg-type]
            assert outer.cancelled_caught
            assert handle.cancelled()
        with trio.CancelScope() as outer:
            async with TaskScope() as scope:
                started = threading.Event()

                def late() -> str:
                    started.set()
                    while True:
                        try:
                            trio.from_thread.check_cancelled()
                        except Cancelled:
                            break
                    with pytest.raises(Cancelled):
                        trio.from_thread.run(plus_one, 1)
                    return "refused"

                handle = scope.spawn(late)
                while not started.is_set():
                    await trio.sleep(0.001)
                outer.cancel()
        assert handle.result() == "refused"

    trio.run(main)


def test_a_thread_that_goes_on_for_another_loop_reaches_no_old_one() -> None:
    import asyncio

    pool = ThreadPool(1)

    async def of_trio() -> None:
        assert await call(trio.from_thread.run_sync, int, "3", on=pool) == 3

    async def of_asyncio() -> None:
        with pytest.raises(RuntimeError, match="created by Trio"):
            await call(trio.from_thread.check_cancelled, on=pool)

    for _ in range(2):
        trio.run(of_trio)
        asyncio.run(of_asyncio())
    pool.close()
