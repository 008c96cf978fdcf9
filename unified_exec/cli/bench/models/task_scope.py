"""`TaskScope` on each of its backends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from .model import Kind, Model, PerformAsync

Fn = Callable[[Any], Any]


async def scope_loop(workers: int) -> AsyncIterator[PerformAsync]:
    from .... import TaskScope

    async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
        async with TaskScope() as scope:
            handles = [scope.spawn(fn, item) for item in items]
        return [handle.result() for handle in handles]

    yield perform


async def scope_thread(workers: int) -> AsyncIterator[PerformAsync]:
    from .... import TaskScope, ThreadPool

    with ThreadPool(workers) as pool:

        async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
            async with TaskScope(threads=pool) as scope:
                handles = [scope.spawn(fn, item, on="thread") for item in items]
            return [handle.result() for handle in handles]

        yield perform


async def scope_process(workers: int) -> AsyncIterator[PerformAsync]:
    from .... import ProcessPool, TaskScope

    with ProcessPool(workers) as pool:

        async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
            async with TaskScope(processes=pool) as scope:
                handles = [scope.spawn(fn, item, on="process") for item in items]
            return [handle.result() for handle in handles]

        yield perform


async def scope_map(workers: int) -> AsyncIterator[PerformAsync]:
    from .... import ProcessPool, TaskScope

    with ProcessPool(workers) as pool:

        async def perform(fn: Fn, items: Sequence[Any]) -> list[Any]:
            async with TaskScope(processes=pool) as scope:
                values = [value async for value in scope.map(fn, items, on="process")]
            return values

        yield perform


async def scope_hybrid(workers: int) -> AsyncIterator[PerformAsync]:
    """Fetch on the loop, parse in a process, store in a thread; `stages` holds the three functions."""
    from .... import ProcessPool, TaskScope

    with ProcessPool(workers) as pool:

        async def perform(stages: Any, items: Sequence[Any]) -> list[Any]:
            fetch, parse, store = stages
            async with TaskScope(processes=pool) as scope:

                async def one(item: Any) -> Any:
                    parsed = await scope.spawn(parse, await fetch(item), on="process")
                    return await scope.spawn(store, (item, parsed), on="thread")

                handles = [scope.spawn(one, item) for item in items]
            return [handle.result() for handle in handles]

        yield perform


SCOPES = (
    Model("scope-loop", "TaskScope, coroutines", Kind.LOOP, scope_loop, takes_coroutines=True),
    Model("scope-thread", "TaskScope, threads", Kind.THREAD, scope_thread),
    Model("scope-process", "TaskScope, processes", Kind.PROCESS, scope_process),
    Model("scope-map", "TaskScope.map, processes", Kind.PROCESS, scope_map),
    Model("scope-hybrid", "TaskScope, all three", Kind.HYBRID, scope_hybrid),
)
