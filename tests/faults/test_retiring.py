"""Law 1.6: workers that come to their end in order: after so many tasks, so much memory, so long without work."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.faults import tasks
from tests.profiles import examples
from tests.waiting import until, until_async
from unified_exec import ProcessPool, TaskScope

pytestmark = pytest.mark.one_loop


def gone(pid: int) -> bool:
    """Not even a zombie is left."""
    return not os.path.exists(f"/proc/{pid}")


async def test_a_worker_is_replaced_after_so_many_tasks(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1, max_tasks_per_worker=3) as pool, TaskScope(processes=pool) as scope:
        pids = [await scope.spawn(tasks.pid, on="process") for _ in range(9)]
        assert len(set(pids)) == 3
        assert pids == sorted(pids, key=pids.index)
        handles = [scope.spawn(tasks.note_and_return, log, n, on="process") for n in range(60)]
        assert [await handle for handle in handles] == list(range(60))
        assert sorted(map(int, tasks.noted(log))) == list(range(60))
        for pid in pids:
            assert await until_async(lambda pid=pid: gone(pid))


async def test_a_coroutine_worker_is_replaced_after_so_many_tasks() -> None:
    async def pid() -> int:
        return os.getpid()

    async with ProcessPool(max_workers=1, max_tasks_per_worker=2) as pool, TaskScope(processes=pool) as scope:
        pids = [await scope.spawn(pid, on="process") for _ in range(6)]
        assert len(set(pids)) == 3


async def test_a_worker_that_holds_too_much_memory_is_replaced() -> None:
    async with ProcessPool(max_workers=1, max_worker_memory=120 << 20) as pool, TaskScope(processes=pool) as scope:
        first = await scope.spawn(tasks.grow, 1, on="process")
        assert await scope.spawn(tasks.pid, on="process") == first
        assert await scope.spawn(tasks.grow, 200, on="process") == first
        assert await scope.spawn(tasks.pid, on="process") != first
        assert await until_async(lambda: gone(first))


async def test_an_idle_worker_ends_and_the_next_call_gets_another() -> None:
    after = []
    for _ in range(2):  # the first scope of a process opens its socket for viewers
        async with ProcessPool(max_workers=1, idle_timeout=0.05) as pool, TaskScope(processes=pool) as scope:
            fds = 0
            for _ in range(3):
                pid = await scope.spawn(tasks.pid, on="process")
                assert await until_async(lambda pid=pid: gone(pid))
                fds = fds or len(os.listdir("/proc/self/fd"))
                assert await until_async(lambda fds=fds: len(os.listdir("/proc/self/fd")) == fds)
            assert not pool._registry.workers
        after.append(len(os.listdir("/proc/self/fd")))
    assert after[1] <= after[0]


async def test_an_idle_coroutine_worker_ends_too() -> None:
    async def pid() -> int:
        return os.getpid()

    async with ProcessPool(max_workers=1, idle_timeout=0.05) as pool, TaskScope(processes=pool) as scope:
        first = await scope.spawn(pid, on="process")
        assert await until_async(lambda: gone(first))
        assert await scope.spawn(pid, on="process") != first


async def test_no_call_is_lost_when_it_meets_a_worker_at_its_idle_end(tmp_path: Path) -> None:
    log, rounds = str(tmp_path / "log"), examples(50, nightly=500)
    async with ProcessPool(max_workers=2, idle_timeout=0.003) as pool, TaskScope(processes=pool) as scope:
        for number in range(rounds):
            assert await scope.spawn(tasks.note_and_return, log, number, on="process") == number
            if number % 4 == 0:
                await until_async(lambda: False, 0.003 + (number % 7) / 2000)  # near the idle time, on either side
    assert list(map(int, tasks.noted(log))) == list(range(rounds))


async def test_a_large_answer_is_kept_although_its_worker_ended_with_an_unread_ask(tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"

    def deaf() -> bytes:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGURG])
        started.touch()
        while not go.exists():
            time.sleep(0.001)
        return bytes(1_000_000)

    def has_ended(pid: int) -> bool:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    async with ProcessPool(max_workers=1, max_tasks_per_worker=1, grace=60) as pool:
        async with TaskScope(processes=pool) as scope:
            handle = scope.spawn(deaf, on="process")
            assert await until_async(started.exists)
            handle.cancel()
            go.touch()
            assert handle.worker is not None
            pid = handle.worker
            assert until(lambda: has_ended(pid))  # the loop has read nothing meanwhile
            assert len(await handle) == 1_000_000


async def test_a_thread_that_outlives_its_task_does_not_keep_a_worker_that_retires() -> None:
    def start_thread() -> int:
        threading.Thread(target=threading.Event().wait).start()
        return os.getpid()

    async with ProcessPool(max_workers=1, max_tasks_per_worker=1, grace=60) as pool:
        async with TaskScope(processes=pool) as scope:
            pids = [await scope.spawn(start_thread, on="process") for _ in range(3)]
            assert len(set(pids)) == 3
            for pid in pids:
                assert await until_async(lambda pid=pid: gone(pid))


async def test_what_a_task_registered_with_atexit_runs_when_its_worker_retires(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def register() -> None:
        import atexit

        atexit.register(tasks.note, log, "ended")

    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        await scope.spawn(register, on="process")
    assert tasks.noted(log) == ["ended"]


@pytest.mark.parametrize("how", ["hang", "sys.exit"])
async def test_an_atexit_function_cannot_keep_a_worker(how: str) -> None:
    def register() -> int:
        import atexit

        atexit.register(*((tasks.hang,) if how == "hang" else (tasks.spring, how)))
        return os.getpid()

    async with ProcessPool(max_workers=1, max_tasks_per_worker=1, grace=60) as pool:
        async with TaskScope(processes=pool) as scope:
            first = await scope.spawn(register, on="process")
            assert await scope.spawn(tasks.pid, on="process") != first
            assert await until_async(lambda: gone(first))
