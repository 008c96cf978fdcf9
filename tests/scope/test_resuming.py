"""On asyncio, a task that awaits one result goes on in the very callback that brings it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from unified_exec._loops.adapter import LoopAdapter, Waiter
from unified_exec._loops.current import current_adapter

pytestmark = pytest.mark.asyncio


async def _waiting(*waiters: Waiter, log: list[str]) -> list[asyncio.Task[None]]:
    """Tasks that have begun to wait, each for one of the waiters."""

    async def wait(number: int, waiter: Waiter) -> None:
        await waiter
        log.append(f"task {number}")

    tasks = [asyncio.create_task(wait(number, waiter)) for number, waiter in enumerate(waiters)]
    await asyncio.sleep(0)
    return tasks


async def _in_a_callback(adapter: LoopAdapter, log: list[str], *waiters: Waiter) -> None:
    """Wake the waiters from a callback of the loop, and wait for it."""
    over = asyncio.get_running_loop().create_future()

    def wake_all() -> None:
        for waiter in waiters:
            waiter.wake()

    def callback() -> None:
        adapter.deliver(wake_all)
        log.append("end of the callback")
        over.set_result(None)

    adapter.call_soon(callback)
    await over


async def test_the_one_task_that_was_woken_goes_on_before_the_callback_ends() -> None:
    adapter, log = current_adapter(), list[str]()
    waiter = adapter.waiter()
    await asyncio.gather(*await _waiting(waiter, log=log), _in_a_callback(adapter, log, waiter))
    assert log == ["task 0", "end of the callback"]


async def test_of_several_that_were_woken_none_overtakes() -> None:
    adapter, log = current_adapter(), list[str]()
    first, second = adapter.waiter(), adapter.waiter()
    await asyncio.gather(*await _waiting(first, second, log=log), _in_a_callback(adapter, log, second, first))
    assert log == ["end of the callback", "task 1", "task 0"]


async def test_two_that_wait_for_the_same_both_go_on() -> None:
    adapter, log = current_adapter(), list[str]()
    waiter = adapter.waiter()
    await asyncio.gather(*await _waiting(waiter, waiter, log=log), _in_a_callback(adapter, log, waiter))
    assert sorted(log) == ["end of the callback", "task 0", "task 1"]


async def test_a_task_that_was_cancelled_before_stays_cancelled() -> None:
    adapter, log = current_adapter(), list[str]()
    waiter = adapter.waiter()
    (task,) = await _waiting(waiter, log=log)
    task.cancel()
    await _in_a_callback(adapter, log, waiter)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["end of the callback"]


async def test_inside_of_a_task_nobody_else_goes_on() -> None:
    adapter, log = current_adapter(), list[str]()
    waiter = adapter.waiter()
    tasks = await _waiting(waiter, log=log)
    adapter.deliver(waiter.wake)
    log.append("after deliver")
    await asyncio.gather(*tasks)
    assert log == ["after deliver", "task 0"]


@pytest.mark.parametrize("place", ["remove_done_callback", "set_result"])
async def test_a_ctrl_c_in_between_loses_no_wake_up(monkeypatch: Any, place: str) -> None:
    adapter, log = current_adapter(), list[str]()
    waiter: Any = adapter.waiter()
    (task,) = await _waiting(waiter, log=log)
    future = waiter._future
    method = getattr(type(future), place)
    hits = iter([True])

    def interrupted(self: Any, *args: Any) -> Any:
        result = method(self, *args)
        if next(hits, False):
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(type(future), place, interrupted)
    seen = asyncio.get_running_loop().create_future()

    def callback() -> None:
        try:
            adapter.deliver(waiter.wake)
        except KeyboardInterrupt:
            seen.set_result(None)

    adapter.call_soon(callback)
    await seen
    await task
    assert log == ["task 0"]
