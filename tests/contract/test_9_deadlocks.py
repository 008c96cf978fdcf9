"""Clause 9: of tasks that wait for one another for ever, one is told; a slow holder is never called a deadlock."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.contract.looks import until_looked
from unified_exec import Collect, DeadlockError, Limit, Lock, Semaphore, SyncTaskScope, TaskScope
from unified_exec._sync.deadlocks import look as deadlock

PATIENCE = 30


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlock, "AFTER", 0.0)


async def a_take_both(first: Any, second: Any, here: anyio.Event, there: anyio.Event) -> None:
    async with first:
        here.set()
        await there.wait()
        async with second:
            pass


def take_both(first: Any, second: Any, meeting: threading.Barrier) -> None:
    with first:
        meeting.wait(PATIENCE)
        with second:
            pass


async def test_of_a_ring_of_coroutines_one_is_told_and_the_other_goes_on() -> None:
    one, two = Lock(name="one"), Lock(name="two")
    here, there = anyio.Event(), anyio.Event()
    async with TaskScope(policy=Collect()) as scope:
        handles = [
            scope.spawn(a_take_both, one, two, here, there, name="forwards"),
            scope.spawn(a_take_both, two, one, there, here, name="backwards"),
        ]
    errors = [error for handle in handles if (error := handle.exception()) is not None]
    assert [type(error) for error in errors] == [DeadlockError]
    text = str(errors[0])
    assert str(pickle.loads(pickle.dumps(errors[0]))) == text
    for part in ("Lock(name='one') acquired at", "waits for Lock(name='two') at", "test_9_deadlocks.py:"):
        assert part in text
    assert not one.locked()
    assert not two.locked()


async def test_philosophers_in_threads_and_a_coroutine_all_eat_but_one() -> None:
    forks = [Lock(name=f"fork {n}") for n in range(5)]
    meeting = threading.Barrier(5)
    taken, go = anyio.Event(), anyio.Event()
    async with TaskScope(policy=Collect()) as scope:
        handles: list[Any] = [scope.spawn(take_both, forks[n], forks[n + 1], meeting) for n in range(4)]
        handles.append(scope.spawn(a_take_both, forks[4], forks[0], taken, go))
        await taken.wait()
        await anyio.to_thread.run_sync(meeting.wait, PATIENCE)
        go.set()
    errors = [handle.exception() for handle in handles]
    assert sorted(type(error).__name__ for error in errors) == ["DeadlockError", *["NoneType"] * 4], errors


async def test_a_ring_over_the_end_of_a_scope_and_over_a_task_is_found() -> None:
    lock = Lock(name="mine")

    async def wait_for_scope() -> None:
        async with lock, TaskScope() as inner:
            inner.spawn(lock.acquire_sync)

    async def wait_for_task(scope: TaskScope) -> None:
        async with lock:
            await scope.spawn(a_take, lock)

    for make in (wait_for_scope, wait_for_task):
        async with TaskScope(policy=Collect()) as outer:
            handle: Any = outer.spawn(make, *([outer] if make is wait_for_task else []))
        error = handle.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, DeadlockError)
        assert "waits for task" in str(error)
        assert not lock.locked()


async def hold_lock_and_wait(
    limit: Limit, lock: Lock, here: anyio.Event, there: anyio.Event, seconds: float | None
) -> None:
    async with lock:
        here.set()
        await there.wait()
        with anyio.move_on_after(seconds):
            async with limit:
                pass


@pytest.mark.parametrize("end", ["never", "by a deadline", "by another permit"])
async def test_a_ring_over_a_limit_is_found_unless_a_deadline_or_another_holder_opens_it(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, lock = Limit(2 if end == "by another permit" else 1), Lock(name="mine")
    here, there, done = anyio.Event(), anyio.Event(), anyio.Event()

    async def hold_the_other() -> None:
        async with limit:
            await done.wait()

    async with TaskScope(policy=Collect()) as scope:
        handles: list[Any] = [scope.spawn(hold_the_other)] if end == "by another permit" else []
        await anyio.lowlevel.checkpoint()
        seconds = 1.0 if end == "by a deadline" else None
        handles += [
            scope.spawn(a_take_both, limit, lock, here, there),
            scope.spawn(hold_lock_and_wait, limit, lock, there, here, seconds),
        ]
        if end == "by another permit":
            await until_looked(monkeypatch)
            done.set()
    errors = [error for handle in handles if (error := handle.exception()) is not None]
    assert [type(error) for error in errors] == [DeadlockError] * (end == "never"), errors
    if errors:
        assert ", holds Limit(1), waits for Lock(name='mine') at" in str(errors[0])
        assert "holds Lock(name='mine') acquired at" in str(errors[0])
        assert "waits for Limit(1)" in str(errors[0])


async def a_take(lock: Lock) -> None:
    async with lock:
        pass


@pytest.mark.parametrize("holds", ["sleeping", "in another wait", "with a timeout", "one of two permits"])
async def test_who_can_go_on_is_no_deadlock(holds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Lock(), Semaphore(2) if holds == "one of two permits" else Lock()
    here, there, done = anyio.Event(), anyio.Event(), anyio.Event()
    free = threading.Event()

    async def hold() -> None:
        async with one:
            here.set()
            await there.wait()
            if holds == "sleeping":
                await done.wait()
            elif holds == "in another wait":
                await anyio.to_thread.run_sync(free.wait)
            elif holds == "with a timeout":
                with pytest.raises(TimeoutError):
                    await two.acquire(timeout=0.8)
            else:
                async with two:
                    pass

    async def hold_the_other_permit() -> None:
        async with two:
            await done.wait()

    async def wait() -> None:
        async with two:
            there.set()
            await here.wait()
            async with one:
                pass

    async with TaskScope() as scope:
        handles = [scope.spawn(hold), scope.spawn(wait)]
        if holds == "one of two permits":
            handles.append(scope.spawn(hold_the_other_permit))
        if holds != "with a timeout":
            await until_looked(monkeypatch)
        done.set()
        free.set()
    assert all(handle.exception() is None for handle in handles)


def test_a_ring_of_threads_without_a_loop_is_found() -> None:
    one, two = Lock(), Lock()
    meeting = threading.Barrier(2)
    with SyncTaskScope(policy=Collect()) as scope:
        handles = [scope.spawn(take_both, one, two, meeting), scope.spawn(take_both, two, one, meeting)]
    assert sorted(type(handle.exception()).__name__ for handle in handles) == ["DeadlockError", "NoneType"]
