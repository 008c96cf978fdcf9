"""What a call in a thread gives back, on every event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.this_python import HAS_GIL
from tests.unit.threads.driving import Blocker, driver, happens
from unified_exec._tasks.current import current_task
from unified_exec._tasks.types import TaskState
from unified_exec.errors import Cancelled, RemoteError

pytestmark = pytest.mark.every_loop


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
                    while it.lane.scheduler.queues.busy or not it.lane.scheduler._idle:
                        await anyio.lowlevel.checkpoint()
                    if not HAS_GIL:  # what an idle thread has made, and another drops, is freed when it runs again
                        gc.collect()
                    assert [ref() for ref in refs] == [None, None]  # and no cycle either: gc is off
        finally:
            gc.enable()
