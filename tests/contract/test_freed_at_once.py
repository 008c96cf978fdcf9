"""A large value is freed by the last reference to it, not by a later run of the garbage collector."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import anyio
import numpy as np
import pytest

from tests.leaks import LINUX, mappings
from tests.waiting import until_async
from unified_exec import Collect, Race, TaskScope, TaskTimeout

LARGE = 300_000


def blocks() -> int:
    """Mapped blocks of large values; a worker's own page is not one of them."""
    ends = [str(line).split()[0].split("-") for line in mappings()]
    return sum(int(end, 16) - int(start, 16) >= LARGE for start, end in ends)


def give(n: int = LARGE) -> Any:
    if not n:
        raise ValueError
    return np.ones(n, "u1")


def spin() -> None:
    while True:
        time.sleep(0.001)


def items(*sizes: int) -> Iterator[Any]:
    yield from map(give, sizes)


async def a_items(*sizes: int) -> AsyncIterator[Any]:
    for item in items(*sizes):
        yield item


async def values_nobody_awaits() -> None:
    async with TaskScope() as scope:
        for _ in range(3):
            scope.spawn(give, on="process")


async def a_failure_beside_values() -> None:
    try:
        async with TaskScope() as scope:
            first = scope.spawn(give, on="process")
            await first
            scope.spawn(give, 0, on="process")
    except ExceptionGroup:
        pass


async def a_scope_that_is_too_late() -> None:
    try:
        async with TaskScope(timeout=0.2) as scope:
            await scope.spawn(give, on="process").wait()
            scope.spawn(spin, on="process")
    except TaskTimeout:
        pass


async def a_scope_that_is_cancelled() -> None:
    async with TaskScope() as scope:
        await scope.spawn(give, on="process").wait()
        scope.spawn(spin, on="process")
        scope.cancel()


async def outcomes_collected() -> None:
    async with TaskScope(policy=Collect()) as scope:
        handles = [scope.spawn(give, n, on="process") for n in (LARGE, 0, LARGE)]
    assert [handle.exception() is None for handle in handles] == [True, False, True]


async def a_race() -> None:
    async with TaskScope(policy=Race()) as scope:
        for _ in range(3):
            scope.spawn(give, on="process")


async def gathered_with_a_failure() -> None:
    async with TaskScope(policy=Collect()) as scope:
        try:
            await scope.gather(*[scope.spawn(give, n, on="process") for n in (LARGE, 0)])
        except ValueError:
            pass


async def a_map_that_is_left() -> None:
    async with TaskScope() as scope:
        async for _ in scope.map(give, [LARGE] * 6, on="process"):
            break


async def a_map_that_fails() -> None:
    async with TaskScope() as scope:
        try:  # inside: an error that leaves the block with something to cancel makes a cycle of trio's own
            async for _ in scope.map(give, [LARGE, LARGE, 0, LARGE], on="process"):
                pass
        except ValueError:
            pass


def stream_left(fn: Any) -> Callable[[], Coroutine[Any, Any, None]]:
    async def run() -> None:
        async with TaskScope() as scope:
            async for _ in scope.stream(fn, LARGE, LARGE, LARGE, on="process"):
                break

    return run


def stream_failed(fn: Any) -> Callable[[], Coroutine[Any, Any, None]]:
    async def run() -> None:
        async with TaskScope() as scope:
            try:
                async for _ in scope.stream(fn, LARGE, 0, on="process"):
                    pass
            except ValueError:
                pass

    return run


RUNS = {
    fn.__name__: fn
    for fn in (
        values_nobody_awaits,
        a_failure_beside_values,
        a_scope_that_is_too_late,
        a_scope_that_is_cancelled,
        outcomes_collected,
        a_race,
        gathered_with_a_failure,
        a_map_that_is_left,
        a_map_that_fails,
    )
}
RUNS |= {f"a_stream_that_is_left-{fn.__name__}": stream_left(fn) for fn in (items, a_items)}
RUNS |= {f"a_stream_that_fails-{fn.__name__}": stream_failed(fn) for fn in (items, a_items)}


@pytest.mark.loops_in_turn
@pytest.mark.skipif(not LINUX, reason="looks into /proc/self/maps")
@pytest.mark.parametrize("name", RUNS)
async def test_a_large_value_goes_with_the_last_reference(name: str) -> None:
    await RUNS[name]()
    await anyio.lowlevel.checkpoint()
    gc.collect()
    gc.disable()
    try:
        before = blocks()
        await RUNS[name]()
        assert await until_async(lambda: blocks() <= before)
    finally:
        gc.enable()
