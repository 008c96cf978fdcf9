"""The contract of `unified_exec.abc`: every backend keeps it, also one that was written for this test in one file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.contract.in_memory import InMemoryPool
from tests.this_python import needs_interpreters
from unified_exec import InterpreterPool, PoolClosed, ProcessPool, SerializationError, TaskScope, ThreadPool
from unified_exec._loops.current import current_adapter
from unified_exec.abc import Backend, Capabilities

BACKENDS: list[Any] = [
    pytest.param(InMemoryPool, id="memory"),
    pytest.param(lambda: ThreadPool(1), id="thread"),
    pytest.param(lambda: ProcessPool(1), id="process"),
    pytest.param(lambda: InterpreterPool(1), id="interpreter", marks=needs_interpreters),
]


@pytest.fixture(params=BACKENDS)
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    pool: Backend = request.param()
    yield pool
    await pool.aclose()


def spawn(scope: TaskScope, pool: Backend, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    untyped: Any = scope.spawn
    return untyped(fn, *args, on=pool, **options)


def count_to(n: int) -> Iterator[int]:
    yield from range(n)


async def a_count_to(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


async def a_double(n: int) -> int:
    return 2 * n


async def test_a_task_returns_its_value_or_raises_its_error_and_names_its_backend(pool: Backend) -> None:
    async with TaskScope() as scope:
        good = spawn(scope, pool, divmod, 7, 2)
        assert await good == (3, 1)
        assert good.backend == pool.kind
        assert good.timing.finished >= good.timing.started >= good.timing.queued
    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            spawn(scope, pool, divmod, 7, 0)
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


async def test_a_burst_of_tasks_is_settled_each_exactly_once(pool: Backend) -> None:
    async with TaskScope() as scope:
        handles = [spawn(scope, pool, abs, -n) for n in range(200)]
    assert [handle.result() for handle in handles] == list(range(200))


async def test_a_task_that_is_cancelled_before_it_starts_never_runs(pool: Backend, tmp_path: Any) -> None:
    async with TaskScope() as scope:
        handles = [spawn(scope, pool, os.mkdir, str(tmp_path / str(n))) for n in range(50)]
        for handle in handles[10:]:
            handle.cancel()
    ran = {int(name) for name in os.listdir(tmp_path)}
    assert set(range(10)) <= ran
    assert ran == {n for n, handle in enumerate(handles) if not handle.cancelled()}
    assert len(ran) < 50


async def test_what_was_prepared_can_be_enqueued_for_several_tasks(pool: Backend) -> None:
    from unified_exec import Retry

    async with TaskScope() as scope:
        assert await spawn(scope, pool, int, "5", retry=Retry(3)) == 5


async def test_a_loop_has_one_lane(pool: Backend) -> None:
    adapter = current_adapter()
    assert pool.lane(adapter) is pool.lane(adapter)


async def test_a_closed_pool_refuses_tasks_and_says_so(pool: Backend) -> None:
    assert not pool.closed
    assert "closed" not in pool.describe()
    async with TaskScope() as scope:
        await spawn(scope, pool, int)
        await pool.aclose()
        assert pool.closed
        assert "closed" in pool.describe()
        assert pool.describe() in repr(pool)
        with pytest.raises(PoolClosed):
            spawn(scope, pool, int)
    with pytest.raises(PoolClosed):
        pool.lane(current_adapter())
    pool.close()


async def test_a_map_runs_on_it(pool: Backend) -> None:
    untyped: Any = TaskScope()
    async with untyped as scope:
        assert [n async for n in scope.map(abs, range(-100, 0), on=pool)] == list(range(100, 0, -1))


async def test_coroutines_run_where_that_is_a_capability_and_are_refused_elsewhere(pool: Backend) -> None:
    async with TaskScope() as scope:
        if pool.capabilities.coroutines:
            assert await spawn(scope, pool, a_double, 4) == 8
        else:
            with pytest.raises(TypeError, match="async"):
                spawn(scope, pool, a_double, 4)


@pytest.mark.parametrize("generator", [count_to, a_count_to])
async def test_generators_are_streamed_where_that_is_a_capability_and_refused_elsewhere(
    pool: Backend, generator: Any
) -> None:
    able = pool.capabilities.streams and (generator is count_to or pool.capabilities.coroutines)
    async with TaskScope() as scope:
        untyped: Any = scope
        if able:
            assert [n async for n in untyped.stream(generator, 1000, on=pool)] == list(range(1000))
        else:
            with pytest.raises(TypeError, match="streamed"):
                untyped.stream(generator, 1000, on=pool)


async def test_options_are_refused_where_they_would_have_no_effect(pool: Backend) -> None:
    can = pool.capabilities
    async with TaskScope() as scope:
        for option, offered in (("interrupt", can.interrupt and not can.kill), ("abandon", can.abandon)):
            if offered:
                await spawn(scope, pool, int, **{option: True})
            else:
                with pytest.raises(TypeError, match=option):
                    spawn(scope, pool, int, **{option: True})


async def test_what_cannot_be_pickled_is_refused_where_arguments_are_copies(pool: Backend) -> None:
    with open(os.devnull) as file:
        async with TaskScope() as scope:
            if pool.capabilities.copies:
                with pytest.raises(SerializationError):
                    spawn(scope, pool, id, file)
            else:
                assert await spawn(scope, pool, id, file) == id(file)


def test_capabilities_do_not_change() -> None:
    can = Capabilities(kill=True)
    assert can.kill
    assert not can.interrupt
    assert repr(can) == "Capabilities(kill=True)"
    with pytest.raises(AttributeError):
        can.kill = False
