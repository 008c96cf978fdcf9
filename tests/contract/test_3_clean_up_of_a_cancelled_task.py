"""Law 3: a scope that is cancelled while its asyncio task, cancelled before, cleans up ends as any other.

That is how aiohttp stops: it cancels its main task and runs the clean-up contexts in the task's `finally`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from unified_exec import TaskCancelled, TaskScope, check_cancelled


def on_asyncio(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


def looks() -> None:
    while True:
        check_cancelled()


@on_asyncio
async def test_a_scope_that_was_cancelled_in_a_finally_swallows_its_own_cancellation() -> None:
    log: list[str] = []

    async def server(wait: bool) -> None:
        async with contextlib.AsyncExitStack() as stack:
            scope = await stack.enter_async_context(TaskScope())
            scope.spawn(looks)
            scope.spawn(anyio.sleep_forever)
            with contextlib.suppress(asyncio.CancelledError):
                waiting.set()
                await asyncio.sleep(600)
            scope.cancel()
            if wait:
                await asyncio.sleep(600)
        log.append("left")
        await asyncio.sleep(0)
        log.append("cleaned up")

    for wait in (False, True):
        log.clear()
        waiting = asyncio.Event()
        task = asyncio.create_task(server(wait))
        await waiting.wait()
        task.cancel()
        await asyncio.wait([task], timeout=30)
        assert log == ["left", "cleaned up"]
        assert not task.cancelled()


@on_asyncio
async def test_a_cancellation_that_comes_with_the_scopes_own_is_not_swallowed() -> None:
    async def body() -> None:
        async with TaskScope() as scope:
            scope.spawn(anyio.sleep_forever)
            scope.cancel()
            task.cancel()
            await asyncio.sleep(600)

    task = asyncio.create_task(body())
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()


@on_asyncio
async def test_neither_is_one_that_comes_while_the_scope_waits_for_its_end() -> None:
    waiting, cleaning, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def body() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            waiting.set()
            await asyncio.sleep(600)
        async with TaskScope() as scope:
            handle = scope.spawn(slow)
            scope.cancel()
        assert not handle.done()

    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cleaning.set()
            with anyio.CancelScope(shield=True):
                await cancelled.wait()

    task = asyncio.create_task(body())
    await waiting.wait()
    task.cancel()
    await cleaning.wait()
    task.cancel()
    cancelled.set()
    await asyncio.wait([task], timeout=30)
    assert task.cancelled()


@on_asyncio
async def test_the_cancellation_of_an_enclosing_scope_goes_on() -> None:
    after: list[str] = []
    waiting = asyncio.Event()

    async def body() -> None:
        with anyio.CancelScope() as outer:
            async with TaskScope() as scope:
                handle = scope.spawn(looks)
                with contextlib.suppress(asyncio.CancelledError):
                    waiting.set()
                    await asyncio.sleep(600)
                scope.cancel()
                outer.cancel()
            after.append("inside")
        after.append("outside")
        with pytest.raises(TaskCancelled):
            handle.result()

    task = asyncio.create_task(body())
    await waiting.wait()
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert after in (["outside"], [])
