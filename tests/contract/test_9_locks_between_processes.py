"""Clause 9 between processes: locks and their like go along with a task, and a death leaves nobody waiting."""

from __future__ import annotations

import logging
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from benchmarks.soak import lock_storm
from tests.contract.conftest import PLACES
from tests.waiting import reached
from unified_exec import (
    Barrier,
    BrokenBarrier,
    Collect,
    Condition,
    Event,
    Lock,
    LockAbandoned,
    ProcessPool,
    RLock,
    Semaphore,
    SharedValue,
    TaskScope,
    WorkerCrashed,
)

pytestmark = pytest.mark.one_loop
PERMITS = {"Lock": Lock, "RLock": RLock, "Semaphore": lambda **kw: Semaphore(1, **kw)}
BOTH = [(a, b) for a in PLACES for b in PLACES if "process" in a + b]
pairs = pytest.mark.parametrize(("one", "other"), BOTH, ids=["-and-".join(pair) for pair in BOTH])


@pytest.fixture(params=list(PERMITS))
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    found: Callable[..., Any] = PERMITS[request.param]
    return found


def start(scope: TaskScope, place: str, plain: Any, coroutine: Any, *args: Any, **options: Any) -> Any:
    to = PLACES[place]
    return scope.spawn(coroutine if to.coroutine else plain, *args, on=to.on, **options)  # type: ignore[call-overload]


def step(path: str) -> None:
    with open(path, "r+") as file:
        found = int(file.read() or 0)
        file.seek(0)
        file.write(str(found + 1))


async def a_count(lock: Any, path: str, times: int) -> None:
    for _ in range(times):
        async with lock:
            step(path)


def count(lock: Any, path: str, times: int) -> None:
    for _ in range(times):
        with lock:
            step(path)


@pairs
async def test_one_holder_at_a_time(one: str, other: str, tmp_path: Path) -> None:
    lock, path = Lock(), tmp_path / "count"
    path.touch()
    async with TaskScope() as scope:
        for place in (one, other, other):
            start(scope, place, count, a_count, lock, str(path), 60)
    assert path.read_text() == "180"
    assert not lock.locked()


async def test_every_kind_keeps_its_permits(make: Any, tmp_path: Path) -> None:
    lock, path = make(), tmp_path / "count"
    path.touch()
    async with lock:  # held while it becomes shared, with a waiter
        async with TaskScope() as scope:
            waiter = scope.spawn(a_count, lock, str(path), 20)
            await reached(lambda: len(lock._queue) == 1)
            for place in ("process", "process-coroutine", "thread"):
                start(scope, place, count, a_count, lock, str(path), 20)
            await reached(lambda: len(lock._queue) == 2)
            assert path.read_text() == ""
            lock.release()
            await waiter
        await lock.acquire()
    assert path.read_text() == "80"
    assert not lock.locked()


def acquire(lock: Any) -> None:
    lock.acquire_sync()


async def a_acquire(lock: Any) -> None:
    await lock.acquire()


def die_with(lock: Any) -> None:
    lock.acquire_sync()
    os.kill(os.getpid(), signal.SIGKILL)


def release(lock: Any) -> None:
    lock.release()


def acquire_abandoned(lock: Any) -> bool:
    try:
        lock.acquire_sync(timeout=30)
    except LockAbandoned:
        return True
    return False


@pytest.mark.fresh_pool
async def test_what_a_dead_process_held_passes_on(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "unified_exec")
    for on_abandoned in ("warn", "raise"):
        lock: Any = make(name="accounts", on_abandoned=on_abandoned)
        async with TaskScope(policy=Collect()) as scope:
            handle = scope.spawn(die_with, lock, on="process", name="transfer")
            await handle.wait()
            assert isinstance(handle.exception(), WorkerCrashed)
            if on_abandoned == "raise":
                with pytest.raises(LockAbandoned, match=r"abandoned: task 'transfer' in process \d+ \(dead\) ended"):
                    await lock.acquire(timeout=30)
            else:
                await lock.acquire(timeout=30)
                assert "abandoned: task 'transfer' in process" in caplog.text
            assert getattr(lock, "abandoned", True)
            lock.release()
            async with lock:
                assert not getattr(lock, "abandoned", False)
            await scope.spawn(acquire, lock, on="thread")
            assert await scope.spawn(acquire_abandoned, lock, on="process") == (on_abandoned == "raise")


