"""The `concurrent.futures` executors: what code written for those expects, and what is better here."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib.util
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.contract import tasks
from tests.waiting import until
from unified_exec import (
    Cancelled,
    ProcessPool,
    SerializationError,
    TaskScope,
    ThreadPool,
    WorkerCrashed,
    WorkerStartError,
    cpu_count,
)
from unified_exec._backends import reactor
from unified_exec.executor import ProcessExecutor, ThreadExecutor

NEVER = 600.0
PATIENT = 60.0
EXECUTORS = [ProcessExecutor, ThreadExecutor]
POOLS = {ProcessExecutor: ProcessPool, ThreadExecutor: ThreadPool}


@pytest.fixture(params=EXECUTORS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def executor(kind: Any) -> Iterator[Any]:
    with kind(2) as made:
        yield made


class Held:
    """Calls that run until they are let go."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, executor: Any, name: str) -> Any:
        future = executor.submit(tasks.hold, self.path, name)
        self.wait_for_start(name)
        return future

    def wait_for_start(self, name: str) -> None:
        assert until((self.path / f"{name}.started").exists, PATIENT)

    def wait_for_end(self, name: str) -> None:
        assert until((self.path / f"{name}.ended").exists, PATIENT)

    def started(self, name: str) -> bool:
        return (self.path / f"{name}.started").exists()

    def release(self, *names: str) -> None:
        for name in names:
            (self.path / f"{name}.go").touch()


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def capture(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def fail(text: str) -> None:
    raise ValueError(text)


def die(how: int) -> None:
    os.kill(os.getpid(), how)


def spin_deaf(path: Path) -> None:
    (path / "deaf.started").touch()
    while True:
        try:
            while True:
                time.sleep(0.001)
        except Cancelled:
            pass


# --- calls ---


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


# --- running, cancelling ---


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


def test_whoever_wins_a_race_of_cancel_and_end_each_future_ends_once(executor: Any) -> None:
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


# --- map ---


@pytest.mark.parametrize("chunksize", [1, 3, 7, 100])
@pytest.mark.parametrize("buffersize", [None, 1, 4])
def test_map_gives_the_values_in_order(executor: Any, chunksize: int, buffersize: int | None) -> None:
    values = executor.map(pow, range(40), range(40), chunksize=chunksize, buffersize=buffersize)
    assert list(values) == [n**n for n in range(40)]


def test_map_gives_what_came_before_the_failure(executor: Any) -> None:
    for chunksize in (1, 2, 4):
        values = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], chunksize=chunksize)
        assert [next(values), next(values)] == [(0, 1), (0, 1)]
        with pytest.raises(ZeroDivisionError):
            next(values)
        with pytest.raises(StopIteration):
            next(values)


def test_map_with_a_buffer_reads_no_further_than_it_must(executor: Any) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    values = executor.map(abs, endless(), buffersize=3)
    assert taken == 3
    assert [next(values) for _ in range(10)] == list(range(1, 11))
    assert taken == 13
    values.close()
    with pytest.raises(StopIteration):
        next(values)


def test_closing_a_map_cancels_the_rest(executor: Any, held: Held) -> None:
    values = executor.map(tasks.hold, [held.path] * 6, ["a", "b", "c", "d", "e", "f"])
    held.wait_for_start("a")
    held.wait_for_start("b")
    held.release("a")
    assert next(values) == "a"
    values.close()
    held.release("b", "c")  # of a thread; a process has been stopped
    held.wait_for_end("b")
    assert executor.submit(abs, -1).result() == 1
    assert not held.started("f")


def test_a_map_that_was_only_started_runs_to_its_end(executor: Any, held: Held) -> None:
    held.release("a", "b", "c")
    executor.map(tasks.hold, [held.path] * 3, ["a", "b", "c"])
    executor.shutdown()
    assert all(held.started(name) for name in "abc")


