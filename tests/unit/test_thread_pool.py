"""The thread backend by itself: its lane is driven as a scope would, on every event loop."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from unified_exec._backends import _interrupt, _thread_call, thread
from unified_exec._backends.ports import Port, Waiter, current_port
from unified_exec._backends.thread import ThreadPool
from unified_exec._model.current import check_cancelled, current_task, is_cancelled
from unified_exec._model.states import TaskState
from unified_exec._model.task import Task
from unified_exec.errors import Cancelled, PoolClosed, RemoteError, WorkerStartError


class Owner:
    """Stands for a scope."""


class Job(Task):
    """Stands for a handle."""

    __slots__ = ("__weakref__", "port", "settlements", "waiters", "where")

    port: Port
    settlements: int
    waiters: list[Waiter]
    where: int

    def settled(self) -> None:
        self.settlements += 1
        self.where = threading.get_ident()
        for waiter in self.waiters:
            waiter.wake()

    async def wait(self) -> Any:
        while self.outcome is None:
            waiter = self.port.waiter()
            self.waiters.append(waiter)
            await waiter
        return self.outcome

    async def value(self) -> Any:
        outcome = await self.wait()
        assert not outcome.cancelled
        return outcome.unwrap()


class Driver:
    """Hands calls to a lane of the running loop."""

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool
        self.port = current_port()
        self.lane = pool.lane(self.port)
        self.owner = Owner()
        self.jobs: list[Job] = []

    def spawn(self, fn: Callable[..., Any], *args: Any, owner: Any = None, **options: Any) -> Job:
        job = Job(getattr(fn, "__name__", "job"), fn, args, "thread", owner or self.owner)
        job.port, job.waiters, job.settlements = self.port, [], 0
        for name, value in options.items():
            setattr(job, name, value)
        self.lane.submit(job)
        self.jobs.append(job)
        return job

    def cancel(self, *jobs: Job, reason: str | None = None) -> None:
        self.lane.cancel(jobs, reason)


@asynccontextmanager
async def driver(max_workers: int | None = None, **options: Any) -> AsyncIterator[Driver]:
    async with ThreadPool(max_workers, **options) as pool:
        it = Driver(pool)
        yield it
        for job in it.jobs:
            await job.wait()
            assert job.settlements == 1


async def comes_true(condition: Callable[[], bool]) -> None:
    """Wait for what a thread does, without blocking the loop."""
    with anyio.fail_after(30):
        while not condition():  # nothing tells the loop
            await anyio.sleep(0.0005)


async def happens(event: threading.Event) -> None:
    await comes_true(event.is_set)


class Blocker:
    """A call that has begun, and goes on until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(30)
        return "let go"


# --- results -----------------------------------------------------------------------------------------------------


async def test_a_value_arrives_and_is_settled_in_the_loops_thread() -> None:
    async with driver() as it:
        job = it.spawn(lambda a, b: (a + b, threading.get_ident()), 1, 2)
        value, worker = await job.value()
        assert value == 3
        assert worker != threading.get_ident()
        assert job.worker == worker
        assert job.where == threading.get_ident()
        queued, started, finished = job.timing
        assert started is not None
        assert finished is not None
        assert queued <= started <= finished


async def test_an_exception_arrives_as_itself_with_the_users_frames_only() -> None:
    def fail() -> None:
        raise KeyError("it")

    async with driver() as it:
        for interrupt in (False, True):
            job = it.spawn(fail, interrupt=interrupt)
            error = (await job.wait()).error
            assert type(error) is KeyError
            assert error.args == ("it",)
            assert error.__traceback__ is not None
            assert error.__traceback__.tb_frame.f_code is fail.__code__


@pytest.mark.parametrize("interrupt", [False, True])
async def test_what_is_no_exception_arrives_as_remote_error(interrupt: bool) -> None:
    group = BaseExceptionGroup("both", [SystemExit(1), ValueError()])
    async with driver() as it:
        for exc in (SystemExit(), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Cancelled(), group):

            def fail(exc: BaseException = exc) -> None:
                raise exc

            error = (await it.spawn(fail, interrupt=interrupt).wait()).error
            assert type(error) is RemoteError
            assert error.__cause__ is exc


@pytest.mark.parametrize("interrupt", [False, True])
async def test_stop_iteration_can_be_awaited(interrupt: bool) -> None:
    async with driver() as it:
        job = it.spawn(next, iter(()), interrupt=interrupt)
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await job.value()
        assert type(caught.value.__cause__) is StopIteration


