"""Crashes, what cannot travel, and initializers that fail."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from typing import Any, cast

import pytest

from tests.executors.held import PATIENT, Held, die, fail
from tests.this_python import needs_interpreters
from unified_exec import (
    SerializationError,
    WorkerCrashed,
    WorkerStartError,
)
from unified_exec.executor import InterpreterExecutor, ProcessExecutor, ThreadExecutor


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


def not_rebuilt(x: int) -> NotRebuilt:
    return NotRebuilt()


@pytest.mark.parametrize("chunksize", [1, 2])
def test_the_errors_of_a_map_are_those_of_its_calls_whatever_its_chunks(chunksize: int) -> None:
    with ProcessExecutor(1) as executor:
        with pytest.raises(pickle.PicklingError):
            list(executor.map(lambda x: threading.Lock() if x else x, [0, 1], chunksize=chunksize))
        with pytest.raises(SystemExit):
            list(executor.map(sys.exit, [3], chunksize=chunksize))


def a_lock(x: int) -> Any:
    return threading.Lock()


@pytest.mark.parametrize("chunksize", [1, 2])
def test_the_errors_of_a_map_name_its_function_whatever_its_chunks(chunksize: int) -> None:
    lock = threading.Lock()
    with ProcessExecutor(1) as executor:
        said = []
        for call in (
            lambda: executor.map(divmod, [1, 2], [3, lock], chunksize=chunksize),
            lambda: executor.map(lock.acquire, [1, 2], chunksize=chunksize),
            lambda: executor.map(a_lock, [1, 2], chunksize=chunksize),
            lambda: executor.map(not_rebuilt, [1, 2], chunksize=chunksize),
        ):
            with pytest.raises(SerializationError) as caught:
                list(call())
            said.append(caught.value.what)
    assert said == [
        "argument 2 ('y') of divmod()",
        "the function lock.acquire()",
        "the result of a_lock()",
        "the result of not_rebuilt()",
    ]


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


def test_what_cannot_be_called_is_a_type_error_of_the_future(kind: Any) -> None:
    with kind(1) as executor:
        error = executor.submit(cast(Any, object())).exception(PATIENT)
        assert isinstance(error, TypeError)
        assert "not callable" in str(error)


@needs_interpreters
def test_a_failing_initializer_of_an_interpreter_is_a_broken_interpreter_pool() -> None:
    from concurrent.futures.interpreter import BrokenInterpreterPool  # type: ignore[import-not-found, unused-ignore]

    with InterpreterExecutor(1, initializer=fail, initargs=("no room",)) as executor:
        error = executor.submit(abs, 1).exception(PATIENT)
        assert isinstance(error, WorkerStartError)
        assert isinstance(error, BrokenInterpreterPool)


def test_a_thread_tries_its_initializer_again_for_what_is_submitted_later() -> None:
    works = False

    def initializer() -> None:
        if not works:
            raise ValueError

    with ThreadExecutor(1, initializer=initializer) as executor:
        assert executor.submit(abs, 1).exception(PATIENT) is not None
        works = True
        assert executor.submit(abs, -1).result() == 1
