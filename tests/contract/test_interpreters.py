"""`InterpreterPool`: what it promises besides the contract of every backend, and what it says where it cannot."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests import leaks
from tests.contract.conftest import Folder
from tests.programs import interpreter_tasks as tasks
from tests.this_python import needs_interpreters
from tests.waiting import until, until_async
from unified_exec import Channel, Collect, InterpreterPool, SharedValue, TaskScope, TaskTimeout, WorkerStartError
from unified_exec._platform import handed_over, shm_cache
from unified_exec._pools.interpreter import carrier
from unified_exec._wire.pickling.codec import OOB_MIN
from unified_exec.executor import InterpreterExecutor

pytestmark = pytest.mark.one_loop


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python has interpreters")
async def test_before_3_14_the_pool_and_on_interpreter_name_the_version_they_need() -> None:
    with pytest.raises(WorkerStartError, match=r"needs CPython 3\.14 or later"):
        InterpreterPool()
    with pytest.raises(WorkerStartError, match=r"needs CPython 3\.14 or later"):
        InterpreterExecutor()
    async with TaskScope() as scope:
        with pytest.raises(WorkerStartError, match=r"needs CPython 3\.14 or later"):
            scope.spawn(abs, -1, on="interpreter")


@pytest.fixture
async def pool() -> Any:
    async with InterpreterPool(2, name="test") as pool:
        yield pool


@needs_interpreters
async def test_a_task_knows_where_it_runs_and_shares_only_the_process(pool: InterpreterPool) -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(tasks.where, on=pool)
        backend, pid = await handle
    assert (handle.backend, backend, pid, tasks.settings) == ("interpreter", "interpreter", os.getpid(), [])


@needs_interpreters
async def test_cpu_auto_and_map_do_not_choose_interpreters() -> None:
    async with TaskScope() as scope:
        assert await scope.spawn(tasks.pid, on="cpu") != os.getpid()
        auto = scope.spawn(tasks.pid, on="auto")
        await auto
        assert auto.backend != "interpreter"
        assert [n async for n in scope.map(abs, [-1], on="cpu")] == [1]


@needs_interpreters
async def test_an_extension_that_refuses_to_load_is_the_import_error_of_the_task(pool: InterpreterPool) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(importlib.import_module, "readline", on=pool)
        await handle.wait()
        assert await scope.spawn(tasks.pid, on=pool) == os.getpid()
    error = handle.exception()
    assert isinstance(error, ImportError)
    assert "on='process'" in "".join(error.__notes__)


@needs_interpreters
async def test_what_ends_a_process_fails_the_task_alone(pool: InterpreterPool) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handles = [scope.spawn(fn, on=pool) for fn in (sys.exit, tasks.recurse, tasks.exhaust)]
        for handle in handles:
            await handle.wait()
        assert await scope.spawn(tasks.pid, on=pool) == os.getpid()
    assert [type(handle.exception()).__name__ for handle in handles] == ["RemoteError", "RecursionError", "MemoryError"]


@needs_interpreters
@pytest.mark.parametrize("fn", [tasks.spin, tasks.spin_in_functions, tasks.spin_in_a_loop])
async def test_a_cancelled_task_is_interrupted_and_its_finally_runs(
    pool: InterpreterPool, tmp_path: Path, fn: Any
) -> None:
    folder = Folder(tmp_path)
    async with TaskScope() as scope:
        handle = scope.spawn(fn, tmp_path, "it", on=pool)
        await folder.started("it")
        handle.cancel()
    assert handle.cancelled()
    assert folder.ended("it")


@needs_interpreters
async def test_every_finally_and_exit_that_was_entered_runs_when_the_interrupt_lands_anywhere(
    pool: InterpreterPool,
) -> None:
    counts: list[Any] = []
    async with TaskScope(policy=Collect()) as scope:
        for n in range(40):
            counts.append(scope.spawn(tasks.enter_and_leave, n % 2 == 0, on=pool))
            while counts[-1].worker is None:
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(n * 0.0005)
            counts[-1].cancel()
            await counts[-1].wait()
    assert {handle.exception().args for handle in counts if not handle.cancelled()} <= {(0, 0)}


@needs_interpreters
async def test_check_cancelled_and_a_deadline_stop_a_task_between_two_calls_into_c(
    pool: InterpreterPool, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(tasks.nap_and_look, tmp_path, "it", on=pool, timeout=3)
        await handle.wait()
    assert isinstance(handle.exception(), TaskTimeout)
    assert folder.ended("it")


@needs_interpreters
async def test_the_block_waits_for_a_call_into_c_that_cannot_be_stopped(pool: InterpreterPool) -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(time.sleep, 0.3, on=pool)
        assert await until_async(lambda: handle.worker is not None)
        began = time.monotonic()
        await scope.spawn(tasks.pid, on=pool)
        handle.cancel()
    assert handle.timing.finished - handle.timing.started >= 0.29
    assert began


@needs_interpreters
async def test_a_task_gives_to_and_asks_of_its_scope(pool: InterpreterPool) -> None:
    async with TaskScope() as scope:
        assert await scope.spawn(tasks.ask_for_the_sum, [1, 2, 3], on=pool) == 6
        assert await scope.spawn(tasks.ask_in_a_thread, [1, 2, 3], on=pool) == 6


@needs_interpreters
async def test_large_data_goes_and_comes(pool: InterpreterPool) -> None:
    data = bytes(range(256)) * 40_000
    async with TaskScope() as scope:
        assert await scope.spawn(bytes.swapcase, data, on=pool) == data.swapcase()


@needs_interpreters
async def test_a_large_read_only_view_is_not_copied() -> None:
    memory = bytearray(OOB_MIN)
    async with InterpreterPool(1) as pool, TaskScope() as scope:
        await scope.spawn(tasks.keep, memoryview(memory).toreadonly(), on=pool)
        memory[0] = 7
        assert await scope.spawn(tasks.let_go, on=pool) == 7
        assert await until_async(lambda: _can_be_resized(memory))
        view = await scope.spawn(tasks.keep_out_of_reach, memoryview(memory), on=pool)
        assert (view[0], memory[0]) == (8, 7)  # one that could be written to arrives as a copy


@needs_interpreters
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_large_views_come_back_in_the_memory_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shm_cache, "KEEP", 60.0)  # a loaded machine may take longer than usual from one to the next
    used: set[int] = set()
    async with InterpreterPool(1) as pool, TaskScope() as scope:
        for turn in range(4):
            sent = memoryview(bytes([turn]) * shm_cache.SIZE_MIN)
            back = await scope.spawn(memoryview, sent, on=pool)
            assert back == sent
            blocks = [os.stat(fd) for fd, target in leaks.descriptors() if "memfd:unified_exec" in target]
            used.update([block.st_ino for block in blocks if block.st_size >= shm_cache.SIZE_MIN])
            del back
    assert len(used) == 1


@needs_interpreters
async def test_many_read_only_views_are_all_let_go() -> None:
    """CPython forgets to let them go if there are more than 300 at once."""
    memory = bytearray(500 * OOB_MIN)
    async with InterpreterPool(1) as pool, TaskScope() as scope:
        for count in (80, 420, 80):
            with memoryview(memory).toreadonly() as view:
                views = [view[n * OOB_MIN : (n + 1) * OOB_MIN] for n in range(count)]
                assert await scope.spawn(len, views, on=pool) == count
                del views
                assert await until_async(lambda: not handed_over._out)
        assert await until_async(lambda: _can_be_resized(memory))


@needs_interpreters
async def test_a_view_of_a_task_that_never_starts_is_let_go(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    memory = bytearray(OOB_MIN)
    async with InterpreterPool(1) as pool, TaskScope() as scope:
        pool._registry.spec = pool._registry.spec._replace(prefetch_budget=600.0)
        assert await scope.spawn(len, bytes(OOB_MIN), on=pool) == OOB_MIN  # measured: it is sent ahead from now on
        running = scope.spawn(tasks.spin, tmp_path, "it", on=pool)
        await folder.started("it")
        waiting = scope.spawn(len, memoryview(memory).toreadonly(), on=pool)
        assert await until_async(lambda: waiting.worker is not None)
        assert not _can_be_resized(memory)
        waiting.cancel()
        assert waiting.cancelled()
        assert await until_async(lambda: _can_be_resized(memory))
        running.cancel()


def _can_be_resized(memory: bytearray) -> bool:
    try:
        memory.append(0)
    except BufferError:  # something can see it
        return False
    return True


@needs_interpreters
async def test_the_environment_and_the_folder_of_the_process_are_left_alone(
    pool: InterpreterPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with TaskScope() as scope:
        await scope.spawn(tasks.pid, on=pool)
        monkeypatch.setenv("UNIFIED_EXEC_SEEN", "1")
        monkeypatch.chdir(tmp_path)
        assert await scope.spawn(tasks.variable, "UNIFIED_EXEC_SEEN", on=pool) == "1"
    assert Path.cwd() == tmp_path
    monkeypatch.delenv("UNIFIED_EXEC_SEEN")
    seen = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True)
    assert "UNIFIED_EXEC_SEEN" not in seen.stdout


@needs_interpreters
async def test_an_initializer_runs_in_each_worker_and_its_failure_fails_the_tasks() -> None:
    async with InterpreterPool(1, initializer=tasks.mark, initargs=("blue",)) as pool, TaskScope() as scope:
        assert await scope.spawn(tasks.marked, on=pool) == "blue"
    async with InterpreterPool(1, initializer=divmod, initargs=(1, 0)) as pool:
        async with TaskScope(policy=Collect()) as scope:
            handle = scope.spawn(tasks.pid, on=pool)
    error = handle.exception()
    assert isinstance(error, WorkerStartError)
    assert "ZeroDivisionError" in str(error)


@needs_interpreters
async def test_threads_that_a_task_leaves_behind_are_waited_for_when_the_pool_is_closed(tmp_path: Path) -> None:
    async with InterpreterPool(1) as pool, TaskScope() as scope:
        await scope.spawn(tasks.leave_a_thread, tmp_path, "it", on=pool)
    assert Folder(tmp_path).ended("it")


@needs_interpreters
async def test_a_task_that_comes_after_its_worker_was_let_go_runs_in_another() -> None:
    async with InterpreterPool(1) as pool, TaskScope() as scope:
        before = set(carrier.alive)
        first = scope.spawn(tasks.pid, on=pool)
        await first
        for child in carrier.alive - before:
            child.kill()  # as the end of the program does it, in another thread than the event loop's
        second = scope.spawn(tasks.pid, on=pool)
        assert await second == os.getpid()


@needs_interpreters
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
async def test_idle_workers_end_before_a_fork_and_the_child_lives() -> None:
    async with InterpreterPool(2) as pool:
        async with TaskScope() as scope:
            await scope.spawn(tasks.pid, on=pool)
        child = os.fork()
        if not child:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        async with TaskScope() as scope:
            assert await scope.spawn(tasks.pid, on=pool) == os.getpid()


@needs_interpreters
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_closed_workers_leave_nothing_open() -> None:
    """A thread that is left in an interpreter keeps the sockets of its worker, and 2 MB."""

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def use() -> None:
        async with InterpreterPool(2) as pool, TaskScope() as scope:
            for _ in range(4):
                scope.spawn(tasks.pid, on=pool)

    await use()
    before = descriptors()
    for _ in range(4):
        await use()
    assert await until_async(lambda: descriptors() <= before)


@needs_interpreters
@pytest.mark.skipif(sys.version_info >= (3, 15), reason="from 3.15 on tracemalloc does no harm")
def test_tracemalloc_is_refused_where_it_crashes() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(WorkerStartError, match="tracemalloc"):
            InterpreterPool()
    finally:
        tracemalloc.stop()


@needs_interpreters
async def test_interpreters_that_use_what_is_shared_for_the_first_time_at_once_have_seats_of_their_own() -> None:
    """A record lock belongs to the process: two of its interpreters took the same seat."""
    async with InterpreterPool(4) as pool, TaskScope() as scope:
        for _ in range(100):
            channel, total = Channel[int](4), SharedValue(0)
            handles = [scope.spawn(tasks.send_and_add, channel, total, item, on=pool) for item in range(4)]
            assert sorted([await channel.receive() for _ in range(4)]) == [0, 1, 2, 3]
            for handle in handles:
                await handle
            assert total.get() == 6


@needs_interpreters
def test_the_executor_calls_maps_and_stops_a_running_call(tmp_path: Path) -> None:
    with InterpreterExecutor(2) as executor:
        assert executor.submit(divmod, 7, 2).result(30) == (3, 1)
        assert list(executor.map(abs, [-1, -2, -3], timeout=30)) == [1, 2, 3]
        running = executor.submit(tasks.spin, tmp_path, "it")
        assert until(lambda: (tmp_path / "it.started").exists())
        assert running.cancel()
    assert (tmp_path / "it.ended").exists()


STATES = {"idle": 0, "starting": 0, "python": 0, "threads": 0, "sleeping": 0, "writing": 0, "error": 1, "counting": 70}
if sys.version_info >= (3, 15):
    STATES["threads"] = 70


@needs_interpreters
@pytest.mark.parametrize("state", STATES)
def test_a_program_ends_without_a_crash_whatever_its_interpreters_do(state: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.programs.interpreter_end", state], capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == STATES[state], ended.stderr
    assert not ended.stdout
    expected = {"error": "ValueError: the program's own", "counting": "a call into C keeps an interpreter busy"}
    if STATES[state] == 70:
        expected[state] = expected["counting"]
    assert expected.get(state, "") in ended.stderr
    assert state in expected or not ended.stderr
