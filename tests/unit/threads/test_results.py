"""What a call in a thread gives back, on every event loop."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.this_python import HAS_GIL
from tests.unit.threads.driving import driver
from unified_exec.errors import Cancelled, RemoteError

pytestmark = pytest.mark.every_loop


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
