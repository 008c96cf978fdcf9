"""`TaskScope(debug=...)`: who holds up the event loop is named, with the stack, while it does."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from unified_exec import Stall, SyncTaskScope, TaskScope
from unified_exec._tasks import loaded
from unified_exec.observe import watchdog

told = threading.Event()


@pytest.fixture(autouse=True)
def nothing_told() -> Iterator[None]:
    told.clear()
    yield
    assert not watchdog._watchdogs


class Seen(list[Stall]):
    """A hook that keeps what it is told and lets the culprit go on."""

    def __call__(self, stall: Stall) -> None:
        self.append(stall)
        told.set()


async def rude() -> None:
    told.wait(30)  # on the loop: nothing else can run


def blocks() -> None:
    told.wait(30)


async def calls_what_blocks() -> None:
    blocks()


def blocks_and_gives_an_awaitable() -> object:
    blocks()
    return anyio.lowlevel.checkpoint()


def holds_the_gil() -> None:
    end = time.monotonic() + 60  # on a machine whose cores are all taken nothing may ever be told
    while not told.is_set() and time.monotonic() < end:
        sum(range(5_000_000))  # one call into C


async def test_a_coroutine_that_holds_the_loop_is_reported_with_its_stack_while_it_does() -> None:
    seen = Seen()
    async with TaskScope(debug=seen) as scope:
        scope.spawn(rude, name="the rude one")
    (stall,) = seen
    assert stall.kind == "coroutine"
    assert stall.task == "the rude one"
    assert stall.seconds > watchdog.LIMIT
    assert "rude" in stall.where or "wait" in stall.where
    assert "told.wait(30)" in stall.stack
    assert "in rude" in stall.stack
    assert "unified_exec/_scope" not in stall.stack.replace("\\", "/")


async def test_a_plain_function_on_the_loop_is_reported_as_that() -> None:
    for fn in (calls_what_blocks, blocks_and_gives_an_awaitable):
        told.clear()
        seen = Seen()
        async with TaskScope(debug=seen) as scope:
            scope.spawn(fn, on="loop")
        (stall,) = seen
        assert stall.kind == "sync"
        assert stall.task == fn.__name__
        assert "blocks" in stall.where
        assert "in a thread" in str(stall)


async def test_the_body_of_the_scope_is_watched_too() -> None:
    seen = Seen()
    async with TaskScope(debug=seen):
        told.wait(30)
    assert seen[0].task is None
    assert "told.wait(30)" in seen[0].stack


@pytest.mark.skipif(loaded.gil_is_off(), reason="without a GIL no thread starves another")
async def test_threads_that_hold_the_gil_are_reported_with_their_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "CPU_SHARE", 0.02)  # other processes may leave this one little of a core
    seen = Seen()
    async with TaskScope(debug=seen) as scope:
        scope.spawn(holds_the_gil)
        scope.spawn(holds_the_gil)
    assert seen[0].kind == "starved"
    assert "sum(range(5_000_000))" in seen[0].stack
    assert "processes" in str(seen[0])


async def test_it_goes_through_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    handler = Telling()
    logging.getLogger("unified_exec.watchdog").addHandler(handler)
    try:
        async with TaskScope(debug=True) as scope:
            scope.spawn(rude)
    finally:
        logging.getLogger("unified_exec.watchdog").removeHandler(handler)
    (record,) = caplog.records
    assert record.name == "unified_exec.watchdog"
    assert record.levelno == logging.WARNING
    assert "task 'rude' holds up the event loop" in record.getMessage()


async def test_a_hook_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(stall: Stall) -> None:
        told.set()
        raise ValueError("broken hook")

    async with TaskScope(debug=broken) as scope:
        handle = scope.spawn(rude)
    assert handle.exception() is None
    assert "a hook of the watchdog failed" in caplog.text


async def test_a_loop_that_runs_is_left_alone() -> None:
    seen = Seen()
    async with TaskScope(debug=seen) as scope:
        scope.spawn(anyio.sleep, 3 * watchdog.LIMIT)
        scope.spawn(told.wait, 3 * watchdog.LIMIT)
    assert [stall for stall in seen if stall.kind != "starved"] == []


async def test_scopes_of_one_loop_share_a_thread_and_the_last_ends_it() -> None:
    def watchers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "watchdog" in thread.name]

    async with TaskScope(debug=True):
        assert len(watchers()) == 1
        async with TaskScope(debug=True) as inner:
            assert len(watchers()) == 1
            inner.cancel()
        assert len(watchers()) == 1
    assert watchers() == []
    async with TaskScope():
        assert watchers() == []


async def test_a_failing_scope_leaves_no_watcher() -> None:
    with pytest.raises(ExceptionGroup):
        async with TaskScope(debug=True):
            raise ValueError


def test_it_works_without_async() -> None:
    seen = Seen()
    with SyncTaskScope(debug=seen) as scope:
        scope.spawn(rude)
    assert seen[0].task == "rude"


@pytest.mark.parametrize("debug", [1, "yes", None])
def test_nonsense_is_refused(debug: object) -> None:
    with pytest.raises(TypeError, match="debug must be True, False or a function"):
        TaskScope(debug=debug)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "on"), [("1", True), ("true", True), ("0", False), ("", False), ("off", False)])
def test_the_environment_turns_it_on_for_every_scope(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIFIED_EXEC_DEBUG", value)
    program = (
        "import asyncio, threading\n"
        "from unified_exec import TaskScope\n"
        "async def main():\n"
        "    async with TaskScope():\n"
        "        print(any('watchdog' in thread.name for thread in threading.enumerate()))\n"
        "asyncio.run(main())\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == str(on)


@pytest.mark.asyncio
async def test_a_task_of_asyncio_itself_is_named_by_its_line() -> None:
    seen = Seen()
    async with TaskScope(debug=seen):
        await asyncio.create_task(rude())
    assert seen[0].task is None
    assert "in rude" in seen[0].stack
