"""Calls that come while another thread holds the pool's lock: they wait for nobody, and none is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.ctrl_c import CtrlC
from tests.unit.threads.driving import Blocker, Driver, Job, driver, happens
from unified_exec._pools.thread import scheduler
from unified_exec._pools.thread.pool import ThreadPool
from unified_exec._tasks import loaded
from unified_exec.errors import PoolClosed

pytestmark = pytest.mark.every_loop


def locked_out(it: Driver, fn: Callable[..., Any], *args: Any, **options: Any) -> Job:
    """Spawn as somebody does who comes while the lock is held."""
    with it.lane.scheduler.lock:
        return it.spawn(fn, *args, **options)


async def test_it_runs_though_no_other_call_comes() -> None:
    async with driver() as it:
        assert await locked_out(it, int, "5").value() == 5


async def test_first_come_first_served() -> None:
    ran: list[int] = []
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        for n in range(10):
            (it.spawn if n % 3 else lambda *call: locked_out(it, *call))(ran.append, n)
        blocker.go.set()
    assert ran == list(range(10))


async def test_a_thread_that_comes_free_takes_it_while_the_loop_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "IDLE_SECONDS", 60.0)  # nor looks one again because it retires
    second = threading.Event()
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        locked_out(it, second.set)
        blocker.go.set()
        assert second.wait(30)


async def test_cancelled_before_anybody_took_it_in_it_never_starts() -> None:
    ran: list[int] = []
    async with driver(1) as it:
        job = locked_out(it, ran.append, 1)
        it.cancel(job)
        assert job.outcome is not None
        assert job.outcome.cancelled
        await it.spawn(ran.append, 2).value()
        assert len(it.lane.calls) == 0
    assert ran == [2]


async def test_its_end_and_that_of_an_abandoned_call_are_counted_once() -> None:
    async with driver(1) as it:
        blocker = Blocker()
        running = it.spawn(blocker, abandon=True)
        await happens(blocker.began)
        it.cancel(locked_out(it, int), running)
        assert await it.spawn(int, 3).value() == 3
        blocker.go.set()


async def test_a_finalizer_may_cancel_and_spawn_whatever_the_loop_was_about_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The collector may run it while the loop's own thread has the lock."""
    finalizers: list[Callable[[], object]] = []
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        queued = [it.spawn(int) for _ in range(3)]
        add = it.lane.scheduler.queues.add

        def collect_and_add(*call: Any) -> None:
            while finalizers:
                finalizers.pop()()
            add(*call)

        monkeypatch.setattr(it.lane.scheduler.queues, "add", collect_and_add)
        finalizers += [lambda: it.spawn(int), lambda: it.cancel(*queued)]
        last = it.spawn(int, 4)
        for job in queued:
            assert (await job.wait()).cancelled
        blocker.go.set()
        assert await last.value() == 4


@pytest.mark.parametrize("threads", [0, 1])
async def test_a_pool_that_closes_runs_what_it_has_not_taken_in_yet(threads: int) -> None:
    ran: list[int] = []
    pool = ThreadPool(1)
    it = Driver(pool)
    for _ in range(threads):
        await it.spawn(int).value()
    job = locked_out(it, ran.append, 1)
    await pool.aclose()
    assert ran == [1]
    await job.value()


async def test_a_closed_pool_refuses_it() -> None:
    pool = ThreadPool(1)
    it = Driver(pool)
    await pool.aclose()
    with pytest.raises(PoolClosed):
        locked_out(it, int)
    assert not it.lane.scheduler.inbox


class WatchedLock:
    """A lock that tells when somebody sleeps in it."""

    def __init__(self) -> None:
        self.lock, self.slept_in = threading.Lock(), threading.Event()

    def acquire(self, blocking: bool = True) -> bool:
        if self.lock.acquire(False):
            return True
        if not blocking:
            return False
        self.slept_in.set()
        return self.lock.acquire()

    def release(self) -> None:
        self.lock.release()

    def locked(self) -> bool:
        return self.lock.locked()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()


@pytest.mark.parametrize("looks", [3, 10**9])
async def test_a_thread_with_a_result_waits_for_the_lock(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By looking again, and after enough looks asleep."""
    monkeypatch.setattr(scheduler, "LOCK_TRIES", looks)
    monkeypatch.setattr(loaded, "gil_is_off", lambda: False)
    looked, lock = threading.Semaphore(0), WatchedLock()

    def look(seconds: float) -> None:
        looked.release()
        time.sleep(seconds)

    monkeypatch.setattr(scheduler, "sleep", look)
    async with driver(1) as it:
        monkeypatch.setattr(it.lane.scheduler, "lock", lock)
        blocker = Blocker()
        job = it.spawn(blocker)
        await happens(blocker.began)
        with lock:
            blocker.go.set()
            for _ in range(3):
                assert looked.acquire(timeout=30)
            assert looks > 3 or lock.slept_in.wait(30)
        assert await job.value() == "let go"
        assert await it.spawn(int, "5").value() == 5
        assert lock.slept_in.is_set() == (looks == 3)


@pytest.mark.asyncio
async def test_ctrl_c_while_a_thread_queues_what_waits_loses_none_and_runs_none_twice() -> None:
    async with driver(8) as it:
        for at in range(1000):
            ran: list[int] = []
            go = threading.Event()

            def run(n: int, ran: list[int] = ran, go: threading.Event = go) -> None:
                ran.append(n)
                go.wait(30)

            jobs = [locked_out(it, run, n) for n in range(3)]
            ctrl_c = CtrlC(at)
            try:
                with ctrl_c:
                    it.spawn(run, 3)  # queues them first
            except KeyboardInterrupt:
                pass
            await it.spawn(int).value()  # what is queued twice would run now, too
            go.set()
            for job in jobs:
                await job.value()
            assert sorted(ran) in ([0, 1, 2], [0, 1, 2, 3]), ctrl_c.place
            if not ctrl_c.place:
                break
    assert at > 10


@pytest.mark.asyncio
async def test_ctrl_c_in_a_cancellation_leaves_the_lock_of_the_pool_free() -> None:
    async with driver(1) as it:
        for at in range(1000):
            blocker = Blocker()
            it.spawn(blocker)
            await happens(blocker.began)
            job = it.spawn(int)
            ctrl_c = CtrlC(at)
            raised = None  # with its frames, as the clean-up of a program has it
            try:
                with ctrl_c:
                    it.cancel(job)
            except KeyboardInterrupt as error:
                raised = error
            assert not it.lane.scheduler.lock.locked(), ctrl_c.place
            it.cancel(job)
            assert job.outcome is not None, ctrl_c.place
            it.jobs.remove(job)  # it may have come between the outcome and the callback
            blocker.go.set()
            assert await it.spawn(int).value() == 0
            if raised is None:
                break
    assert at > 10
