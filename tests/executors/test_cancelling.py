"""Cancelling a future: what the standard library cannot do."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent import futures
from typing import Any

import anyio
import pytest

from tests.contract import tasks
from tests.contract.ctrl_c import CtrlC
from tests.executors.held import NEVER, PATIENT, POOLS, Held, spin_deaf
from tests.profiles import examples
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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it may come in a finalizer, too
@pytest.mark.parametrize("used", [False, True], ids=["first call", "later call"])
def test_ctrl_c_at_any_instant_of_submit_leaves_the_executor_whole(kind: Any, used: bool) -> None:
    step = 1 if kind is ThreadExecutor else examples(7, nightly=1)
    calls = list[int]()
    with POOLS[kind](2) as pool, kind(pool=pool) as other:
        if used or sys.version_info < (3, 12):  # 3.11 cannot trace the start of a reactor: "TypeError: 'traceback' ..."
            other.submit(abs, 1).result(PATIENT)
        for at in range(0, 1000, step):
            executor = kind(pool=pool)
            if used:
                executor.submit(abs, 1).result(PATIENT)
            calls.clear()
            ctrl_c = CtrlC(at)
            try:
                with ctrl_c:
                    executor.submit(calls.append, 1)
            except KeyboardInterrupt:
                pass
            if not ctrl_c.place:
                executor.shutdown()
                assert at > 10
                return
            later = list[Any]()
            thread = threading.Thread(target=use_to_the_end, args=(executor, later), daemon=True)
            thread.start()
            thread.join(PATIENT)
            assert later == [[1, 2, 3], "shut down"], ctrl_c.place
            assert len(calls) <= 1, ctrl_c.place


def use_to_the_end(executor: Any, done: list[Any]) -> None:
    calls = [executor.submit(abs, -n) for n in (1, 2, 3)]
    done.append([call.result(PATIENT) for call in calls])
    executor.shutdown()
    done.append("shut down")


def test_ctrl_c_at_any_instant_of_shutdown_leaves_another_to_end_it(kind: Any) -> None:
    with POOLS[kind](2) as pool:
        for at in range(1000):
            own = kind is ThreadExecutor
            executor = kind(2) if own else kind(pool=pool)
            executor.submit(abs, 1).result(PATIENT)
            ctrl_c = CtrlC(at)
            try:
                with ctrl_c:
                    executor.shutdown()
            except KeyboardInterrupt:
                pass
            ended = threading.Thread(target=executor.shutdown, daemon=True)
            ended.start()
            ended.join(PATIENT)
            assert not ended.is_alive(), ctrl_c.place
            if not ctrl_c.place:
                assert at > 5
                return
