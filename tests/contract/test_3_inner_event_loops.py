"""Design §1, clause 3: a thread task that runs an event loop of its own can be interrupted, whatever that loop does."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.waiting import until_async
from unified_exec import Cancelled, Collect, RemoteError, TaskScope

Main = Callable[[], Any]


def with_asyncio(main: Main) -> None:
    asyncio.run(main())


def with_anyio(main: Main) -> None:
    anyio.run(main, backend="asyncio")


def with_trio(main: Main) -> None:
    anyio.run(main, backend="trio")


def with_a_bare_loop(main: Main) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def with_uvloop(main: Main) -> None:
    anyio.run(main, backend="asyncio", backend_options={"use_uvloop": True})


RUNNERS = [with_asyncio, with_anyio, with_trio, with_a_bare_loop]
if importlib.util.find_spec("uvloop"):
    RUNNERS.append(with_uvloop)


class Inner:
    """What a thread task does in its own event loop, and how far it came."""

    def __init__(self, run: Callable[[Main], None], what: str) -> None:
        self.run = run
        self.what = what
        self.began = threading.Event()
        self.ended = False

    def __call__(self) -> None:
        self.run(getattr(self, self.what))

    async def waits(self) -> None:
        try:
            self.began.set()
            await (anyio.sleep_forever() if self.run in (with_anyio, with_trio) else asyncio.Event().wait())
        finally:
            self.ended = True

    async def spins(self) -> None:
        try:
            self.began.set()
            while not self.ended:
                pass
        finally:
            self.ended = True

    async def goes_round(self) -> None:
        try:
            self.began.set()
            while True:
                await (checkpoint() if self.run in (with_anyio, with_trio) else asyncio.sleep(0))
        finally:
            self.ended = True

    async def waits_for_a_child(self) -> None:
        if self.run is with_trio:
            async with anyio.create_task_group() as group:
                group.start_soon(self.spins)
                await anyio.sleep_forever()
        await asyncio.gather(self.waits(), self.goes_round())


@pytest.mark.parametrize("what", ["waits", "spins", "goes_round", "waits_for_a_child"])
@pytest.mark.parametrize("run", RUNNERS, ids=lambda run: run.__name__)
async def test_interrupting_a_thread_task_ends_the_event_loop_it_runs(run: Callable[[Main], None], what: str) -> None:
    inner = Inner(run, what)
    async with TaskScope() as scope:
        handle = scope.spawn(inner, on="thread", interrupt=True)
        assert await until_async(lambda: inner.began.is_set() or handle.done())
        assert not handle.done()
        handle.cancel("enough")
        with anyio.fail_after(30, shield=True):
            await handle.wait()
        assert handle.cancelled()
        assert inner.ended


async def test_an_event_loop_that_is_being_closed_is_closed_before_its_task_is_interrupted() -> None:
    closing, go = threading.Event(), threading.Event()
    loops: list[SlowToClose] = []

    class SlowToClose(asyncio.SelectorEventLoop):
        def close(self) -> None:
            if not self.is_closed():
                loops.append(self)
                closing.set()
                while not go.is_set():
                    pass
            super().close()

    def task() -> None:
        with asyncio.Runner(loop_factory=SlowToClose) as runner:
            runner.run(checkpoint())

    async with TaskScope() as scope:
        handle = scope.spawn(task, interrupt=True)
        assert await until_async(closing.is_set)
        handle.cancel()
        # By then an interrupt would have struck: this one, of a task that runs no loop, has.
        spinning = Inner(lambda spins: spins().send(None), "spins")
        other = scope.spawn(spinning, interrupt=True)
        assert await until_async(spinning.began.is_set)
        other.cancel()
        await other.wait()
        assert other.cancelled()
        go.set()
        await handle.wait()
    (loop,) = loops
    assert loop.is_closed()


async def test_what_the_event_loop_of_an_interrupted_task_returns_is_kept() -> None:
    began = threading.Event()

    async def main() -> str:
        try:
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
        return "kept"

    async with TaskScope() as scope:
        handle = scope.spawn(lambda: asyncio.run(main()), on="thread", interrupt=True)
        assert await until_async(began.is_set)
        handle.cancel()
        with anyio.fail_after(30, shield=True):
            assert await handle == "kept"


async def test_a_cancellation_of_its_own_in_the_event_loop_of_a_task_is_a_failure() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    async def refuse() -> None:
        raise Cancelled("nobody asked")

    for fn in (main, refuse):
        async with TaskScope(policy=Collect()) as scope:
            handle = scope.spawn(lambda fn=fn: asyncio.run(fn()), on="thread", interrupt=True)
        assert not handle.cancelled()
        assert type(handle.exception()) is RemoteError
