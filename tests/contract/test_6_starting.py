"""Law 1.6: a worker that cannot start is a clear error for the waiting tasks, never an endless respawn."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.faults import tasks
from tests.waiting import until, until_async
from unified_exec import (
    Collect,
    ProcessPool,
    SerializationError,
    TaskScope,
    WorkerStartError,
    shutdown_default_pools,
)
from unified_exec._pools.process import start_retry, start_worker, templates

pytestmark = pytest.mark.one_loop

MOST_STARTS = 12


async def test_a_failing_initializer_fails_the_waiting_tasks_with_its_cause(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def initializer() -> None:
        tasks.note(log, os.getpid())
        tasks.fail_to_start("no database")

    async with ProcessPool(max_workers=2, initializer=initializer) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            handles = [scope.spawn(tasks.double, n, on="process") for n in range(20)]
        for handle in handles:
            error = handle.exception()
            assert isinstance(error, WorkerStartError)
            assert "no database" in str(error)
            assert isinstance(error.__cause__, ValueError)
            assert error.__cause__.args == ("no database",)
    assert 1 <= len(tasks.noted(log)) <= MOST_STARTS


async def test_a_pool_whose_initializer_fails_once_is_whole_again_afterwards(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    (tmp_path / "fail").touch()

    def initializer() -> None:
        tasks.note(log, os.getpid())
        if os.path.exists(log[:-3] + "fail"):
            raise OSError("not yet")

    async with ProcessPool(max_workers=1, initializer=initializer) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            first = scope.spawn(tasks.double, 1, on="process")
        assert isinstance(first.exception(), WorkerStartError)
        (tmp_path / "fail").unlink()
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(tasks.double, 1, on="process") == 2


@pytest.mark.parametrize("known", [True, False], ids=["known as short", "unknown"])
@pytest.mark.parametrize("how", tasks.DEATHS)
async def test_a_death_while_starting_fails_the_waiting_tasks_and_ends_the_tries(
    how: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that were sent ahead to another worker that is starting."""

    def double(number: int) -> int:
        return number * 2

    async with TaskScope() as scope:
        for n in range(50 if known else 0):
            await scope.spawn(double, n, on="process")
    monkeypatch.setattr(start_retry, "KILLED_SECONDS", 0.1)
    log = str(tmp_path / "log")
    pool = ProcessPool(max_workers=2, initializer=tasks.note_and_die, initargs=(log, "x", how))
    async with pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handles = [scope.spawn(double, n, on="process") for n in range(20)]
    codes = {"exit": 7, "segfault": -11, "abort": -6, "kill": -9}
    for handle in handles:
        error = handle.exception()
        assert isinstance(error, WorkerStartError), error
        assert error.exitcode == codes[how]
        if how == "kill":
            assert "starts in a row have failed" in str(error)
    tries = start_retry.KILLED_TRIES if how == "kill" else 1
    most = start_retry.KILLED_TRIES if how == "kill" else start_retry.TRIES
    assert tries <= len(tasks.noted(log)) <= most + pool.max_workers


