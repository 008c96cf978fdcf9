"""What looks like the natural end of a task, a map or a stream, and is none."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.scope import many
from tests.waiting import until_async
from unified_exec import (
    Collect,
    Pipeline,
    SyncTaskHandle,
    SyncTaskScope,
    TaskCancelled,
    TaskScope,
    TaskTimeout,
    Verdict,
    call,
    check_cancelled,
    is_cancelled,
)
from unified_exec._rules.policies import Tally
from unified_exec.executor import ProcessExecutor, ThreadExecutor

pytestmark = pytest.mark.every_loop


async def await_what_was_cancelled(x: int = 0) -> int:
    if x == 2 or x == 0:
        others = asyncio.get_running_loop().create_future()
        others.cancel()
        await others
    return x


def skip_trio(backend: str) -> None:
    if backend == "trio":
        pytest.skip("trio raises Cancelled in nothing but cancelled scopes")


async def test_awaiting_a_task_that_no_scope_cancelled_ends_nothing_without_an_error(anyio_backend_name: str) -> None:
    skip_trio(anyio_backend_name)
    with pytest.raises(ExceptionGroup) as raised:
        async with TaskScope() as scope:
            await scope.spawn(await_what_was_cancelled)
    assert raised.group_contains(TaskCancelled, match="something that it awaited was cancelled")


async def test_a_map_with_an_item_that_others_cancelled_does_not_end_as_if_it_were_complete(
    anyio_backend_name: str,
) -> None:
    skip_trio(anyio_backend_name)
    results = []
    with pytest.raises(ExceptionGroup) as raised:
        async with TaskScope() as scope:
            async for x in scope.map(await_what_was_cancelled, [1, 2, 3]):
                results.append(x)
    assert raised.group_contains(TaskCancelled)
    assert results == [1]


def end_at_two(x: int) -> int:
    if x == 2:
        raise StopAsyncIteration(x)
    return x


def end_at_three(x: int) -> int:
    if x == 3:
        raise StopIteration(x)
    return x


async def a_end_at_two(x: int) -> int:
    return end_at_two(x)


def count_and_end() -> Iterator[int]:
    yield 1
    raise StopAsyncIteration


@pytest.mark.parametrize(("fn", "on"), [(end_at_two, "thread"), (end_at_two, "process"), (a_end_at_two, "loop")])
async def test_an_item_that_raises_stop_async_iteration_does_not_end_its_map(fn: Any, on: Any) -> None:
    async with TaskScope() as scope:
        results = []
        with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
            async for x in scope.map(fn, [1, 2, 3], on=on):
                results.append(x)
        assert results == [1]
        with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
            await Pipeline([1, 2, 3]).map(fn, on=on).collect()


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_a_generator_that_raises_stop_async_iteration_does_not_end_its_stream(on: Any) -> None:
    async with TaskScope() as scope:
        stream = scope.stream(count_and_end, on=on)
        assert await anext(stream) == 1
        with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
            await anext(stream)


@pytest.mark.parametrize("on", ["thread", "process"])
def test_a_task_that_raises_stop_iteration_ends_no_loop_over_results(on: str) -> None:
    with SyncTaskScope(policy=Collect()) as scope:
        handles = [scope.spawn(end_at_three, x, on=on) for x in (2, 3, 4)]
        with pytest.raises(RuntimeError, match="task 'end_at_three' raised StopIteration") as caught:
            list(map(SyncTaskHandle.result, handles))
    assert isinstance(caught.value.__cause__, StopIteration)


@pytest.mark.parametrize(("make", "chunksize"), [(ThreadExecutor, 1), (ProcessExecutor, 1), (ProcessExecutor, 2)])
def test_a_call_that_raises_stop_iteration_does_not_end_the_map_of_an_executor(make: Any, chunksize: int) -> None:
    executor: Executor
    with make(1) as executor, pytest.raises(RuntimeError, match="raised StopIteration"):
        list(executor.map(end_at_three, range(9), chunksize=chunksize))


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_several_tasks_may_take_the_items_of_one_stream(on: Any, tmp_path: Path) -> None:
    taken: list[int] = []

    async def take() -> None:
        async for item in stream:
            taken.append(item)
            await checkpoint()

    async with TaskScope(timeout=60) as scope:
        stream = scope.stream(many.count_to, tmp_path, 20, on=on)
        for _ in range(3):
            scope.spawn(take)
    assert sorted(taken) == list(range(20))


@pytest.mark.parametrize("how", ["break", "kept"])
async def test_the_scope_waits_for_the_end_of_an_async_generator_that_was_left(how: str) -> None:
    ended: list[str] = []

    async def count() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            for _ in range(3):
                await checkpoint()
            ended.append("yes")

    async with TaskScope() as scope:
        stream = scope.stream(count)
        async for _ in stream:
            break
        if how == "break":
            del stream
            assert await until_async(lambda: ended == ["yes"], 30)
    assert ended == ["yes"]
    if how == "kept":
        with pytest.raises(RuntimeError, match="take its items inside the block"):
            await anext(stream)


async def test_a_map_closes_no_file_of_its_callers(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("a\nb\nc\n")
    with (tmp_path / "lines").open() as lines:
        async with TaskScope() as scope:
            async for size in scope.map(len, lines, limit=1, buffer=0):
                assert size == 2
                break
        assert lines.read() is not None


async def test_a_range_without_a_length_is_an_endless_source() -> None:
    async with TaskScope() as scope:
        async for x in scope.map(abs, range(10**30), on="thread", limit=1, buffer=0):
            assert x == 0
            break
    async with Pipeline(range(10**30)).map(abs) as results:
        assert await anext(results) == 0


async def test_a_pipeline_that_is_left_before_its_first_batch_leaves_nothing_open() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Pipeline(range(10)).batch(3, every=9.0):
            pass
        gc.collect()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_call_raises_what_is_no_exception_itself(kind: type[BaseException], anyio_backend_name: str) -> None:
    if anyio_backend_name != "trio":
        pytest.skip("asyncio ends with it")

    async def end() -> None:
        raise kind("mine")

    with pytest.raises(kind, match="mine"):
        await call(end)


class Empty(Exception):
    def __len__(self) -> int:
        return 0


async def test_an_error_that_is_false_is_an_error() -> None:
    async def fail() -> None:
        raise Empty

    with pytest.raises(ExceptionGroup):
        async with TaskScope() as scope:
            handle = scope.spawn(fail)
    assert "failed" in repr(handle)


class Restarts:
    """Answers with something else than a number of seconds."""

    def __init__(self, answer: Any) -> None:
        self.answers = [answer]

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_SCOPE if tally.errors else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return True

    def restart(self, error: Exception, ages: list[float]) -> Any:
        return self.answers.pop() if self.answers else None


@pytest.mark.parametrize("answer", [object(), -1.0, float("nan"), "0"])
@pytest.mark.parametrize("on", ["thread", "loop"])
async def test_a_policy_that_answers_nonsense_hangs_nothing(answer: Any, on: str) -> None:
    def fail() -> None:
        raise Empty

    async def a_fail() -> None:
        raise Empty

    with pytest.raises(ExceptionGroup) as raised:
        async with TaskScope(policy=Restarts(answer), timeout=60) as scope:
            scope.spawn(a_fail if on == "loop" else fail)
    assert not raised.group_contains(TaskTimeout)


async def test_a_scope_that_cannot_start_leaves_its_task_group(monkeypatch: pytest.MonkeyPatch) -> None:
    from unified_exec._scope import engine

    def fail(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(engine, "watch_loop", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        async with TaskScope(debug=True):
            pass
    await checkpoint()


async def test_another_loop_is_told_that_the_scope_is_not_its_own(tmp_path: Path) -> None:
    async with TaskScope() as scope:
        held = scope.spawn(wait_for_a_cancellation)
        items = scope.map(abs, [1], on="thread")
        stream = scope.stream(count_and_end)

        async def take_completed() -> None:
            async for _ in scope.as_completed([held]):
                pass

        async def start_map() -> None:
            scope.map(abs, [1])

        async def cancel() -> None:
            scope.cancel()

        async def other_loop(use: Any) -> None:
            with pytest.raises(RuntimeError, match=r"another event loop|cannot be started here|belongs to the thread"):
                await use()

        for use in (held.wait, partial(scope.gather, held), take_completed, start_map, cancel, items.__anext__):
            await call(partial(anyio.run, other_loop, use))
        with suppress(RuntimeError):
            async for _ in stream:
                pass
        await call(partial(anyio.run, other_loop, partial(scope.stream(many.count_to, tmp_path, 0).__anext__)))
        held.cancel()


def wait_for_a_cancellation() -> None:
    while not is_cancelled():
        time.sleep(0.001)
    check_cancelled()
