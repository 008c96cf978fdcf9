"""Design §1, clause 3: a running thread task cooperates, unless it may be interrupted or abandoned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import anyio
import pytest

from tests.contract import tasks
from tests.waiting import until_async
from unified_exec import (
    Cancelled,
    SyncTaskHandle,
    SyncTaskScope,
    TaskScope,
    ThreadPool,
    check_cancelled,
    is_cancelled,
)

pytestmark = pytest.mark.every_loop


class Running:
    """A thread task that does `body` over and over, and what it noticed."""

    def __init__(self, body: Callable[[], object]) -> None:
        self.body = body
        self.began, self.go = threading.Event(), threading.Event()
        self.told: list[object] = []

    def __call__(self) -> str:
        try:
            self.told.append(is_cancelled())
            self.began.set()
            while not self.go.is_set():
                self.body()
            return "done"
        except Cancelled as ask:
            self.told += [is_cancelled(), ask.reason]
            raise
        finally:
            self.told.append("finally")

    async def is_under_way(self) -> None:
        assert await until_async(self.began.is_set, 60)


def forever() -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        sum((1, 2, 3))


def spin() -> None:
    pass


def generate() -> None:
    for _, _ in zip(range(100), forever(), strict=False):
        pass


def comprehend() -> None:
    [n for n in range(100) if n % 3]


async def test_check_cancelled_raises_in_a_task_that_was_asked_and_tells_why() -> None:
    task = Running(check_cancelled)
    async with TaskScope() as scope:
        handle = scope.spawn(task)
        await task.is_under_way()
        handle.cancel("enough")
        await handle.wait()
    assert handle.cancelled()
    assert task.told == [False, True, "enough", "finally"]


async def test_is_cancelled_tells_a_task_that_was_asked_and_its_value_is_kept() -> None:
    task = Running(lambda: task.go.set() if is_cancelled() else None)
    async with TaskScope() as scope:
        handle = scope.spawn(task)
        await task.is_under_way()
        handle.cancel()
        assert await handle == "done"
    assert not handle.cancelled()


async def test_a_task_that_does_not_look_is_not_interrupted_unless_that_was_allowed() -> None:
    task = Running(spin)
    async with TaskScope() as scope:
        handle = scope.spawn(task)
        await task.is_under_way()
        handle.cancel()
        # By then an interrupt would have struck: this one, of a task that allows it, has.
        other = Running(spin)
        second = scope.spawn(other, interrupt=True)
        await other.is_under_way()
        second.cancel()
        await second.wait()
        assert second.cancelled()
        assert not handle.done()
        task.go.set()
        assert await handle == "done"
    assert task.told == [False, "finally"]


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("body", [spin, generate, comprehend], ids=lambda body: body.__name__)
async def test_an_interrupted_task_runs_its_finally_block_and_hears_why(body: Callable[[], object]) -> None:
    async with ThreadPool(1) as pool, TaskScope(threads=pool) as scope:
        for _ in range(10):
            task = Running(body)
            handle = scope.spawn(task, interrupt=True)
            await task.is_under_way()
            handle.cancel("enough")
            with anyio.fail_after(60, shield=True):
                await handle.wait()
            assert handle.cancelled()
            assert task.told == [False, True, "enough", "finally"]


async def test_an_interrupt_never_hits_the_next_task_of_its_thread() -> None:
    async with ThreadPool(1) as pool, TaskScope(threads=pool) as scope:
        for n in range(50):
            ending = Running(spin)
            handle = scope.spawn(ending, interrupt=True)
            await ending.is_under_way()
            ending.go.set()  # it ends, or is interrupted, whatever comes first
            handle.cancel()
            following = scope.spawn(tasks.value, n, interrupt=True)
            await handle.wait()
            assert handle.cancelled() or handle.result() == "done"
            assert await following == n


def until_cancelled(began: threading.Event) -> None:
    began.set()
    while True:
        check_cancelled()


WAITS: dict[str, Callable[[SyncTaskScope, SyncTaskHandle[None]], object]] = {
    "at its end": lambda scope, handle: None,
    "for a result": lambda scope, handle: handle.result(),
    "for the first to end": lambda scope, handle: next(scope.as_completed([handle])).result(),
    "for items": lambda scope, handle: list(scope.map(until_cancelled, [threading.Event()])),
}


@pytest.mark.parametrize("wait", WAITS)
async def test_a_blocking_scope_in_a_thread_task_is_cancelled_with_it(wait: str) -> None:
    began = threading.Event()
    told: list[BaseException] = []

    def outer() -> None:
        try:
            with SyncTaskScope() as scope:
                WAITS[wait](scope, scope.spawn(until_cancelled, began))
        except BaseException as exc:
            told.append(exc)
            raise

    async with TaskScope() as scope:
        handle = scope.spawn(outer, on="thread")
        assert await until_async(began.is_set, 60)
        handle.cancel("enough")
        await handle.wait()
    assert handle.cancelled()
    assert [(type(each), each.args) for each in told] == [(Cancelled, ("enough",))]


async def test_a_blocking_scope_that_a_cancelled_thread_task_opens_is_cancelled_at_once() -> None:
    task = Running(check_cancelled)
    inside = threading.Event()

    def outer() -> None:
        try:
            task()
        finally:
            with SyncTaskScope() as scope:
                scope.spawn(until_cancelled, inside)

    async with TaskScope() as scope:
        handle = scope.spawn(outer, on="thread")
        await task.is_under_way()
        handle.cancel()
        await handle.wait()
    assert handle.cancelled()
    assert not inside.is_set()


async def test_a_failure_in_the_blocking_scope_of_a_cancelled_thread_task_is_not_lost() -> None:
    task = Running(check_cancelled)

    def fails() -> None:
        try:
            task()
        except Cancelled:
            raise KeyError("in its clean-up") from None

    def outer() -> None:
        with SyncTaskScope() as scope:
            scope.spawn(fails)

    with pytest.raises(ExceptionGroup) as caught:
        async with TaskScope() as scope:
            handle = scope.spawn(outer, on="thread")
            await task.is_under_way()
            handle.cancel()
    assert caught.group_contains(KeyError, depth=2)


async def test_a_thread_task_that_waits_for_a_task_of_another_blocking_scope_is_cancelled() -> None:
    began, go = threading.Event(), threading.Event()

    async def main(outer: SyncTaskHandle[bool]) -> None:
        async with TaskScope() as scope:
            waiter = scope.spawn(lambda: began.set() or outer.result(), on="thread")
            assert await until_async(began.is_set, 60)
            waiter.cancel()
            await waiter.wait()
            assert waiter.cancelled()
        go.set()

    def elsewhere() -> None:
        with SyncTaskScope() as scope:
            scope.spawn(main, scope.spawn(go.wait, on="thread"))

    await anyio.to_thread.run_sync(elsewhere)
