"""The peers that call functions in threads, and those that run coroutines on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .engine import Calls, Engine

Fn = Callable[..., Any]
Args = tuple[Any, ...]


async def _to_thread() -> AsyncIterator[Calls]:
    async def many(fn: Fn, args: Args, count: int) -> Any:
        return (await asyncio.gather(*[asyncio.to_thread(fn, *args) for _ in range(count)]))[-1]

    yield Calls(lambda fn, args: asyncio.to_thread(fn, *args), many)


async def _run_in_executor() -> AsyncIterator[Calls]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as executor:

        async def many(fn: Fn, args: Args, count: int) -> Any:
            return (await asyncio.gather(*[loop.run_in_executor(executor, fn, *args) for _ in range(count)]))[-1]

        yield Calls(lambda fn, args: loop.run_in_executor(executor, fn, *args), many)


async def _anyio() -> AsyncIterator[Calls]:
    from anyio import create_task_group
    from anyio.to_thread import run_sync

    async def many(fn: Fn, args: Args, count: int) -> None:
        async with create_task_group() as group:
            for _ in range(count):
                group.start_soon(run_sync, fn, *args)

    yield Calls(lambda fn, args: run_sync(fn, *args), many)


async def _anyio_create_task() -> AsyncIterator[Calls]:
    from anyio import create_task_group

    async def many(fn: Fn, args: Args, count: int) -> Any:
        async with create_task_group() as group:
            handles = [group.create_task(fn(*args)) for _ in range(count)]
        return [handle.return_value for handle in handles][-1]

    yield Calls(lambda fn, args: fn(*args), many)


async def _anyio_start_soon() -> AsyncIterator[Calls]:
    from anyio import create_task_group

    async def many(fn: Fn, args: Args, count: int) -> None:
        async with create_task_group() as group:
            for _ in range(count):
                group.start_soon(fn, *args)

    yield Calls(lambda fn, args: fn(*args), many)


async def _asyncio_task_group() -> AsyncIterator[Calls]:
    async def many(fn: Fn, args: Args, count: int) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fn(*args)) for _ in range(count)]
        return [task.result() for task in tasks][-1]

    yield Calls(lambda fn, args: fn(*args), many)


RUN_IN_EXECUTOR = Engine("run_in_executor", _run_in_executor, only="asyncio")
PEERS = (
    Engine("asyncio.to_thread", _to_thread, only="asyncio"),
    RUN_IN_EXECUTOR,
    Engine("anyio.to_thread", _anyio, ("anyio",)),
)
# `create_task` returns a handle, as `spawn` does; `start_soon` keeps neither handle nor value.
ANYIO_TASKS = Engine("anyio create_task", _anyio_create_task, ("anyio",), coroutines=True)
TASK_GROUPS = (
    ANYIO_TASKS,
    Engine("anyio start_soon", _anyio_start_soon, ("anyio",), coroutines=True),
    Engine("asyncio.TaskGroup", _asyncio_task_group, only="asyncio", coroutines=True),
)
