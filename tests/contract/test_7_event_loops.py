"""Law 1.7 and 1.8: pools shared by event loops, one after another, beside and inside each other."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.faults import programs, tasks
from unified_exec import ProcessPool, TaskScope, WorkerStartError, call, shutdown_default_pools

pytestmark = pytest.mark.every_loop

LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
if not programs.UVLOOP:
    del LOOPS["uvloop"]


async def where() -> int:
    return await call(tasks.pid, on="process")


@pytest.mark.parametrize("second", LOOPS)
@pytest.mark.parametrize("first", LOOPS)
def test_workers_stay_warm_from_one_run_to_the_next(first: str, second: str) -> None:
    pid = anyio.run(where, **LOOPS[first])
    assert anyio.run(where, **LOOPS[second]) == pid
    assert anyio.run(where, **LOOPS[first]) == pid


def test_coroutine_workers_stay_warm_from_one_run_to_the_next() -> None:
    async def pid() -> int:
        return os.getpid()

    async def where() -> int:
        return await call(pid, on="process")

    first = anyio.run(where, backend="asyncio")
    assert anyio.run(where, backend="trio") == first


@pytest.mark.parametrize("loop", LOOPS)
def test_two_event_loops_in_two_threads_share_a_pool_and_one_that_is_blocked_does_not_stop_the_other(
    loop: str,
) -> None:
    blocked, go_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    async def take_the_worker_and_block(pool: ProcessPool) -> None:
        async with TaskScope(processes=pool) as scope:
            handles = [scope.spawn(tasks.double, n, on="process") for n in range(50)]
            await handles[0]
            blocked.set()
            assert go_on.wait(30)
            assert [await handle for handle in handles] == [2 * n for n in range(50)]

    def other() -> None:
        try:
            anyio.run(take_the_worker_and_block, pool, **LOOPS[loop])
        except BaseException as error:
            failures.append(error)
        finally:
            blocked.set()

    async def main() -> None:
        async with TaskScope(processes=pool) as scope:
            handles = [scope.spawn(tasks.double, n, on="process") for n in range(50)]
            assert [await handle for handle in handles] == [2 * n for n in range(50)]

    with ProcessPool(max_workers=1) as pool:
        thread = threading.Thread(target=other)
        thread.start()
        assert blocked.wait(30)
        try:
            anyio.run(main, **LOOPS[loop])
        finally:
            go_on.set()
            thread.join()
        anyio.run(main, **LOOPS[loop])
    assert not failures


def test_two_event_loops_at_work_at_once_get_only_their_own_results() -> None:
    failures: list[BaseException] = []

    async def work(start: int) -> None:
        async with TaskScope(processes=pool) as scope:
            for round in range(20):
                numbers = range(start + round * 20, start + round * 20 + 20)
                handles = [scope.spawn(tasks.double, n, on="process") for n in numbers]
                assert [await handle for handle in handles] == [2 * n for n in numbers]

    def run(name: str, start: int) -> None:
        try:
            anyio.run(work, start, **LOOPS[name])
        except BaseException as error:
            failures.append(error)

    with ProcessPool(max_workers=2) as pool:
        threads = [threading.Thread(target=run, args=(name, n * 10_000)) for n, name in enumerate(LOOPS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


@pytest.mark.parametrize("inner", LOOPS)
async def test_an_event_loop_runs_inside_a_worker(inner: str) -> None:
    async def within(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        return n + 1

    def run() -> int:
        return anyio.run(within, 1, **LOOPS[inner])

    async with TaskScope() as scope:
        assert await scope.spawn(run, on="process") == 2
        assert await scope.spawn(run, on="process") == 2


@pytest.mark.one_loop
async def test_a_scope_inside_a_task_inside_a_worker_has_workers_of_its_own() -> None:
    def nested(depth: int) -> list[int]:
        async def main() -> list[int]:
            async with TaskScope() as scope:
                if depth:
                    return [os.getpid(), *await scope.spawn(nested, depth - 1, on="process")]
                return [os.getpid(), await scope.spawn(tasks.pid, on="process")]

        pids = anyio.run(main)
        shutdown_default_pools()
        return pids

    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(nested, 2, on="process")
        pids = await handle
        assert len(set(pids)) == 4
        assert pids[0] == handle.worker


@pytest.mark.one_loop
@pytest.mark.fresh_pool
async def test_a_scope_inside_a_coroutine_inside_a_worker_works() -> None:
    async def nested() -> list[int]:
        async with TaskScope() as scope:
            handles = [scope.spawn(tasks.double, n, on="process") for n in range(5)]
            values = [await handle for handle in handles]
        return values

    async with TaskScope() as scope:
        handles = [scope.spawn(nested, on="process") for _ in range(3)]
        assert [await handle for handle in handles] == [[0, 2, 4, 6, 8]] * 3


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_ended_without_waiting_costs_its_own_tasks_only(loop: str, tmp_path: Path) -> None:
    text = f"""
        import anyio, gc, os, sys
        from unified_exec import ProcessPool, TaskScope, call
        import asyncio

        pool = ProcessPool(max_workers=1)

        def hang():
            while True:
                pass

        async def leave():
            scope = TaskScope(processes=pool)
            await scope.__aenter__()
            scope.spawn(hang, on="process")
            global kept
            kept = scope

        loop = asyncio.new_event_loop()
        loop.run_until_complete(leave())
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False
        loop.close()

        async def main():
            async with TaskScope(processes=pool) as scope:
                print(await scope.spawn(lambda: 42, on="process"), flush=True)

        anyio.run(main, **{LOOPS[loop]!r})
        pool.close()
        os._exit(0)
    """
    ended = programs.run_script(tmp_path, text)
    assert (ended.code, ended.lines, ended.left) == (0, ["42"], []), ended


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """Like the Proactor of Windows: it cannot watch descriptors."""

    def add_reader(self, *args: object) -> None:  # type: ignore[override]
        raise NotImplementedError

    def remove_reader(self, *args: object) -> bool:  # type: ignore[override]
        raise NotImplementedError


def test_a_loop_without_readers_gets_a_clear_error_for_process_tasks_and_runs_all_others() -> None:
    async def main() -> int:
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
            with pytest.raises(WorkerStartError, match="LoopWithoutReaders cannot watch file descriptors"):
                scope.spawn(abs, -1, on="process")
            return await scope.spawn(abs, -2, on="thread")

    with asyncio.Runner(loop_factory=LoopWithoutReaders) as runner:
        assert runner.run(main()) == 2