async def test_an_async_function_in_disguise_is_an_error_and_no_warning() -> None:
    async def late() -> None: ...

    async with driver() as it:
        with pytest.raises(TypeError, match="on='loop'"):
            await it.spawn(lambda: late()).value()


async def test_the_task_sees_the_callers_context_and_itself() -> None:
    var = ContextVar("var", default="unset")
    var.set("of the caller")

    def look() -> tuple[Any, str]:
        seen = var.get()
        var.set("of the task")
        return current_task(), seen

    async with driver() as it:
        job = it.spawn(look, deadline=time.monotonic() + 100)
        task, seen = await job.value()
        assert seen == "of the caller"
        assert var.get() == "of the caller"
        assert (task.id, task.name, task.backend) == (job.id, "look", "thread")
        assert task.deadline == job.deadline


async def test_the_state_is_known_while_it_runs() -> None:
    async with driver(1) as it:
        first, second = Blocker(), Blocker()
        one, two = it.spawn(first), it.spawn(second)
        await happens(first.began)
        assert one.state is TaskState.RUNNING
        assert two.state is TaskState.QUEUED
        del one
        first.go.set()
        second.go.set()
        await two.wait()
        assert it.jobs[1].state is TaskState.DONE


class Thing:
    made: Thing


class Oops(Exception):
    """Can be referred to weakly, which built-in exceptions cannot."""


def gil() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


async def test_an_idle_thread_keeps_nothing_alive() -> None:
    def give(thing: Thing) -> Thing:
        thing.made = Thing()
        return thing.made

    def fail(thing: Thing) -> None:
        raise Oops(thing)

    async with driver(1) as it:
        gc.disable()
        try:
            for interrupt in (False, True):
                for fn in (give, fail):
                    thing = Thing()
                    job = it.spawn(fn, thing, interrupt=interrupt)
                    error = (await job.wait()).error
                    refs: list[Any] = [weakref.ref(thing), weakref.ref(error or thing.made)]
                    it.jobs.clear()
                    del job, thing, error
                    while it.pool.turns.busy or not it.pool._idle:
                        await anyio.lowlevel.checkpoint()
                    if not gil():  # what an idle thread has made, and another drops, is freed when it runs again
                        gc.collect()
                    assert [ref() for ref in refs] == [None, None]  # and no cycle either: gc is off
        finally:
            gc.enable()


# --- threads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known_as_short", [False, True])
async def test_forty_calls_that_wait_for_each_other_all_run_at_once(known_as_short: bool) -> None:
    blocking = False
    barrier = threading.Barrier(40)

    def work() -> None:
        if blocking:
            barrier.wait(30)

    async with driver() as it:
        if known_as_short:
            for job in [it.spawn(work) for _ in range(3000)]:
                await job.value()
        blocking = True
        for job in [it.spawn(work) for _ in range(40)]:
            await job.value()


async def test_never_more_than_max_workers_run() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.0002)
        with lock:
            running -= 1

    async with driver(3) as it:
        for job in [it.spawn(work) for _ in range(300)]:
            await job.value()
    assert 1 <= most <= 3


async def test_one_call_after_another_uses_one_thread() -> None:
    async with driver() as it:
        workers = set()
        for _ in range(100):
            workers.add(await it.spawn(threading.get_ident).value())
        assert len(workers) <= 2  # the first may still be on its way to idle when the second call comes


async def test_threads_are_daemons_with_a_name() -> None:
    async with driver(name="crew") as it:
        me = await it.spawn(threading.current_thread).value()
        assert me.daemon
        assert me.name == "unified_exec crew"


async def test_idle_threads_retire_and_new_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "IDLE_SECONDS", 0.01)
    async with driver() as it:
        barrier = threading.Barrier(5)
        for _ in range(3):
            for job in [it.spawn(barrier.wait) for _ in range(5)]:
                await job.value()
            await comes_true(lambda: not it.pool._threads)


async def test_completions_share_a_wake_up() -> None:
    async with driver(1) as it:
        rings = 0
        ring = it.lane.port.call_threadsafe

        def counted(fn: Callable[..., object], *args: Any) -> bool:
            nonlocal rings
            rings += 1
            return ring(fn, *args)

        blocker = Blocker()
        first = it.spawn(blocker)
        await happens(blocker.began)
        last = threading.Event()
        for _ in range(500):
            it.spawn(int)
        it.spawn(last.set)
        it.lane.port.call_threadsafe = counted  # type: ignore[method-assign]
        try:
            blocker.go.set()
            last.wait(30)  # the loop is busy meanwhile
            for job in it.jobs:
                await job.wait()
        finally:
            it.lane.port.call_threadsafe = ring  # type: ignore[method-assign]
        assert first.outcome is not None
        assert rings <= 3


