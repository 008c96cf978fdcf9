"""Interrupting what runs in a thread, on every event loop."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

from tests.unit.threads.driving import driver, happens
from unified_exec._pools.thread import interrupt
from unified_exec._pools.thread.call import ThreadCall

pytestmark = pytest.mark.every_loop


TRACED_AFTERWARDS = """
import sys, threading
import anyio
from unified_exec import TaskScope

began = threading.Event()

def spin():
    began.set()
    while True:
        pass

async def main():
    async with TaskScope() as scope:
        task = scope.spawn(spin, on="thread", interrupt=True)
        await anyio.to_thread.run_sync(began.wait)
        task.cancel()

def traced():
    return "traced"

anyio.run(main)
sys.settrace(lambda *about: None)
said = traced()
sys.settrace(None)
print(said)
"""


def test_a_program_can_be_traced_after_an_interrupt() -> None:
    done = subprocess.run([sys.executable, "-c", TRACED_AFTERWARDS], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("traced\n", "")


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
            try:
                began.set()
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


@pytest.mark.loops_in_turn
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
        assert it.lane.scheduler.queues.busy == 0
    if ending == "spin":
        assert counts["cancelled"] == 400


@pytest.mark.parametrize("error", [None, LookupError("own")])
async def test_a_late_interrupt_changes_nothing(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The asker wins the race, but the function has ended: what it returned or raised is what counts."""
    disarm = interrupt.disarm

    def late(call: ThreadCall) -> None:
        assert call.token is not None
        call.request_cancel("late")
        call.token.interrupt()  # pending for this very thread: lands at the next chance, in here or below
        disarm(call)

    monkeypatch.setattr(interrupt, "disarm", late)

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
    """What closes a token has no back jump: an exception lands inside the `try` (cpython#130279)."""
    import dis

    for fn in (interrupt.InterruptToken.close, interrupt.disarm):
        assert not [i.opname for i in dis.get_instructions(fn) if i.opname == "JUMP_BACKWARD"]
