"""Design §1, clause 3: a task that runs an event loop of its own can be stopped, whatever that loop does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import checkpoint

from tests.contract import inner_loops
from tests.contract.conftest import Folder
from tests.contract.inner_loops import RUNNERS, Main, with_anyio, with_trio
from tests.contract.test_3_process_tasks import NEVER
from tests.profiles import examples
from tests.waiting import until_async
from unified_exec import Cancelled, Collect, ProcessPool, RemoteError, TaskCancelled, TaskScope
from unified_exec._pools.thread import interrupt


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
@pytest.mark.one_loop
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


async def test_a_task_that_waits_for_the_event_loop_of_another_thread_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs code of the loop's library, and no loop."""
    monkeypatch.setattr(interrupt, "LIBRARY_TRIES", 1 << 30)  # it is not hit for lack of patience
    waiting, go = threading.Event(), threading.Event()

    def hold() -> None:
        waiting.set()
        while not go.is_set():
            time.sleep(0.001)

    def task(portal: BlockingPortal) -> None:
        while True:
            portal.call(hold if not waiting.is_set() else int)

    with start_blocking_portal() as portal:
        async with TaskScope() as scope:
            handle = scope.spawn(task, portal, on="thread", interrupt=True)
            assert await until_async(waiting.is_set)
            handle.cancel()
            go.set()
            with anyio.fail_after(30, shield=True):
                await handle.wait()
    assert handle.cancelled()


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


@pytest.mark.one_loop
@pytest.mark.parametrize("what", ["waits", "spins", "goes_round", "waits_for_children"])
@pytest.mark.parametrize("run", RUNNERS, ids=lambda run: run.__name__)
async def test_asking_a_process_task_ends_the_event_loop_it_runs_and_harms_no_later_one(
    run: Callable[[Main], None], what: str, folder: Folder
) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(processes=pool) as scope:
        workers = set()
        for n in range(examples(2, nightly=5)):
            handle = scope.spawn(inner_loops.Inner(folder.path, f"{n}", run, what), on="process")
            await folder.started(f"{n}")
            workers.add(handle.worker)
            handle.cancel("enough")
            with pytest.raises(TaskCancelled, match="enough"):
                await handle
            assert folder.ended(f"{n}")
            after = scope.spawn(inner_loops.Inner(folder.path, "after", run, "returns"), on="process")
            assert await after == "after"
        assert len(workers) == 1


async def test_what_the_event_loop_of_an_asked_process_task_returns_is_kept(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(processes=pool) as scope:
        inner = inner_loops.Inner(folder.path, "task", inner_loops.with_asyncio, "keeps_its_value")
        handle = scope.spawn(inner, on="process")
        await folder.started("task")
        handle.cancel()
        assert await handle == "kept"


async def test_a_cancellation_of_its_own_in_the_event_loop_of_a_process_task_is_a_failure(folder: Folder) -> None:
    async with TaskScope(policy=Collect()) as scope:
        inner = inner_loops.Inner(folder.path, "task", inner_loops.with_asyncio, "cancels_itself")
        handle = scope.spawn(inner, on="process")
    assert type(handle.exception()) is RemoteError