def test_map_that_is_too_slow_times_out_and_cancels(executor: Any, held: Held) -> None:
    running = [held.start(executor, "a"), held.start(executor, "b")]
    values = executor.map(tasks.hold, [held.path] * 2, ["c", "d"], timeout=0)
    with pytest.raises(TimeoutError):
        next(values)
    held.release("a", "b", "c", "d")
    futures.wait(running)
    assert executor.submit(abs, -1).result() == 1
    assert not held.started("c")
    assert not held.started("d")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"buffersize": 0}, ValueError),
        ({"buffersize": 1.5}, TypeError),
    ],
)
def test_map_refuses_nonsense(executor: Any, options: Any, error: Any) -> None:
    with pytest.raises(error, match="buffersize"):
        executor.map(abs, [1], **options)


def test_map_of_processes_refuses_a_chunksize_below_one() -> None:
    with ProcessExecutor(1) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], chunksize=-1)


# --- errors ---


def test_a_crash_costs_one_future_and_is_a_broken_process_pool(held: Held) -> None:
    with ProcessExecutor(2) as executor:
        other = held.start(executor, "a")
        crash = executor.submit(die, signal.SIGKILL)
        error = crash.exception(PATIENT)
        assert isinstance(error, WorkerCrashed)
        assert isinstance(error, BrokenProcessPool)
        assert error.exitcode == -signal.SIGKILL
        held.release("a")
        assert other.result(PATIENT) == "a"
        assert executor.submit(abs, -1).result() == 1


def test_what_cannot_travel_is_a_pickling_error_of_the_future() -> None:
    with ProcessExecutor(1) as executor:
        for call in (executor.submit(id, threading.Lock()), executor.submit(threading.Lock)):
            error = call.exception(PATIENT)
            assert isinstance(error, SerializationError)
            assert isinstance(error, pickle.PicklingError)
            assert not isinstance(error, BrokenProcessPool)
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is type(error)
            assert str(again) == str(error)


class NotRebuilt:
    def __reduce__(self) -> Any:
        return fail, ("not here",)


def test_what_cannot_be_rebuilt_is_what_breaks_the_standard_librarys_pool() -> None:
    with ProcessExecutor(1) as executor:
        for call in (executor.submit(id, NotRebuilt()), executor.submit(NotRebuilt)):
            error = call.exception(PATIENT)
            assert isinstance(error, SerializationError)
            assert isinstance(error, BrokenProcessPool)
        assert executor.submit(abs, -1).result() == 1


def test_an_initializer_runs_in_each_worker_before_its_first_call(kind: Any) -> None:
    with kind(2, initializer=initialize, initargs=(1,)) as executor:
        assert executor.submit(initialized).result() == [1]


seen_by_initializer: list[int] = []


def initialize(value: int) -> None:
    seen_by_initializer.append(value)


def initialized() -> list[int]:
    return seen_by_initializer[-1:]


def test_a_failing_initializer_is_an_error_of_what_waits_and_no_endless_respawn(kind: Any) -> None:
    broken = {ProcessExecutor: BrokenProcessPool, ThreadExecutor: BrokenThreadPool}[kind]
    with kind(1, initializer=fail, initargs=("no room",)) as executor:
        calls = [executor.submit(abs, n) for n in range(5)]
        for call in calls:
            error = call.exception(PATIENT)
            assert isinstance(error, WorkerStartError)
            assert isinstance(error, broken)
            assert "no room" in str(error)


def test_a_thread_tries_its_initializer_again_for_what_is_submitted_later() -> None:
    works = False

    def initializer() -> None:
        if not works:
            raise ValueError

    with ThreadExecutor(1, initializer=initializer) as executor:
        assert executor.submit(abs, 1).exception(PATIENT) is not None
        works = True
        assert executor.submit(abs, -1).result() == 1


# --- the end ---


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
        assert watched() is None


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


# --- what others look at ---


def test_the_arguments_are_those_of_the_standard_library(kind: Any) -> None:
    for number in (0, -1):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            kind(number)
    with pytest.raises(TypeError, match="initializer"):
        kind(1, initializer=1)
    assert kind(3)._max_workers == 3
    assert ThreadExecutor()._max_workers == min(32, cpu_count() + 4)


