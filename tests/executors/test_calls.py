"""The `concurrent.futures` executors: calls, futures and their callbacks."""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import threading
from concurrent import futures
from typing import Any

import pytest

from tests.contract import tasks
from tests.executors.held import PATIENT, capture, fail
from unified_exec.executor import ProcessExecutor, ThreadExecutor


def test_submit_takes_positional_and_keyword_arguments(executor: Any) -> None:
    assert executor.submit(capture, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    assert executor.submit(pow, 2, 8).result() == 256


def test_futures_are_those_of_the_standard_library(executor: Any) -> None:
    calls = [executor.submit(math.sqrt, n) for n in range(20)]
    assert all(isinstance(call, futures.Future) for call in calls)
    assert {call.result() for call in futures.as_completed(calls)} == {math.sqrt(n) for n in range(20)}
    done, pending = futures.wait(calls)
    assert (len(done), len(pending)) == (20, 0)


def test_an_error_is_the_futures_own(executor: Any) -> None:
    call = executor.submit(fail, "no")
    assert isinstance(call.exception(), ValueError)
    with pytest.raises(ValueError, match="no"):
        call.result()


def test_sys_exit_comes_as_from_the_standard_library(executor: Any) -> None:
    assert isinstance(executor.submit(sys.exit, 3).exception(), SystemExit)


def test_a_coroutine_function_runs_in_a_process() -> None:
    with ProcessExecutor(1) as executor:
        assert executor.submit(tasks.a_value, 3).result() == 3


def test_any_thread_may_submit(executor: Any) -> None:
    results: list[int] = []

    def work(start: int) -> None:
        results.extend(call.result() for call in [executor.submit(abs, -n) for n in range(start, start + 50)])

    threads = [threading.Thread(target=work, args=(50 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(200))


def test_an_event_loop_runs_calls_in_it(executor: Any) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, abs, -n) for n in range(20)))

    assert asyncio.run(main()) == list(range(20))


def test_a_call_in_a_thread_sees_the_context_of_its_submit() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    variable.set(7)
    with ThreadExecutor(1) as executor:
        assert executor.submit(variable.get).result() == 7


def test_one_thread_runs_one_call_at_a_time_also_those_that_its_calls_submit() -> None:
    with ThreadExecutor(1) as executor:
        inside, seen = threading.Event(), []

        def outer() -> futures.Future[None]:
            inside.set()
            call = executor.submit(lambda: seen.append("inner"))
            seen.append("outer")
            return call

        executor.submit(outer).result().result()
        assert seen == ["outer", "inner"]


def test_done_callbacks_run_and_may_submit(executor: Any) -> None:
    chained: futures.Future[Any] = futures.Future()

    def go_on(call: futures.Future[int]) -> None:
        executor.submit(abs, -call.result()).add_done_callback(lambda last: chained.set_result(last.result()))

    executor.submit(abs, 4).add_done_callback(go_on)
    assert chained.result(PATIENT) == 4


def test_a_callback_that_would_wait_for_its_own_thread_is_told_so() -> None:
    with ProcessExecutor(1) as executor:
        told: futures.Future[BaseException | None] = futures.Future()

        def wait_inside(_: futures.Future[int]) -> None:
            try:
                executor.submit(abs, 1).result()
            except RuntimeError as error:
                told.set_result(error)

        executor.submit(abs, 1).add_done_callback(wait_inside)
        assert "done-callback" in str(told.result(PATIENT))


def test_a_callback_in_a_thread_may_wait_for_another_call() -> None:
    with ThreadExecutor(2) as executor:
        gate = threading.Event()
        first = executor.submit(gate.wait)
        second = executor.submit(gate.wait)
        seen: futures.Future[int] = futures.Future()
        first.add_done_callback(lambda _: seen.set_result(executor.submit(abs, -5).result()))
        gate.set()
        assert seen.result(PATIENT) == 5
        second.result()


def by_result(call: futures.Future[int], executor: ThreadExecutor) -> None:
    call.result(10)


def by_exception(call: futures.Future[int], executor: ThreadExecutor) -> None:
    assert call.exception(10) is None


def by_wait(call: futures.Future[int], executor: ThreadExecutor) -> None:
    assert futures.wait([call], 10).done


def by_as_completed(call: futures.Future[int], executor: ThreadExecutor) -> None:
    assert list(futures.as_completed([call], 10)) == [call]


def by_map(call: futures.Future[int], executor: ThreadExecutor) -> None:
    assert list(executor.map(int, ["1", "2"], timeout=10)) == [1, 2]


@pytest.mark.parametrize("wait", [by_result, by_exception, by_wait, by_as_completed, by_map])
def test_a_call_that_waits_for_a_call_of_the_same_thread_executor_does_not_deadlock(wait: Any) -> None:
    with ThreadExecutor(1) as executor:

        def nested(depth: int) -> int:
            if depth == 0:
                return 0
            call = executor.submit(nested, depth - 1)
            wait(call, executor)
            return call.result(10) + 1

        assert executor.submit(nested, 10).result(20) == 10


def test_a_thread_executor_of_one_runs_calls_that_nothing_waits_for_one_after_another() -> None:
    log: list[str] = []
    with ThreadExecutor(1) as executor:
        inner: list[futures.Future[None]] = []

        def outer() -> None:
            inner.append(executor.submit(log.append, "inner"))
            futures.wait([executor_of_others.submit(int)])  # not one of its own
            log.append("outer")

        with ThreadExecutor(1) as executor_of_others:
            executor.submit(outer).result(10)
        inner[0].result(10)
    assert log == ["outer", "inner"]
