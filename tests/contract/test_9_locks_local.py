"""Clause 9: locks, semaphores, events, conditions and barriers between coroutines and threads of one process."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.waiting import is_asleep, reached, until
from unified_exec import (
    Barrier,
    BrokenBarrier,
    Cancelled,
    Collect,
    Condition,
    Event,
    Lock,
    LockAbandoned,
    LockTaken,
    RLock,
    Semaphore,
    SharedValue,
    TaskScope,
    TaskTimeout,
    ThreadPool,
    check_cancelled,
)

pytestmark = pytest.mark.every_loop
PERMITS = [Lock, RLock, lambda: Semaphore(1)]
names = pytest.mark.parametrize("make", PERMITS, ids=["Lock", "RLock", "Semaphore"])


def queue(lock: Any) -> int:
    return len(lock._queue)


def tickets(meeting: Any) -> int:
    return len(meeting._tickets)


async def add(lock: Any, total: list[int], times: int) -> None:
    for _ in range(times):
        async with lock:
            found = total[0]
            await anyio.lowlevel.checkpoint()
            total[0] = found + 1


def add_sync(lock: Any, total: list[int], times: int) -> None:
    for _ in range(times):
        with lock:
            found = total[0]
            threading.Event().wait(0) if found % 50 == 0 else None
            total[0] = found + 1


@pytest.mark.loops_in_turn
@names
async def test_one_holder_at_a_time_over_coroutines_threads_and_loops(make: Callable[[], Any]) -> None:
    lock, total = make(), [0]
    other = threading.Thread(target=anyio.run, args=(add, lock, total, 200))
    other.start()
    async with TaskScope() as scope:
        for _ in range(2):
            scope.spawn(add, lock, total, 200)
            scope.spawn(add_sync, lock, total, 200)
    await anyio.to_thread.run_sync(other.join)
    assert total == [1000]
    assert not lock.locked()
    assert not queue(lock)


@names
async def test_waiters_are_served_first_come_first_served(make: Callable[[], Any]) -> None:
    lock: Any = make()
    served: list[int] = []

    async def wait(n: int) -> None:
        async with lock:
            served.append(n)

    def wait_sync(n: int) -> None:
        with lock:
            served.append(n)

    async with TaskScope() as scope:
        async with lock:
            for n in range(6):
                scope.spawn(wait_sync if n % 2 else wait, n)
                await reached(lambda n=n: queue(lock) == n + 1)  # type: ignore[misc]
        await wait(6)  # a newcomer does not pass the queue
    assert served == list(range(7))


@pytest.mark.usefixtures("never_looks")
@pytest.mark.parametrize("is_shared", [False, True])
@names
async def test_a_cancelled_waiter_leaves_at_once_and_the_next_one_is_served(
    make: Callable[[], Any], is_shared: bool
) -> None:
    lock: Any = make()
    if is_shared:
        lock.share()
    async with ThreadPool(2) as pool, TaskScope(threads=pool) as scope:
        async with lock:
            waits: list[Any] = [scope.spawn(lock.acquire_sync)]
            await reached(lambda: is_asleep(waits[0]))
            waits.append(scope.spawn(lock.acquire))
            await reached(lambda: queue(lock) == 2)
            for handle in waits:
                handle.cancel()
                await handle.wait()
                assert handle.cancelled()
            assert not queue(lock)
        async with lock:
            pass


@pytest.mark.usefixtures("never_looks")
@names
def test_a_woken_waiter_that_is_cancelled_passes_the_wake_on(make: Callable[[], Any]) -> None:
    async def main() -> None:
        lock: Any = make()
        await lock.acquire()
        waits = [asyncio.create_task(lock.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        lock.release()  # wakes the first, which cannot run before it is cancelled
        waits[0].cancel()
        await asyncio.wait_for(waits[1], 30)
        assert waits[0].cancelled()
        assert lock.locked()

    asyncio.run(main())


@names
def test_a_loop_that_has_ended_does_not_swallow_the_wake(make: Callable[[], Any]) -> None:
    lock: Any = make()
    lock.acquire_sync()
    loop = asyncio.new_event_loop()
    asleep = loop.create_task(lock.acquire())
    loop.run_until_complete(asyncio.sleep(0))
    got = threading.Event()
    thread = threading.Thread(target=lambda: (lock.acquire_sync(timeout=30), lock.release(), got.set()))
    thread.start()
    until(lambda: queue(lock) == 2)
    loop.close()
    lock.release()
    thread.join()
    assert got.is_set()
    asleep._log_destroy_pending = False  # type: ignore[attr-defined]
    gc.collect()


@names
async def test_a_timeout_leaves_the_lock_as_it_was(make: Callable[[], Any]) -> None:
    lock: Any = make()

    missed = r"^\w+\(.*\) could not be acquired within 0\.01 s; held by task '"

    def in_thread() -> None:
        with pytest.raises(TimeoutError, match=missed):
            lock.acquire_sync(timeout=0.01)

    async with TaskScope(policy=Collect()) as scope:
        async with lock:
            if isinstance(lock, Semaphore):
                with pytest.raises(TimeoutError, match=missed):
                    await lock.acquire(timeout=0.01)
            with pytest.raises(LockTaken) as taken:
                await scope.spawn(in_other_task, lock)
            assert isinstance(taken.value, anyio.WouldBlock)
            assert "held by task" in str(taken.value)
            await scope.spawn(in_thread)
            assert not queue(lock)
        lock.acquire_nowait()
        lock.release()


async def in_other_task(lock: Any) -> None:
    lock.acquire_nowait()


@names
async def test_a_blocking_form_that_would_wait_on_the_loop_is_refused(make: Callable[[], Any]) -> None:
    lock: Any = make()
    with lock:  # this one need not wait
        assert lock.locked()

    async def with_it() -> None:
        with lock:
            pass

    async with TaskScope(policy=Collect()) as scope:
        async with lock:
            with pytest.raises(RuntimeError, match=r"would block the event loop; use `await \w+\.acquire\(\)`"):
                await scope.spawn(with_it)


async def test_only_the_holder_releases_and_the_error_names_it() -> None:
    lock = Lock(name="accounts")

    async def transfer() -> None:
        await lock.acquire()
        await anyio.sleep_forever()

    async with TaskScope(policy=Collect()) as scope:
        holder = scope.spawn(transfer, name="transfer")
        await reached(lock.locked)
        for release in (lock.release, lambda: lock.__exit__(None, None, None)):
            with pytest.raises(RuntimeError, match=r"release Lock\(name='accounts'\): it is held by task 'transfer'"):
                release()
            with pytest.raises(RuntimeError, match=r"held by task 'transfer' since .*test_9_locks_local.py:\d+"):
                await scope.spawn(release, name="thread task")
        holder.cancel()
    with pytest.raises(RuntimeError, match="not held by anybody"):
        Lock().release()
    with pytest.raises(RuntimeError, match="has no permit"):
        Semaphore(2).release()


async def test_a_lock_is_not_acquired_twice_by_one_task_and_an_rlock_is() -> None:
    lock = Lock()
    async with lock:
        with pytest.raises(RuntimeError, match=r"holds Lock\(\) already, since .*; use RLock\(\)"):
            await lock.acquire()
        with pytest.raises(RuntimeError, match="already"):
            lock.acquire_sync()
    rlock = RLock()

    def in_thread() -> None:
        with rlock, rlock:
            rlock.acquire_nowait()
            rlock.release()

    async with rlock:
        async with rlock:
            with rlock:
                await rlock.acquire()
                rlock.release()
        assert rlock.locked()
        async with TaskScope() as scope:
            waits = scope.spawn(in_thread)
            other = scope.spawn(rlock.acquire)
            await reached(lambda: queue(rlock) == 2)
            other.cancel()
            rlock.release()
            await waits
            await rlock.acquire()
    assert not rlock.locked()


async def leaves(lock: Any) -> None:
    await lock.acquire()


def leaves_sync(lock: Any) -> None:
    lock.acquire_sync()


def finds_it_abandoned(lock: Any) -> None:
    lock.acquire_sync(timeout=30)
    assert getattr(lock, "abandoned", True)
    lock.release()


async def finds_it_abandoned_async(lock: Any) -> None:
    await lock.acquire(timeout=30)
    assert lock.abandoned
    lock.release()


@pytest.mark.parametrize("find", [finds_it_abandoned, finds_it_abandoned_async])
@pytest.mark.one_loop
async def test_what_an_ended_task_held_goes_to_the_one_that_waited_after_it(find: Any) -> None:
    lock = Lock()
    await lock.acquire()
    async with TaskScope() as scope:
        scope.spawn(leaves, lock)
        await reached(lambda: queue(lock) == 1)
        scope.spawn(find, lock)
        await reached(lambda: queue(lock) == 2)
        lock.release()
    assert not lock.locked()


@pytest.mark.parametrize("leave", [leaves, leaves_sync])
@names
async def test_what_an_ended_task_held_passes_on_with_a_warning(
    make: Callable[[], Any], leave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lock: Any = make()
    caplog.set_level(logging.WARNING, "unified_exec")
    async with ThreadPool(1) as pool, TaskScope(threads=pool) as scope:  # its thread lives on
        await scope.spawn(leave, lock, name="careless")
        await scope.spawn(finds_it_abandoned, lock)  # in the same thread, which is another holder now
    assert not getattr(lock, "abandoned", False)
    assert "abandoned: task 'careless' (acquired at " in caplog.text
    assert "test_9_locks_local.py" in caplog.text
    async with lock:
        assert not getattr(lock, "abandoned", False)


async def test_a_waiter_finds_out_that_the_holder_has_ended() -> None:
    lock = Lock(on_abandoned="raise")
    thread = threading.Thread(target=lock.acquire_sync, name="careless")
    thread.start()
    thread.join()
    with pytest.raises(LockAbandoned, match=r"abandoned: thread 'careless' \(acquired"):
        async with lock:
            pass
    assert not lock.locked()
    end = threading.Event()
    thread = threading.Thread(target=lambda: (lock.acquire_sync(), end.wait(30)))
    thread.start()
    await reached(lock.locked)
    async with TaskScope(policy=Collect()) as scope:
        waits = [scope.spawn(with_async, lock), scope.spawn(with_sync, lock)]
        await reached(lambda: queue(lock) == 2)
        end.set()
        await anyio.to_thread.run_sync(thread.join)
        for handle in waits:
            await handle.wait()
    failed = [handle for handle in waits if handle.exception() is not None]
    assert len(failed) == 1
    assert isinstance(failed[0].exception(), LockAbandoned)
    assert not lock.locked()


async def with_async(lock: Any) -> None:
    async with lock:
        pass


def with_sync(lock: Any) -> None:
    with lock:
        pass


def test_a_thread_that_takes_over_keeps_what_it_was_told_of() -> None:
    lock = Lock(on_abandoned="raise")
    thread = threading.Thread(target=lock.acquire_sync)
    thread.start()
    thread.join()
    with pytest.raises(LockAbandoned):
        lock.acquire_sync()
    assert lock.locked()
    assert lock.abandoned
    lock.release()
    with pytest.raises(ValueError, match="on_abandoned"):
        Lock(on_abandoned="forget")


async def test_a_busy_coroutine_gives_the_loop_a_turn_and_can_be_cancelled() -> None:
    lock = Lock()
    with anyio.move_on_after(0.05) as scope:
        while True:
            async with lock:
                pass
    assert scope.cancelled_caught
    assert not lock.locked()


async def test_a_semaphore_lets_as_many_in_as_it_has_permits() -> None:
    semaphore, inside, most = Semaphore(3), [0], [0]

    async def work() -> None:
        async with semaphore:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            inside[0] -= 1

    async with TaskScope() as scope:
        for _ in range(12):
            scope.spawn(work)
    assert most == [3]
    assert semaphore.available == 3
    for bad in (0, 5000):
        with pytest.raises(ValueError, match="permits"):
            Semaphore(bad)
    with pytest.raises(TypeError):
        Semaphore(1.0)  # type: ignore[arg-type]


# -- events


async def test_an_event_wakes_coroutines_and_threads_also_if_it_is_cleared_at_once() -> None:
    event = Event()
    async with TaskScope(policy=Collect()) as scope:
        waits = [scope.spawn(event.wait), scope.spawn(event.wait_sync)]
        await reached(lambda: tickets(event) == 2)
        event.set()
        event.clear()
        for handle in waits:
            await handle
        event.set()
        await event.wait()
        event.wait_sync()
        event.clear()
        missed = r"^the wait for Event\(.*\) did not end within 0\.01 s; nobody has set it$"
        with pytest.raises(TimeoutError, match=missed):
            await event.wait(timeout=0.01)
        with pytest.raises(TimeoutError, match=missed):
            await scope.spawn(lambda: event.wait_sync(timeout=0.01))
        with pytest.raises(RuntimeError, match=r"use `await event\.wait\(\)`"):
            event.wait_sync()


@pytest.mark.usefixtures("never_looks")
@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_cancelled_waiter_leaves_an_event_at_once(is_shared: bool) -> None:
    event = Event()
    if is_shared:
        event.share()
    async with TaskScope(policy=Collect()) as scope:
        waits = [scope.spawn(event.wait_sync), scope.spawn(event.wait)]
        await reached(lambda: is_asleep(waits[0]) and event._waiting() == 2)
        for handle in waits:
            handle.cancel()
            await handle.wait()
            assert handle.cancelled()
        assert not event._waiting()


# -- conditions


async def test_a_condition_wakes_who_came_first_and_holds_its_lock() -> None:
    condition, woken = Condition(RLock()), [0]

    async def wait(n: int) -> None:
        async with condition, condition:
            await condition.wait()
            woken.append(n)

    def wait_sync(n: int) -> None:
        with condition, condition:
            condition.wait_sync()
            woken.append(n)

    async with TaskScope() as scope:
        for n in range(1, 5):
            scope.spawn(wait_sync if n % 2 else wait, n)
            await reached(lambda n=n: tickets(condition) == n)  # type: ignore[misc]
        for n in (1, 2):
            async with condition:
                condition.notify()
            await reached(lambda n=n: woken[-1] == n)  # type: ignore[misc]
        async with condition:
            condition.notify_all()
    assert sorted(woken) == list(range(5))
    with pytest.raises(RuntimeError, match=r"called notify\(\) of Condition\(\) without its lock"):
        condition.notify()
    with pytest.raises(RuntimeError, match="without its lock"):
        await condition.wait()


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_condition_waits_until_a_predicate_is_true_and_holds_its_lock_then(kind: str) -> None:
    condition, stock = Condition(), [0]

    def is_enough() -> bool:
        assert condition._lock._is_mine()
        return stock[0] >= 2

    async def take() -> None:
        async with condition:
            await condition.wait_for(is_enough)
            stock[0] -= 2

    def take_sync() -> None:
        with condition:
            condition.wait_for_sync(is_enough)
            stock[0] -= 2
            with pytest.raises(TimeoutError, match=r"predicate of .* was not true within 0\.01 s$"):
                condition.wait_for_sync(is_enough, timeout=0.01)

    async with TaskScope() as scope:
        taker = scope.spawn(take_sync if kind == "thread" else take)
        for n in (1, 2):
            await reached(lambda: tickets(condition) == 1)
            async with condition:
                stock[0] = n
                condition.notify()
        await taker
    assert stock == [0]
    with pytest.raises(RuntimeError, match=r"called wait_for_sync\(\) of Condition\(\) without its lock"):
        condition.wait_for_sync(is_enough)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_notification_of_a_cancelled_waiter_goes_to_the_next_one(kind: str) -> None:
    condition = Condition()

    async def wait() -> None:
        async with condition:
            await condition.wait()

    def wait_sync() -> None:
        with condition:
            try:
                condition.wait_sync()
            except Cancelled:
                assert condition._lock._is_mine()
                raise

    async with ThreadPool(2) as pool, TaskScope(threads=pool) as scope:
        first = scope.spawn(wait_sync if kind == "thread" else wait)
        await reached(lambda: tickets(condition) == 1)
        second = scope.spawn(wait)
        await reached(lambda: tickets(condition) == 2)
        async with condition:
            first.cancel()
            condition.notify()
        await first.wait()
        if not first.cancelled():  # a thread that was told first has the notification
            async with condition:
                condition.notify()
        await second
    assert not condition.lock.locked()
    async with condition:
        with pytest.raises(TimeoutError, match="nobody has notified it"):
            await condition.wait(timeout=0.01)
        with pytest.raises(TimeoutError, match=r"predicate of .* was not true within 0\.02 s$"):
            await condition.wait_for(lambda: False, timeout=0.02)
        await condition.wait_for(lambda: True)
        assert condition.lock.locked()


# -- barriers


async def test_a_barrier_lets_all_go_when_the_last_has_come_and_serves_again() -> None:
    barrier = Barrier(4)
    for _ in range(3):
        async with TaskScope() as scope:
            handles = [scope.spawn(barrier.wait) for _ in range(2)] + [scope.spawn(barrier.wait_sync) for _ in range(2)]
        assert sorted([handle.result() for handle in handles]) == [0, 1, 2, 3]
    assert barrier.n_waiting == 0
    for bad in (0, 1001):
        with pytest.raises(ValueError, match="parties"):
            Barrier(bad)


@pytest.mark.parametrize("why", ["cancel", "timeout", "abort"])
async def test_a_waiter_that_leaves_breaks_the_barrier_for_all(why: str) -> None:
    barrier = Barrier(3, name="start")
    async with TaskScope(policy=Collect()) as scope:
        waits = scope.spawn(barrier.wait_sync)
        await reached(lambda: barrier.n_waiting == 1)
        if why == "cancel":
            other = scope.spawn(barrier.wait)
            await reached(lambda: barrier.n_waiting == 2)
            other.cancel()
        elif why == "timeout":
            with pytest.raises(TimeoutError, match=r"did not end within 0\.01 s; the other parties have not come"):
                await barrier.wait(timeout=0.01)
        else:
            barrier.abort()
        await waits.wait()
    assert isinstance(waits.exception(), BrokenBarrier)
    assert barrier.broken
    with pytest.raises(BrokenBarrier, match=r"Barrier\(3, name='start'\) is broken"):
        await barrier.wait()


# -- shared values


async def test_nothing_that_threads_and_coroutines_add_is_lost() -> None:
    value = SharedValue(0)

    def work() -> None:
        for _ in range(1000):
            value.add(2)
            value.add(-1)

    async with TaskScope() as scope:
        for _ in range(4):
            scope.spawn(work)
    assert value.get() == 4000
    value.set(7)
    assert repr(value) == "SharedValue(7)"
    with pytest.raises(TypeError, match=r"cannot add 0\.5: this is a SharedValue of int"):
        value.add(0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="set"):
        value.set(0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SharedValue("7")  # type: ignore[type-var]
    for call in (SharedValue, value.add, value.set):
        with pytest.raises(OverflowError, match="64 bits"):
            call(1 << 70)
    assert value.get() == 7
    assert SharedValue(0.5).get() == 0.5


@pytest.mark.parametrize("interrupt", [False, True])
async def test_cancelling_at_any_instant_loses_and_makes_no_permit(
    interrupt: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(15)
    lock, wrong = Lock(), [0]
    inside: list[object] = [None]

    def work() -> None:
        while True:
            if not interrupt:
                check_cancelled()  # a lock that is free does not look at cancellations
            with lock:
                inside[0] = me = object()  # an interrupt may come after each line
                wrong[0] += inside[0] is not me

    async def a_work() -> None:
        while True:
            async with lock:
                inside[0] = me = object()  # an interrupt may come after each line
                wrong[0] += inside[0] is not me
                await anyio.lowlevel.checkpoint()

    async with ThreadPool(3) as pool, TaskScope(threads=pool, policy=Collect()) as scope:
        for _ in range(12):
            handles = [scope.spawn(work, interrupt=interrupt) for _ in range(2)] + [scope.spawn(a_work)]
            await anyio.sleep(rng.random() * 0.01)
            for handle in handles:
                handle.cancel()
            for handle in handles:
                await handle.wait()
    with anyio.fail_after(30):
        async with lock:
            pass
    assert not wrong[0]
    assert not queue(lock)


@pytest.mark.parametrize("on", ["loop", "thread"])
async def test_a_deadline_ends_the_wait_for_a_lock(on: str) -> None:
    lock = Lock()
    async with ThreadPool(1) as pool, TaskScope(threads=pool, policy=Collect()) as scope:
        async with lock:
            wait: Any = lock.acquire if on == "loop" else lock.acquire_sync
            handle = scope.spawn(wait, timeout=0.05)
            await handle.wait()
            assert isinstance(handle.exception(), TaskTimeout)
        assert not lock.locked()