async def test_a_broken_handle_costs_no_other_task_its_result(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Job):
        __slots__ = ()

        def settled(self) -> None:
            super().settled()
            raise LookupError("broken handle")

    if current_port().__class__.__name__ == "TrioPort":
        pytest.skip("trio ends the run for a callback that raises")
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    loop.set_exception_handler(lambda loop, context: seen.append(context["exception"]))
    async with ThreadPool(1) as pool:
        it = Driver(pool)
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        broken = Broken("broken", int, (), "thread", it.owner)
        broken.port, broken.waiters, broken.settlements = it.port, [], 0
        it.lane.submit(broken)
        last = it.spawn(int)
        blocker.go.set()
        assert await last.value() == 0
    assert [type(exc) for exc in seen] == [LookupError]


async def test_without_room_for_a_thread_submit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise RuntimeError("can't start new thread")

    async with driver() as it:
        with monkeypatch.context() as patch:
            patch.setattr(thread, "start_new_thread", refuse)
            with pytest.raises(WorkerStartError, match="no room"):
                it.spawn(int)
        assert await it.spawn(int, 3).value() == 3


async def test_a_task_that_finds_no_room_for_a_thread_waits_for_those_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> int:
        raise RuntimeError("can't start new thread")

    async with driver() as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        with monkeypatch.context() as patch:
            patch.setattr(thread, "start_new_thread", refuse)
            job = it.spawn(int, 3)
            await anyio.lowlevel.checkpoint()
        assert await job.value() == 3  # tried again
        blocker.go.set()


# --- fairness and nesting ------------------------------------------------------------------------------------------


async def test_a_scope_with_many_queued_tasks_does_not_delay_another() -> None:
    ran: list[str] = []
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        for _ in range(20_000):
            it.spawn(ran.append, "many", owner=it)
        last = it.spawn(ran.append, "single", owner=Owner())
        blocker.go.set()
        await last.value()
        assert ran.index("single") <= 2


async def test_within_a_scope_first_come_first_served() -> None:
    ran: list[int] = []
    async with driver(1) as it:
        for n in range(200):
            it.spawn(ran.append, n)
    assert ran == list(range(200))


async def test_nested_tasks_of_one_parent_are_limited_like_a_pool() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.0002)
        with lock:
            running -= 1

    async with driver(3) as it:

        async def children() -> None:
            for job in [it.spawn(work, nested=True) for _ in range(100)]:
                await job.value()

        await it.spawn(anyio.from_thread.run, children).value()
        assert most <= 3
        assert not it.pool.turns._nests


# --- cancelling ----------------------------------------------------------------------------------------------------


async def test_a_queued_task_never_starts_and_is_settled_at_once() -> None:
    ran: list[object] = []
    async with driver(1) as it:
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        queued = [it.spawn(ran.append, n, nested=bool(n % 2)) for n in range(100)]
        kept = it.spawn(ran.append, "kept")
        it.cancel(*(job for job in queued if not job.nested))
        assert all(job.outcome.cancelled for job in queued if not job.nested)  # type: ignore[union-attr]
        blocker.go.set()
        await kept.value()
    assert [n for n in ran if isinstance(n, str)] == ["kept"]
    assert sorted(n for n in ran if isinstance(n, int)) == list(range(1, 100, 2))


async def test_a_running_task_is_asked_and_hears_why() -> None:
    began = threading.Event()

    def work() -> None:
        began.set()
        while not is_cancelled():
            time.sleep(0.0001)
        check_cancelled()

    async with driver() as it:
        job = it.spawn(work)
        await happens(began)
        it.cancel(job, reason="enough")
        assert job.state is TaskState.STOPPING
        assert (await job.wait()).cancelled
        assert job.stop_reason == "enough"
        it.cancel(job)  # done: passed over