def test_the_arguments_of_processes() -> None:
    import multiprocessing

    ProcessExecutor(1, multiprocessing.get_context("spawn")).shutdown()
    with pytest.raises(ValueError, match="fork"):
        ProcessExecutor(1, mp_context=multiprocessing.get_context("fork"))
    for wrong, error in ((0, ValueError), ("3", TypeError)):
        with pytest.raises(error):
            ProcessExecutor(1, max_tasks_per_child=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two names"):
        ProcessExecutor(1, max_tasks_per_child=1, max_tasks_per_worker=2)
    with ProcessExecutor(1, max_tasks_per_child=2) as executor:
        pids = [executor.submit(os.getpid).result() for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]


def test_threads_have_the_prefix_in_their_names() -> None:
    with ThreadExecutor(1, thread_name_prefix="reader") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result() == "reader_0"


def test_a_manager_of_multiprocessing_can_be_handed_over() -> None:
    from multiprocessing.managers import SyncManager

    # Forked: what the other ways start lives until the end of the program.
    manager = SyncManager(ctx=multiprocessing.get_context("fork"))
    manager.start()
    try:
        with ProcessExecutor(1) as executor:
            shared = manager.list()
            executor.submit(shared.append, 5).result()
            assert list(shared) == [5]
    finally:
        manager.shutdown()


def _needs(name: str) -> Callable[[Any], Any]:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


@pytest.fixture
def joblib_backend() -> Iterator[Any]:
    import joblib

    from unified_exec.executor import joblib_backend, register_joblib

    register_joblib()
    with joblib.parallel_config(backend="unified_exec"):
        yield joblib
    joblib_backend.shut_down()


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def nested(n: int) -> tuple[int, str]:
    import joblib
    from joblib.parallel import get_active_backend

    values = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(n))
    return sum(values), type(get_active_backend()[0]).__name__


def fail_or_hold(path: Path, name: str) -> str:
    if name == "bad":
        assert until((path / "a.started").exists, PATIENT)
        fail("bad")
    return tasks.hold(path, name)


@_needs("joblib")
def test_joblib_runs_its_batches_in_warm_processes(joblib_backend: Any) -> None:
    parallel, delayed = joblib_backend.Parallel, joblib_backend.delayed
    first = parallel(n_jobs=2)(delayed(square)(n) for n in range(50))
    assert [value for value, _ in first] == [n * n for n in range(50)]
    second = parallel(n_jobs=2)(delayed(square)(n) for n in range(50))
    pids = {pid for _, pid in first + second}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    lazily = parallel(n_jobs=2, return_as="generator")(delayed(square)(n) for n in range(5))
    assert [value for value, _ in lazily] == [0, 1, 4, 9, 16]


@_needs("joblib")
def test_joblib_uses_threads_inside_a_worker(joblib_backend: Any) -> None:
    results = joblib_backend.Parallel(n_jobs=2)(joblib_backend.delayed(nested)(n) for n in range(4))
    assert results == [(sum(range(n)), "ThreadingBackend") for n in range(4)]


@_needs("joblib")
def test_joblib_stops_what_runs_when_one_fails(joblib_backend: Any, held: Held) -> None:
    with pytest.raises(ValueError, match="bad"):
        joblib_backend.Parallel(n_jobs=2, batch_size=1)(
            joblib_backend.delayed(fail_or_hold)(held.path, name) for name in ("a", "bad", "c", "d")
        )
    held.wait_for_end("a")


@_needs("dask")
def test_dask_computes_in_it(executor: Any) -> None:
    import dask

    values = [dask.delayed(square)(n) for n in range(10)]
    for results in (dask.compute(*values, scheduler=executor), _compute_configured(dask, values, executor)):
        assert [value for value, _ in results] == [n * n for n in range(10)]
        in_processes = os.getpid() not in {pid for _, pid in results}
        assert in_processes is isinstance(executor, ProcessExecutor)


def _compute_configured(dask: Any, values: list[Any], executor: Any) -> Any:
    with dask.config.set(scheduler=executor):
        return dask.compute(*values)
