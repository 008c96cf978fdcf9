"""Clause 9: of tasks in several processes that wait for one another for ever, one is told, and no parent helps."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.contract.looks import until_looked
from tests.waiting import until_async
from unified_exec import Barrier, Collect, DeadlockError, Event, Lock, Semaphore, SyncTaskScope, TaskScope
from unified_exec._sync.deadlocks import look
from unified_exec._sync.deadlocks.graph import PERMIT
from unified_exec._sync.shared import board

PATIENCE = 60


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "AFTER", 0.0)


def take_both(first: Any, second: Any, all_have_one: Barrier) -> None:
    look.AFTER = 0.0
    with first:
        all_have_one.wait_sync(timeout=PATIENCE)
        with second:
            pass


async def a_take_both(first: Any, second: Any, all_have_one: Barrier) -> None:
    async with first:
        await all_have_one.wait(timeout=PATIENCE)
        async with second:
            pass


async def test_a_ring_over_processes_a_thread_and_a_coroutine_is_found_and_one_is_told() -> None:
    """Each task knows two of the four locks only."""
    locks = [*(Lock(name=f"lock {n}") for n in range(3)), Semaphore(1, name="lock 3")]
    meeting = Barrier(4)
    async with TaskScope(policy=Collect()) as scope:
        handles: list[Any] = [
            scope.spawn(take_both, locks[n], locks[n + 1], meeting, on=("process", "thread")[n // 2], name=f"task {n}")
            for n in range(3)
        ]
        handles.append(scope.spawn(a_take_both, locks[3], locks[0], meeting, name="task 3"))
    errors = [error for handle in handles if (error := handle.exception()) is not None]
    assert [type(error) for error in errors] == [DeadlockError], errors
    ring = errors[0].ring
    assert len(ring) == 4
    number = int(ring[0].split("'")[1].removeprefix("task "))
    for words in ring:
        following = (number + 1) % 4
        kinds = [f"Semaphore(1, name='lock {n}')" if n == 3 else f"Lock(name='lock {n}')" for n in (number, following)]
        assert words.startswith(f"task 'task {number}' in process ")
        assert f" holds {kinds[0]} acquired at {__file__}:" in words
        assert f" and waits for {kinds[1]} at {__file__}:" in words
        number = following
    pids = {int(words.split(" in process ")[1].split()[0]) for words in ring}
    assert len(pids) == 3
    assert os.getpid() in pids
    assert not any(lock.locked() for lock in locks)


async def test_a_ring_over_a_handle_is_found() -> None:
    """The process of the coroutine waits for no lock at all."""
    lock = Lock(name="mine")

    async def hold(scope: TaskScope) -> None:
        async with lock:
            await scope.spawn(middle, scope)

    async def middle(scope: TaskScope) -> None:
        await scope.spawn(take, lock, on="process", name="taker")

    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(hold, scope)
    error = handle.exception()
    assert isinstance(error, DeadlockError)
    assert "task 'taker' in process" in error.ring[0]
    assert "waits for Lock(name='mine')" in error.ring[0]
    assert "holds Lock(name='mine') acquired at" in str(error)
    assert "waits for task 'taker'" in str(error)
    assert not lock.locked()


def take(lock: Lock) -> None:
    look.AFTER = 0.0
    with lock:
        pass


def hold_until(lock: Lock, other: Lock, held: Barrier, go: Event) -> None:
    look.AFTER = 0.0
    with lock:
        held.wait_sync(timeout=PATIENCE)
        go.wait_sync(timeout=PATIENCE)
        with other:
            pass


async def test_a_holder_in_another_process_that_can_go_on_is_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be one if the holder did what it will do."""
    one, two, held, go = Lock(), Lock(), Barrier(2), Event()

    async def wait() -> None:
        async with two:
            await held.wait(timeout=PATIENCE)
            async with one:
                pass

    async with TaskScope(policy=Collect()) as scope:
        handles: list[Any] = [scope.spawn(hold_until, one, two, held, go, on="process"), scope.spawn(wait)]
        await until_looked(monkeypatch, within=PATIENCE)
        assert not any(handle.done() for handle in handles)
        go.set()
    assert sorted(type(handle.exception()).__name__ for handle in handles) == ["DeadlockError", "NoneType"]


@pytest.mark.parametrize("beats", [[5, 5, 5, 5], [5, 6, 6, 6], [5, 6, 7]])
async def test_a_process_that_tells_nothing_new_is_no_member_of_a_ring(
    beats: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has died, or goes on: only what was told twice more after a look was true at that look."""
    one, two = Lock(name="one"), Lock(name="two")
    one.share()
    two.share()
    told = iter(beats)
    done: list[bool] = []

    def exchange(content: Any) -> dict[int, Any]:
        beat = next(told, None)
        if beat is None:
            done.append(True)
            return {}
        key = (1, 1)
        return {1: (beat, [(key, 1.0, 7, PERMIT, (one.token, 1), (two.token,), "task 'other'")])}

    monkeypatch.setattr(board, "exchange", exchange)
    monkeypatch.setattr(board, "known", lambda: True)
    taken: list[int] = []
    two._shared.try_take("another process", taken)  # type: ignore[union-attr]
    assert taken
    async with one:
        async with TaskScope() as scope:
            scope.spawn(give_back, two, taken, done)
            if beats[-1] - beats[0] >= 2:
                with pytest.raises(DeadlockError, match="other"):
                    await two.acquire()
                done.append(True)
            else:
                await two.acquire()
                two.release()


async def test_who_has_another_permit_and_has_long_gone_on_is_no_part_of_a_deadlock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two tasks of another process once waited for one another, and what was told then still stands on the board."""
    permits, lock = Semaphore(2), Lock()
    permits.share()
    lock.share()
    told = [
        ((1 << 40, 1), 1.0, 7, PERMIT, (b"one", 1), (permits.token, b"two"), "task 'other'"),
        ((1 << 40, 2), 1.0, 8, PERMIT, (b"two", 1), (b"one",), "task 'another'"),
    ]
    looks: list[int] = []
    meeting = Barrier(2)

    def exchange(content: Any) -> dict[int, Any]:
        looks.append(1)
        return {1 << 40: (5, told)}

    monkeypatch.setattr(board, "exchange", exchange)
    monkeypatch.setattr(board, "known", lambda: True)
    taken: list[int] = []
    permits._shared.try_take("another process", taken)  # type: ignore[union-attr]
    async with TaskScope() as scope:
        scope.spawn(a_take_both, permits, lock, meeting)
        scope.spawn(a_take_both, lock, permits, meeting)
        assert await until_async(lambda: len(looks) > 8, PATIENCE)
        permits._shared.give(taken)  # type: ignore[union-attr]


async def give_back(lock: Any, taken: list[int], done: list[bool]) -> None:
    assert await until_async(lambda: bool(done), PATIENCE)
    lock._shared.give(taken)


def test_a_ring_over_the_handle_of_a_blocking_scope_is_found() -> None:
    lock = Lock(name="mine")
    with SyncTaskScope(policy=Collect()) as scope:
        with lock:
            handle = scope.spawn(take, lock, on="process", name="taker")
            assert handle.wait()
        assert not lock.locked()
    error = handle.exception()
    assert isinstance(error, DeadlockError)
    assert "waits for task 'taker'" in str(error)
