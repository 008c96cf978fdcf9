"""What runs in callbacks of a loop that `asyncio.run` has started: if sniffio is installed, anyio does not know there
that one runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

import anyio
import pytest

from tests.scope import many
from unified_exec import Limit, Rate, Retry, TaskHandle, TaskScope

pytest.importorskip("sniffio")


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def within_time() -> Any:
        async with asyncio.timeout(30):
            return await main()

    return Context().run(asyncio.run, within_time())  # not the context of the tests, which may know the library


@pytest.mark.parametrize("on", ["thread", "process"])
def test_a_map_goes_on_in_a_scope_that_has_a_timeout(on: Any) -> None:
    async def main() -> list[int]:
        async with TaskScope(timeout=20) as scope:
            results = [x async for x in scope.map(many.double, range(1000), on=on)]
        return results

    assert run(main) == [2 * x for x in range(1000)]


def test_items_that_are_coroutines_are_tried_again_and_wait_for_limits() -> None:
    failed: set[int] = set()

    async def second_time(x: int) -> int:
        if x not in failed:
            failed.add(x)
            raise ValueError(x)
        return x

    async def main() -> list[list[int]]:
        async with TaskScope() as scope:
            tried = scope.map(second_time, range(3), retry=Retry(1, backoff=0.001))
            gated = [scope.map(many.a_double, [1, 2], limit=gate) for gate in (Limit(1), Rate(1000))]
            results = [[x async for x in stream] for stream in (tried, *gated)]
        return results

    assert run(main) == [[0, 1, 2], [2, 4], [2, 4]]


def test_callbacks_of_the_loop_may_spawn_anything() -> None:
    async def main() -> list[Any]:
        handles: list[TaskHandle[Any]] = []
        spawned = anyio.Event()
        async with TaskScope(timeout=20) as scope:

            def spawn() -> None:
                handles.extend([scope.spawn(many.a_double, 1), scope.spawn(many.double, 2)])
                spawned.set()

            asyncio.get_running_loop().call_soon(spawn)
            await spawned.wait()
        return [handle.result() for handle in handles]

    assert run(main) == [2, 4]
