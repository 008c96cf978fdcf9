"""unified_exec itself: `scope.spawn` on each backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from unified_exec import InterpreterPool, ProcessPool, TaskScope, ThreadPool

from ..row import OURS
from .engine import WORKERS, Calls, Engine

Fn = Callable[..., Any]


async def _processes() -> AsyncIterator[Calls]:
    async with ProcessPool(WORKERS) as pool, TaskScope(processes=pool) as scope:
        yield _calls(scope, "process", lambda: TaskScope(processes=pool))


async def _interpreters() -> AsyncIterator[Calls]:
    async with InterpreterPool(WORKERS) as pool, TaskScope() as scope:
        yield _calls(scope, pool, TaskScope)


async def _threads() -> AsyncIterator[Calls]:
    async with ThreadPool() as pool, TaskScope(threads=pool) as scope:
        yield _calls(scope, "thread", lambda: TaskScope(threads=pool))


async def _coroutines() -> AsyncIterator[Calls]:
    async with TaskScope() as scope:
        yield _calls(scope, "loop", TaskScope)


def _calls(scope: TaskScope, on: Any, new_scope: Callable[[], TaskScope]) -> Calls:
    # Single calls run in a scope that is open already; for calls at once, opening the scope and its exit, the join,
    # are timed.
    async def many(fn: Fn, args: tuple[Any, ...], count: int) -> Any:
        async with new_scope() as inner:
            handles = [inner.spawn(fn, *args, on=on) for _ in range(count)]
        values = [handle.result() for handle in handles]
        return values[-1]

    return Calls(lambda fn, args: scope.spawn(fn, *args, on=on), many)


PROCESSES = Engine(OURS, _processes, peer=False)
COROUTINES_IN_PROCESSES = Engine("unified_exec (coroutines)", _processes, peer=False, coroutines=True)
INTERPRETERS = Engine(OURS, _interpreters, peer=False)
THREADS = Engine(OURS, _threads, peer=False)
COROUTINES = Engine(OURS, _coroutines, peer=False, coroutines=True)
