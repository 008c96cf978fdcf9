"""Shutdown, the end of the interpreter's interest, and what is kept of calls that are over."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import anyio
import pytest

from tests.contract import tasks
from tests.executors.held import NEVER, PATIENT, POOLS, Held
from tests.waiting import is_freed, until
from unified_exec import (
    ProcessPool,
    TaskScope,
)
from unified_exec.executor import ProcessExecutor, ThreadExecutor, reactor


def test_nothing_is_submitted_after_shutdown(executor: Any) -> None:
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)
    executor.shutdown()


def test_an_executor_that_was_never_used_shuts_down(kind: Any) -> None:
    kind(2).shutdown()


def test_shutdown_waits_for_what_was_submitted(kind: Any) -> None:
    executor = kind(2)
    calls = [executor.submit(abs, -n) for n in range(200)]
    executor.shutdown()
    assert all(call.done() for call in calls)
    assert [call.result() for call in calls] == list(range(200))


def test_shutdown_without_waiting_still_runs_what_was_submitted(kind: Any, held: Held) -> None:
    executor = kind(1)
    first = held.start(executor, "a")
    second = executor.submit(tasks.hold, held.path, "b")
    executor.shutdown(wait=False)
    held.release("a", "b")
    assert (first.result(PATIENT), second.result(PATIENT)) == ("a", "b")
    executor.shutdown()


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_workers_can_be_ended_under_their_calls(end: str, held: Held) -> None:
    with ProcessPool(2) as pool:
        executor, neighbour = ProcessExecutor(pool=pool), ProcessExecutor(pool=pool)
        theirs = held.start(neighbour, "theirs")
        running = held.start(executor, "running")
        waiting = [executor.submit(tasks.hold, held.path, f"w{n}") for n in range(20)]
        getattr(executor, end)()
        with pytest.raises(BrokenProcessPool, match="SIGKILL" if end == "kill_workers" else "SIGTERM"):
            running.result(PATIENT)
        assert until(lambda: all(call.done() for call in waiting), PATIENT)
        assert {type(call.exception()) for call in waiting if not call.cancelled()} <= {type(running.exception())}
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            executor.submit(abs, 1)
        executor.shutdown()
        held.release("theirs")
        assert theirs.result(PATIENT) == "theirs"
        neighbour.shutdown()


def test_shutdown_can_cancel_what_waits(kind: Any, held: Held) -> None:
    executor = kind(2)
    running = [held.start(executor, "a"), held.start(executor, "b")]
    waiting = [executor.submit(tasks.hold, held.path, f"w{n}") for n in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert until(lambda: all(call.cancelled() for call in waiting), PATIENT)
    held.release("a", "b")
    assert {call.result(PATIENT) for call in running} == {"a", "b"}
    executor.shutdown()
    assert futures.wait(waiting).done == set(waiting)


def test_shutdown_waits_for_a_call_whose_future_was_cancelled(held: Held) -> None:
    executor = ProcessExecutor(1, grace=NEVER)
    call = held.start(executor, "a")
    call.cancel()
    executor.shutdown()
    assert (held.path / "a.ended").exists()


def test_a_call_that_shuts_its_own_executor_down_is_not_left_hanging() -> None:
    executor = ThreadExecutor(1)
    error = executor.submit(executor.shutdown).exception(PATIENT)
    assert isinstance(error, RuntimeError)
    executor.shutdown()


def test_a_callback_that_shuts_its_executor_down_is_not_left_hanging() -> None:
    executor = ProcessExecutor(1)
    told: futures.Future[BaseException] = futures.Future()

    def shut(_: futures.Future[int]) -> None:
        try:
            executor.shutdown()
        except RuntimeError as error:
            told.set_result(error)

    executor.submit(abs, 1).add_done_callback(shut)
    assert "wait=False" in str(told.result(PATIENT))
    executor.shutdown()


def test_a_pool_that_was_lent_stays_open(kind: Any, held: Held) -> None:
    with POOLS[kind](1) as pool:
        with kind(pool=pool) as executor:
            held.start(executor, "a")
            held.release("a")
        assert not pool.closed
        with kind(pool=pool) as executor:
            assert executor.submit(abs, -2).result() == 2
        with pytest.raises(ValueError, match="pool="):
            kind(3, pool=pool)
    with pytest.raises(RuntimeError, match="cannot schedule"):
        kind(pool=pool).submit(abs, 1)


@pytest.mark.one_loop
async def test_scopes_and_executors_share_a_pool() -> None:
    async with ProcessPool(1) as pool:
        with ProcessExecutor(pool=pool) as executor:
            async with TaskScope(processes=pool) as scope:
                for n in range(20):
                    handle, future = scope.spawn(abs, -n, on="process"), executor.submit(abs, -n)
                    assert await handle == n
                    assert await anyio.to_thread.run_sync(future.result) == n


def test_the_reactor_ends_with_its_last_user() -> None:
    with ProcessExecutor(1) as first:
        first.submit(abs, 1).result()
        with ProcessExecutor(1) as second:
            second.submit(abs, 1).result()
            assert reactor._users == 2
        assert first.submit(abs, -1).result() == 1
    assert reactor._shared is None
    assert not any(thread.name == "unified_exec reactor" for thread in threading.enumerate())


def test_an_executor_that_is_dropped_ends_by_itself(kind: Any) -> None:
    executor = kind(2)
    executor.submit(abs, 1).result()
    gone = weakref.ref(executor)
    del executor
    assert until(lambda: gone() is None, PATIENT)
    if kind is ProcessExecutor:
        assert until(lambda: reactor._shared is None, PATIENT)


class Kept:
    def method(self) -> None:
        pass

    def fail(self) -> None:
        raise ValueError


@pytest.mark.parametrize("method", ["method", "fail"])
def test_nothing_is_kept_of_a_call_that_is_over(executor: Any, method: str) -> None:
    gc.disable()
    try:
        thing = Kept()
        call = executor.submit(getattr(thing, method))
        call.exception(PATIENT)
        watched = [weakref.ref(thing), weakref.ref(call)]
        del thing, call
        assert until(lambda: [ref() for ref in watched] == [None, None], PATIENT)
    finally:
        gc.enable()


def make_kept(_: int) -> Kept:
    return Kept()


def test_map_keeps_no_value_it_has_given(executor: Any) -> None:
    for value in executor.map(make_kept, range(10)):
        watched = weakref.ref(value)
        del value
        assert is_freed(watched)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_an_executor_works_in_a_forked_child_and_goes_on_in_the_parent(executor: Any) -> None:
    assert executor.submit(abs, -1).result() == 1
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if executor.submit(abs, -2).result(PATIENT) == 2 else 2
            executor.shutdown()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert executor.submit(abs, -3).result() == 3