@pytest.mark.parametrize("place", [name for name in PLACES if name != "loop"])
async def test_what_an_ended_task_held_passes_on(make: Any, place: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "unified_exec")
    lock: Any = make()
    async with TaskScope() as scope:
        await scope.spawn(locked, lock, on="process")  # it becomes shared
        await start(scope, place, acquire, a_acquire, lock, name="careless")
        with anyio.fail_after(30):
            async with lock:
                assert getattr(lock, "abandoned", True)
    assert "abandoned: task 'careless' in process" in caplog.text


def locked(lock: Any) -> bool:
    found: bool = lock.locked()
    return found


async def test_only_the_holder_releases_and_the_error_names_it() -> None:
    lock = Lock(name="accounts")
    async with TaskScope(policy=Collect()) as scope:
        async with lock:
            for name in ("process", "process-coroutine"):
                handle = start(scope, name, release, None, lock) if name == "process" else scope.spawn(a_release, lock)
                await handle.wait()
                assert "cannot release Lock(name='accounts'): it is held by " in str(handle.exception())
                assert name != "process" or f"in process {os.getpid()}" in str(handle.exception())
            handle = scope.spawn(acquire_now, lock, on="process")
            await handle.wait()
            assert "Lock(name='accounts') is held by" in str(handle.exception())


async def a_release(lock: Any) -> None:
    lock.release()


def acquire_now(lock: Any) -> None:
    lock.acquire_nowait()


async def test_a_cancelled_or_late_waiter_leaves_the_lock_as_it_was(make: Any) -> None:
    lock: Any = make()
    async with ProcessPool(2) as pool, TaskScope(policy=Collect()) as scope:
        async with lock:
            for place in ("process", "process-coroutine"):
                fns = (acquire, a_acquire)
                handle: Any = scope.spawn(fns[place != "process"], lock, on=pool)
                late: Any = scope.spawn(late_acquire, lock, on=pool)
                await late.wait()
                assert isinstance(late.exception(), TimeoutError)
                assert "could not be acquired within" in str(late.exception())
                handle.cancel()
                await handle.wait()
                assert handle.cancelled()
        with anyio.fail_after(30):
            async with lock:
                pass


def late_acquire(lock: Any) -> None:
    lock.acquire_sync(timeout=0.05)