async def test_workers_that_are_killed_while_they_start_cost_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the out-of-memory killer: the starts before the eleventh are killed from outside."""
    monkeypatch.setattr(start_retry, "KILLED_SECONDS", 60.0)  # eleven starts may take more than ten on a busy machine
    log = str(tmp_path / "log")

    def initializer() -> None:
        tasks.note(log, os.getpid())
        if len(tasks.noted(log)) <= 10:
            os.kill(os.getpid(), signal.SIGKILL)

    async with ProcessPool(max_workers=4, initializer=initializer) as pool:
        async with TaskScope(processes=pool) as scope:
            handles = [scope.spawn(tasks.double, n, on="process") for n in range(100)]
        assert [handle.result() for handle in handles] == [2 * n for n in range(100)]


async def test_next_to_a_busy_worker_a_start_that_failed_is_tried_again_after_longer_and_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_retry, "PAUSE", 0.5)  # doubled with each try
    log, gate, starts = str(tmp_path / "log"), tmp_path / "gate", str(tmp_path / "starts")

    def initializer() -> None:
        tasks.note(starts, time.monotonic_ns())
        if len(tasks.noted(starts)) > 1:
            raise OSError("one was enough")

    async with ProcessPool(max_workers=2, initializer=initializer) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            first = scope.spawn(tasks.note_and_wait, log, 0, str(gate), on="process")
            assert await until_async(lambda: tasks.noted(log))
            waiting = [scope.spawn(tasks.double, n, on="process") for n in range(3)]
            assert await until_async(lambda: len(tasks.noted(starts)) >= 4)
            gate.touch()
        assert first.result() == 0
        assert [handle.result() for handle in waiting] == [0, 2, 4]
    _, second, third, fourth, *_ = (int(nanoseconds) / 1e9 for nanoseconds in tasks.noted(starts))
    assert third - second >= 0.5
    assert fourth - third >= 1.0


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false", "/bin/true", "", "/etc/passwd"])
async def test_an_interpreter_that_does_not_run_is_a_clear_error(
    executable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ProcessPool(max_workers=2) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", executable)
            async with TaskScope(policy=Collect(), processes=pool) as scope:
                handles = [scope.spawn(tasks.double, n, on="process") for n in range(5)]
        for handle in handles:
            assert isinstance(handle.exception(), WorkerStartError), handle.exception()
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(tasks.double, 21, on="process") == 42


async def test_an_interpreter_that_dies_before_it_is_told_anything_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start_and_wait(environment: dict[str, str]) -> start_worker.Child:
        child = start_worker.start_process(environment)
        assert child.pidfd is not None
        assert until(lambda: select.select([child.pidfd], [], [], 0)[0])
        return child

    monkeypatch.setattr(templates, "start_process", start_and_wait)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with ProcessPool(max_workers=2) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(tasks.double, 1, on="process")
        await handle.wait()
    error = handle.exception()
    assert isinstance(error, WorkerStartError)
    assert error.exitcode == 1


@pytest.mark.parametrize("what", ["sys.exit", "interrupt"])
async def test_an_initializer_that_ends_the_program_is_a_start_error(what: str) -> None:
    async with ProcessPool(max_workers=1, initializer=tasks.spring, initargs=(what,)) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            handle = scope.spawn(tasks.double, 1, on="process")
        error = handle.exception()
        assert isinstance(error, WorkerStartError)
        assert ("SystemExit" if what == "sys.exit" else "KeyboardInterrupt") in str(error)


async def test_an_error_of_an_initializer_that_is_too_long_for_a_message_still_arrives() -> None:
    async with ProcessPool(max_workers=1, initializer=tasks.fail_to_start, initargs=("long " * 50_000,)) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            handle = scope.spawn(tasks.double, 1, on="process")
        assert isinstance(handle.exception(), WorkerStartError)
        assert "ValueError" in str(handle.exception())


async def test_an_initializer_runs_once_in_each_worker_with_its_arguments_before_the_first_task() -> None:
    async with ProcessPool(max_workers=1, initializer=tasks.set_mark, initargs=("a", 2, [3])) as pool:
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(tasks.get_mark, on="process") == ("a", 2, [3])


async def test_large_arguments_of_an_initializer_arrive() -> None:
    async with ProcessPool(max_workers=1, initializer=tasks.set_mark, initargs=(b"x" * 5_000_000,)) as pool:
        async with TaskScope(processes=pool) as scope:
            mark = await scope.spawn(tasks.get_mark, on="process")
            assert mark == (b"x" * 5_000_000,)


async def test_an_initializer_runs_in_coroutine_workers_too() -> None:
    async def get() -> object:
        return tasks.get_mark()

    async with ProcessPool(max_workers=1, initializer=tasks.set_mark, initargs=("a",)) as pool:
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(get, on="process") == ("a",)


def test_an_initializer_that_cannot_travel_is_refused_when_the_pool_is_made() -> None:
    with pytest.raises(SerializationError):
        ProcessPool(initializer=tasks.set_mark, initargs=(sys._getframe(),))


async def test_cancelling_while_a_worker_starts_leaves_nothing(tmp_path: Path) -> None:
    async with ProcessPool(max_workers=2, grace=5) as pool:
        for _ in range(5):
            async with TaskScope(processes=pool) as scope:
                handles = [scope.spawn(tasks.double, n, on="process") for n in range(3)]
                assert await until_async(lambda: pool._registry.workers)
                scope.cancel()
            assert all(handle.cancelled() or handle.result() is not None for handle in handles)


async def test_an_initializer_that_never_ends_can_be_cancelled() -> None:
    async with ProcessPool(max_workers=1, initializer=tasks.hang, grace=0.2) as pool:
        async with TaskScope(processes=pool) as scope:
            handle = scope.spawn(tasks.double, 1, on="process")
            assert await until_async(lambda: pool._registry.workers)
            scope.cancel()
        assert handle.cancelled()


async def test_environment_variables_of_a_pool_are_set_in_its_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIFIED_EXEC_OTHER", "inherited")
    async with ProcessPool(max_workers=1, env={"UNIFIED_EXEC_FAULT": "here"}) as pool:
        async with TaskScope(processes=pool) as scope:
            assert await scope.spawn(tasks.environment, "UNIFIED_EXEC_FAULT", on="process") == "here"
            assert await scope.spawn(tasks.environment, "UNIFIED_EXEC_OTHER", on="process") == "inherited"
        async with TaskScope() as scope:
            assert await scope.spawn(tasks.environment, "UNIFIED_EXEC_FAULT", on="process") is None
    assert "UNIFIED_EXEC_FAULT" not in os.environ
    shutdown_default_pools()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_workers": 0},
        {"max_tasks_per_worker": 0},
        {"max_worker_memory": 0},
        {"idle_timeout": 0},
        {"grace": -1},
    ],
)
def test_numbers_out_of_range_are_refused_when_the_pool_is_made(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProcessPool(**wrong)  # type: ignore[arg-type]