async def test_a_value_returned_after_the_ask_is_kept() -> None:
    async with driver() as it:
        for interrupt in (False, True):
            blocker = Blocker()
            job = it.spawn(threading.Event.wait, blocker.go, 30, interrupt=interrupt)  # C code: cannot be interrupted
            began = it.spawn(blocker)
            await happens(blocker.began)
            if not interrupt:
                it.cancel(job, reason="too late")
            blocker.go.set()
            assert await job.value() is True
            assert await began.value() == "let go"


async def test_a_c_function_that_returns_with_a_request_pending_keeps_its_value() -> None:
    lock = threading.Lock()
    async with driver() as it:
        for _ in range(20):
            lock.acquire()
            job = it.spawn(lock.acquire, interrupt=True)  # C: the shot is pending when it returns
            while job.cargo is None or job.cargo.shot is None:
                await anyio.lowlevel.checkpoint()
            it.cancel(job)
            lock.release()
            outcome = await job.wait()
            if outcome.cancelled:  # it was asked before it began, or the lock stayed free
                assert lock.acquire(False)
            else:
                assert outcome.unwrap() is True
            lock.release()


async def test_a_cancelled_ask_of_another_task_is_an_error() -> None:
    """`Cancelled` raised by hand counts as a cancellation only if the task was asked."""

    def work() -> None:
        raise Cancelled("by hand")

    async with driver() as it:
        assert type((await it.spawn(work).wait()).error) is RemoteError


async def test_an_abandoned_task_is_settled_at_once_and_frees_its_place(caplog: pytest.LogCaptureFixture) -> None:
    blocker = Blocker()
    async with driver(1) as it:
        job = it.spawn(blocker, abandon=True)
        job.name = "the slow one"
        await happens(blocker.began)
        with caplog.at_level(logging.WARNING, "unified_exec"):
            it.cancel(job)
        assert job.outcome is not None
        assert job.outcome.cancelled
        assert "the slow one" in caplog.text
        assert await it.spawn(int, 5).value() == 5
        worker = job.worker
    blocker.go.set()  # closing has not waited for it
    await comes_true(lambda: worker not in sys._current_frames())
    assert job.settlements == 1


async def test_closing_does_not_hang_on_abandoned_tasks_that_end_first() -> None:
    async with driver(2) as it:
        blocker = Blocker()
        job = it.spawn(blocker, abandon=True)
        await happens(blocker.began)
        it.cancel(job)
        blocker.go.set()
        await comes_true(lambda: job.worker not in sys._current_frames())


# --- interrupting --------------------------------------------------------------------------------------------------


async def test_an_interrupted_task_runs_its_finally_block_and_hears_why() -> None:
    began = threading.Event()
    heard: list[object] = []

    def work() -> None:
        try:
            began.set()
            while True:
                time.sleep(0)
        except Cancelled as exc:
            heard.append((type(exc).__name__, exc.reason))
            raise
        finally:
            heard.append("finally")

    async with driver(1) as it:
        for _ in range(20):
            began.clear()
            heard.clear()
            job = it.spawn(work, interrupt=True)
            await happens(began)
            it.cancel(job, reason="enough")
            assert (await job.wait()).cancelled
            assert heard == [("Cancelled", "enough"), "finally"]


async def test_a_pool_may_be_interruptible_as_a_whole() -> None:
    began = threading.Event()

    def spin() -> None:
        began.set()
        while True:
            pass

    async with driver(1, interruptible=True) as it:
        job = it.spawn(spin)
        await happens(began)
        it.cancel(job)
        assert (await job.wait()).cancelled


async def test_a_loop_with_a_condition_runs_its_finally_block() -> None:
    """Since 3.12 its back jump lies outside of the `try` (cpython#130279)."""
    began, ended = threading.Event(), []

    def step() -> bool:
        return True

    def calls() -> None:
        try:
            began.set()
            while step():
                step()
        finally:
            ended.append(1)

    def spins() -> None:
        try:
            began.set()
            while ended is not None:
                pass
        finally:
            ended.append(1)

    async with driver(1) as it:
        for n in range(1, 51):
            began.clear()
            job = it.spawn(calls if n % 2 else spins, interrupt=True)
            await happens(began)
            it.cancel(job)
            assert (await job.wait()).cancelled
            assert len(ended) == n