def forks(lock: Lock) -> list[str]:
    found = []
    with lock:
        pid = os.fork()
        if not pid:
            text = "released"
            try:
                lock.release()
            except RuntimeError as error:
                text = str(error)
            os._exit(0 if f"in process {os.getppid()}" in text else 1)
        found.append(str(os.waitpid(pid, 0)[1]))
        found.append(str(lock.locked()))
    pid = os.fork()
    if not pid:
        lock.acquire_sync(timeout=30)
        os._exit(7)  # it is a participant of its own, and dies with the lock
    found.append(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    lock.acquire_sync(timeout=30)
    found.append(str(lock.abandoned))
    lock.release()
    return found


@pytest.mark.fresh_pool
async def test_a_forked_child_does_not_own_what_its_parent_holds() -> None:
    lock = Lock()
    async with TaskScope() as scope:
        assert await scope.spawn(forks, lock, on="process") == ["0", "True", "7", "True"]
        assert not lock.locked()


def nested(lock: Lock, value: SharedValue[int]) -> int:
    async def main() -> None:
        async with ProcessPool(1) as pool, TaskScope() as scope:
            with lock:
                value.add(1)
            await scope.spawn(add_under, lock, value, on=pool)

    anyio.run(main)
    return value.get()


def add_under(lock: Lock, value: SharedValue[int]) -> None:
    with lock:
        value.add(1)


@pytest.mark.fresh_pool
async def test_they_go_on_to_nested_workers_and_come_up_in_respawned_ones() -> None:
    lock, value = Lock(), SharedValue(0)
    async with TaskScope() as scope:
        assert await scope.spawn(nested, lock, value, on="process") == 2
    async with ProcessPool(1, max_tasks_per_worker=1) as pool, TaskScope() as scope:
        for _ in range(3):
            await scope.spawn(add_under, lock, value, on=pool)
    assert value.get() == 5


async def a_follow(event: Event, condition: Condition, barrier: Barrier) -> int:
    await event.wait()
    async with condition:
        await condition.wait()
    return await barrier.wait()


def follow(event: Event, condition: Condition, barrier: Barrier) -> int:
    event.wait_sync()
    with condition:
        condition.wait_sync()
    return barrier.wait_sync()


@pairs
async def test_events_conditions_and_barriers_wake_all_who_wait(one: str, other: str) -> None:
    event, condition, barrier = Event(), Condition(RLock()), Barrier(3)
    async with TaskScope() as scope:
        first = start(scope, one, follow, a_follow, event, condition, barrier)
        if one != "process":
            await reached(lambda: event._waiting() == 1)  # it waits while the event becomes shared
        handles = [first, start(scope, other, follow, a_follow, event, condition, barrier)]
        await reached(lambda: event._waiting() == 2)
        event.set()
        event.clear()
        await reached(lambda: condition._waiting() == 2)
        for n in (1, 0):
            async with condition:
                condition.notify()
            assert condition._waiting() == n
        await reached(lambda: barrier.n_waiting == 2)
        assert await barrier.wait() == 2
        assert sorted([await handle for handle in handles]) == [0, 1]
    assert not event.is_set()


def wait_and_die(meeting: Any, lock: Lock) -> None:
    if isinstance(meeting, Condition):
        with meeting:
            meeting.wait_sync()
    else:
        meeting.wait_sync()


def pid_of(lock: Lock, pids: Any) -> None:
    pids.add(os.getpid())


@pytest.mark.fresh_pool
@pytest.mark.parametrize("kind", ["barrier", "condition"])
async def test_the_death_of_a_waiter_breaks_a_barrier_and_strikes_out_a_ticket(kind: str) -> None:
    lock, pid = Lock(), SharedValue(0)
    meeting: Any = Barrier(3) if kind == "barrier" else Condition(lock)
    async with ProcessPool(1) as pool, TaskScope(policy=Collect()) as scope:
        await scope.spawn(pid_of, lock, pid, on=pool)
        dies = scope.spawn(wait_and_die, meeting, lock, on=pool)
        await reached(lambda: meeting._waiting() == 1)
        other = scope.spawn(wait_and_die, meeting, lock)
        await reached(lambda: meeting._waiting() == 2)
        os.kill(pid.get(), signal.SIGKILL)
        await dies.wait()
        if kind == "condition":
            await reached(lambda: meeting._waiting() == 1)
            async with meeting:
                meeting.notify()
        await other.wait()
        assert isinstance(other.exception(), BrokenBarrier if kind == "barrier" else type(None))


def add(value: Any, amount: Any, times: int) -> None:
    for _ in range(times):
        value.add(amount)


def add_and_die(value: Any) -> None:
    value.add(1)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fresh_pool
async def test_nothing_that_processes_add_is_lost() -> None:
    value, real = SharedValue(5), SharedValue(0.25)
    value.add(1)
    async with TaskScope(policy=Collect()) as scope:
        places = [place.on for place in PLACES.values() if not place.coroutine]
        for on in places:
            scope.spawn(add, value, 2, 3000, on=on)  # type: ignore[call-overload]
            scope.spawn(add, real, 0.5, 300, on=on)  # type: ignore[call-overload]
        scope.spawn(add_and_die, value, on="process")
    assert value.get() == 5 + 1 + len(places) * 6000 + 1
    assert real.get() == 0.25 + len(places) * 150
    async with TaskScope(policy=Collect()) as scope:
        adding = scope.spawn(add, value, 1, 20000, on="process")
        for _ in range(200):
            value.set(0)
        before = value.get()
        await adding
        assert 0 <= before <= value.get() <= 20000
        value.set(3)
        real.set(0.1)
        assert (value.get(), real.get()) == (3, 0.1)
        with pytest.raises(OverflowError, match="64 bits"):
            value.add(1 << 70)
        with pytest.raises(TypeError):
            value.add(0.5)  # type: ignore[arg-type]


@pytest.mark.fresh_pool
async def test_no_two_owners_and_no_hang_while_holders_and_waiters_are_killed() -> None:
    """The short form of the storm in `make soak`."""
    await lock_storm.run(24, random.randrange(1 << 30), per_round=8)


def enter_for_ever(lock: Any, inside: SharedValue[int], wrong: SharedValue[int]) -> None:
    mine = os.getpid()
    while True:
        with lock:
            inside.set(mine)
            wrong.add(inside.get() != mine)


@pytest.mark.fresh_pool
async def test_cancelling_process_tasks_at_any_instant_keeps_the_lock_whole(caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(15)
    lock, inside, wrong = Lock(), SharedValue(0), SharedValue(0)
    async with ProcessPool(2) as pool, TaskScope(policy=Collect()) as scope:
        for _ in range(15):
            handles = [scope.spawn(enter_for_ever, lock, inside, wrong, on=pool) for _ in range(2)]
            await anyio.sleep(rng.random() * 0.05)
            for handle in handles:
                handle.cancel()
            for handle in handles:
                await handle.wait()
                assert handle.cancelled()
        with anyio.fail_after(30):
            await lock.acquire()
        lock.release()
    assert not wrong.get()
