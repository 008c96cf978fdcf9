"""Cancelling a future: what the standard library cannot do."""

from __future__ import annotations

import asyncio
import os
from concurrent import futures
from typing import Any

import anyio
import pytest

from tests.contract import tasks
from tests.executors.held import NEVER, PATIENT, Held, spin_deaf
from tests.waiting import until
from unified_exec.executor import ProcessExecutor, ThreadExecutor


def test_running_is_honest(executor: Any, held: Held) -> None:
    first, second = held.start(executor, "a"), held.start(executor, "b")
    waiting = executor.submit(tasks.hold, held.path, "c")
    assert first.running()
    assert second.running()
    assert not waiting.running()
    held.release("a", "b", "c")
    futures.wait([first, second, waiting])
    assert not any(call.running() for call in (first, second, waiting))


def test_cancel_of_a_running_process_call_stops_it_and_keeps_the_worker(held: Held) -> None:
    with ProcessExecutor(1, grace=NEVER) as executor:
        pid = executor.submit(os.getpid).result()
        for n in range(10):
            call = held.start(executor, f"task{n}")
            assert call.cancel()
            assert call.cancelled()
            assert futures.wait([call], timeout=0).done == {call}
            with pytest.raises(futures.CancelledError):
                call.result()
            held.wait_for_end(f"task{n}")
        assert executor.submit(os.getpid).result() == pid


def test_a_process_call_that_does_not_listen_is_killed_after_the_grace(held: Held) -> None:
    with ProcessExecutor(1, grace=0.05) as executor:
        pid = executor.submit(os.getpid).result()
        call = executor.submit(spin_deaf, held.path)
        held.wait_for_start("deaf")
        assert call.cancel()
        assert executor.submit(os.getpid).result() != pid


def test_cancel_of_a_running_thread_call_is_refused(held: Held) -> None:
    with ThreadExecutor(1) as executor:
        call = held.start(executor, "a")
        assert not call.cancel()
        held.release("a")
        assert call.result(PATIENT) == "a"
        assert not call.cancel()


def test_a_cancelled_call_that_waits_never_starts(executor: Any, held: Held) -> None:
    running = [held.start(executor, "a"), held.start(executor, "b")]
    waiting = executor.submit(tasks.hold, held.path, "c")
    assert waiting.cancel()
    assert waiting.cancel()
    held.release("a", "b")
    futures.wait([*running, waiting])
    assert executor.submit(abs, -1).result() == 1
    assert not held.started("c")


def test_cancelling_what_awaits_a_process_call_stops_it(held: Held) -> None:
    async def main() -> None:
        waiter = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(executor, tasks.hold, held.path, "a"))
        await anyio.to_thread.run_sync(held.wait_for_start, "a")
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        await anyio.to_thread.run_sync(held.wait_for_end, "a")

    with ProcessExecutor(1, grace=NEVER) as executor:
        asyncio.run(main())


def test_each_future_ends_once_whether_its_cancellation_or_its_end_comes_first(executor: Any) -> None:
    ends: list[futures.Future[int]] = []
    calls = [executor.submit(abs, -n) for n in range(500)]
    for call in calls:
        call.add_done_callback(ends.append)
    cancelled = {call for call in reversed(calls) if call.cancel()}
    futures.wait(calls)
    assert len(futures.wait(calls).done) == 500
    assert {call for call in calls if call.cancelled()} == cancelled
    assert all(call.result() == n for n, call in enumerate(calls) if call not in cancelled)
    assert until(lambda: len(ends) == 500, PATIENT)