async def test_an_interrupt_swallowed_in_a_finalizer_is_repeated() -> None:
    began = threading.Event()
    swallowed = []

    class Thing: ...

    def callback(ref: Any) -> None:  # of a weak reference: nothing tells it from other code
        if not began.is_set():
            began.set()
            try:
                while True:
                    pass
            finally:
                swallowed.append(1)

    def work() -> None:
        while True:
            thing = Thing()
            ref = weakref.ref(thing, callback)
            del thing
            assert ref() is None

    async with driver(1) as it:
        for n in range(1, 11):
            began.clear()
            job = it.spawn(work, interrupt=True)
            await happens(began)
            it.cancel(job)
            with anyio.fail_after(30):
                assert (await job.wait()).cancelled
            assert len(swallowed) == n


async def test_an_import_is_not_interrupted(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "slow_to_import_here.py"
    module.write_text("import time\nend = time.monotonic() + 0.05\nwhile time.monotonic() < end: pass\ndone = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    began = threading.Event()

    def work() -> None:
        began.set()
        import slow_to_import_here  # type: ignore[import-not-found]  # noqa: F401

        while True:
            time.sleep(0)

    async with driver(1) as it:
        job = it.spawn(work, interrupt=True)
        await happens(began)
        while "slow_to_import_here" not in sys.modules:
            await anyio.lowlevel.checkpoint()
        it.cancel(job)
        assert (await job.wait()).cancelled
        assert sys.modules.pop("slow_to_import_here").done


@pytest.mark.parametrize("ending", ["value", "error", "spin"])
async def test_an_interrupt_hits_its_own_task_or_none(ending: str) -> None:
    """Asks race with ends, in both orders; the tasks between are never asked and must never notice."""

    def spin(n: int) -> int:
        for _ in range(n % 7 * 40):
            pass
        if ending == "error":
            raise LookupError(n)
        while ending == "spin":
            time.sleep(0)
        return n

    def innocent(n: int) -> int:
        for _ in range(30):
            pass
        return n

    counts: Counter[str] = Counter()
    async with driver(2) as it:
        for n in range(400):
            target = it.spawn(spin, n, interrupt=True)
            others = [it.spawn(innocent, n, interrupt=bool(k % 2)) for k in range(3)]
            for _ in range(n % 5):
                await anyio.lowlevel.checkpoint()
            it.cancel(target)
            outcome = await target.wait()
            if outcome.cancelled:
                counts["cancelled"] += 1
            elif outcome.error is not None:
                assert outcome.error.args == (n,)
            else:
                assert outcome.unwrap() == n
            for other in others:
                assert await other.value() == n
        it.jobs.clear()
        assert it.pool.turns.busy == 0
    if ending == "spin":
        assert counts["cancelled"] == 400


@pytest.mark.parametrize("error", [None, LookupError("own")])
async def test_a_late_shot_changes_nothing(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The asker wins the race, but the function has ended: what it returned or raised is what counts."""
    disarm = _thread_call.ThreadCall.disarm

    def late(call: _thread_call.ThreadCall) -> None:
        assert call.shot is not None
        call.ask("late")
        call.shot.fire()  # pending for this very thread: lands at the next chance, in here or below
        disarm(call)

    monkeypatch.setattr(_thread_call.ThreadCall, "disarm", late)

    def work() -> str:
        if error is not None:
            raise error
        return "kept"

    async with driver(1) as it:
        for _ in range(20):
            outcome = await it.spawn(work, interrupt=True).wait()
            assert outcome.error is error
            if error is None:
                assert outcome.unwrap() == "kept"
        monkeypatch.undo()
        assert await it.spawn(int, 3).value() == 3


def test_the_finisher_has_no_hole_in_its_try() -> None:
    """What closes a shot jumps back nowhere: a raise lands inside the `try` (cpython#130279)."""
    import dis

    for fn in (_interrupt.Shot.close, _thread_call.ThreadCall.disarm):
        assert not [i.opname for i in dis.get_instructions(fn) if i.opname == "JUMP_BACKWARD"]


# --- anyio.from_thread -----------------------------------------------------------------------------------------------


async def test_anyio_from_thread_works_in_a_task() -> None:
    loop_thread = threading.get_ident()

    async def on_loop(value: int) -> tuple[int, int]:
        await anyio.lowlevel.checkpoint()
        return value, threading.get_ident()

    def work() -> tuple[Any, Any]:
        return anyio.from_thread.run(on_loop, 5), anyio.from_thread.run_sync(threading.get_ident)

    async with driver() as it:
        assert await it.spawn(work).value() == ((5, loop_thread), loop_thread)


async def test_cancelling_reaches_what_the_thread_waits_for_on_the_loop() -> None:
    ended = []

    async def forever(began: threading.Event) -> None:
        try:
            began.set()
            await anyio.sleep_forever()
        finally:
            ended.append(1)

    async with driver() as it:
        for _ in range(5):
            began = threading.Event()
            job = it.spawn(anyio.from_thread.run, forever, began)
            await happens(began)
            it.cancel(job)
            assert (await job.wait()).cancelled
    assert len(ended) == 5


async def test_anyio_check_cancelled_tells_of_the_ask() -> None:
    began = threading.Event()

    def work() -> None:
        began.set()
        while True:
            anyio.from_thread.check_cancelled()
            time.sleep(0.0001)

    async with driver() as it:
        job = it.spawn(work)
        await happens(began)
        it.cancel(job)
        assert (await job.wait()).cancelled


async def test_a_task_may_run_an_event_loop_of_its_own() -> None:
    async def inner() -> int:
        await anyio.lowlevel.checkpoint()
        return 7

    async with driver() as it:
        assert await it.spawn(anyio.run, inner).value() == 7


# --- closing, loops that end, forks ----------------------------------------------------------------------------------


async def test_a_closed_pool_takes_nothing_and_has_finished_everything() -> None:
    pool = ThreadPool(2, name="crew")
    it = Driver(pool)
    done: list[int] = []
    jobs = [it.spawn(functools.partial(done.append, n)) for n in range(50)]
    await pool.aclose()
    assert sorted(done) == list(range(50))
    for job in jobs:
        await job.value()
    with pytest.raises(PoolClosed, match="crew"):
        it.spawn(int)
    with pytest.raises(PoolClosed):
        pool.lane(it.port)
    await pool.aclose()
    pool.close()


async def test_closing_leaves_the_loop_running() -> None:
    pool = ThreadPool()
    it = Driver(pool)
    blocker = Blocker()
    job = it.spawn(blocker)
    await happens(blocker.began)
    turns = 0
    async with anyio.create_task_group() as group:
        group.start_soon(pool.aclose)
        for _ in range(10):
            await anyio.sleep(0.001)
            turns += 1
        assert not job.outcome
        blocker.go.set()
    await job.value()
    assert turns == 10


async def test_a_pool_cannot_be_closed_where_it_would_wait_for_itself() -> None:
    async with driver() as it:
        with pytest.raises(RuntimeError, match="by one of its own tasks"):
            await it.spawn(it.pool.close).value()
        blocker = Blocker()
        it.spawn(blocker)
        await happens(blocker.began)
        with pytest.raises(RuntimeError, match="aclose"):
            it.pool.close()
        blocker.go.set()


def test_a_pool_serves_one_loop_after_another_and_forgets_the_ended() -> None:
    with ThreadPool() as pool:

        async def once() -> int:
            it = Driver(pool)
            assert pool.lane(it.port) is it.lane
            value: int = await it.spawn(int, 9).value()
            return value

        for _ in range(5):
            assert anyio.run(once) == 9
            assert len(pool._lanes) == 1


def test_a_loop_that_ends_with_tasks_in_the_pool_harms_nobody() -> None:
    blocker = Blocker()
    with ThreadPool(1) as pool:

        async def leave() -> None:
            it = Driver(pool)
            it.spawn(blocker)
            for _ in range(3):
                it.spawn(int)
            await happens(blocker.began)

        async def after() -> int:
            value: int = await Driver(pool).spawn(int, 4).value()
            return value

        anyio.run(leave)
        assert anyio.run(after) == 4  # every loop has a thread
        blocker.go.set()


@pytest.mark.parametrize("workers", [0, -1, 1.5, "3", True])
def test_a_senseless_number_of_workers_is_refused(workers: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_workers"):
        ThreadPool(workers)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_afresh() -> None:
    pool = ThreadPool(1)
    blocker = Blocker()

    async def hold() -> None:
        it = Driver(pool)
        it.spawn(blocker)
        await happens(blocker.began)
        pool.lock.acquire()  # as another thread might at the moment of the fork
        child = os.fork()
        if child == 0:
            os._exit(await_in_child())
        pool.lock.release()
        blocker.go.set()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def await_in_child() -> int:
        ok = []

        def run() -> None:
            async def use() -> None:
                ok.append(await Driver(pool).spawn(int, 3).value())

            asyncio.run(use())

        other = threading.Thread(target=run)
        other.start()
        other.join(20)
        return 0 if ok == [3] else 1

    asyncio.run(hold())
    pool.close()
