"""Law 1.1: pools end when they are told to, with nothing left, and then say so."""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.faults import tasks
from tests.profiles import examples
from tests.waiting import until, until_async
from unified_exec import Collect, PoolClosed, ProcessPool, TaskHandle, TaskScope, call, shutdown_default_pools
from unified_exec._pools.process.worker import Worker
from unified_exec._worker.settings import CALLS, WorkerKind


async def test_a_pool_ends_its_workers_at_the_end_of_its_block() -> None:
    async with ProcessPool(max_workers=2) as pool, TaskScope(processes=pool) as scope:
        pid = await scope.spawn(tasks.pid, on="process")
        assert tasks.exists(pid)
    assert not tasks.exists(pid)


async def test_a_pool_in_a_plain_block_ends_its_workers_too() -> None:
    with ProcessPool(max_workers=2) as pool:
        async with TaskScope(processes=pool) as scope:
            pid = await scope.spawn(tasks.pid, on="process")
    assert not tasks.exists(pid)


async def test_a_closed_pool_takes_no_work_and_says_what_to_do() -> None:
    pool = ProcessPool(max_workers=1, name="mine")
    async with TaskScope(processes=pool) as scope:
        assert await scope.spawn(tasks.double, 1, on="process") == 2
        pool.close()
        with pytest.raises(PoolClosed, match=r"mine.*closed"):
            scope.spawn(tasks.double, 1, on="process")
    with pytest.raises(PoolClosed):
        await call(tasks.double, 1, on=pool)
    pool.close()
    await pool.aclose()


async def test_closing_a_pool_that_is_busy_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    async with ProcessPool(max_workers=1) as pool:
        async with TaskScope(processes=pool) as scope:
            handle = scope.spawn(tasks.note_and_wait, log, 1, str(gate), on="process")
            assert await until_async(lambda: tasks.noted(log))
            with pytest.raises(RuntimeError, match="still runs tasks"):
                pool.close()
            assert not pool.closed
            gate.touch()
            assert await handle == 1
            assert await scope.spawn(tasks.double, 1, on="process") == 2


async def test_aclose_waits_for_the_tasks_that_are_there(tmp_path: Path) -> None:
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    pool = ProcessPool(max_workers=1)
    async with TaskScope(processes=pool) as scope:
        handles = [scope.spawn(tasks.note_and_wait, log, n, str(gate), on="process") for n in range(3)]
        scope.start_soon(pool.aclose)
        assert await until_async(lambda: pool.closed and tasks.noted(log))
        gate.touch()
        assert [await handle for handle in handles] == [0, 1, 2]


async def test_cancelling_aclose_ends_the_workers_at_once(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def wait() -> None:
        tasks.note(log, "here")
        tasks.hang()

    pool = ProcessPool(max_workers=1, grace=0.1)
    with pytest.raises(BaseExceptionGroup):
        async with TaskScope(processes=pool) as scope:
            scope.spawn(wait, on="process")
            assert await until_async(lambda: tasks.noted(log))
            with anyio.move_on_after(0.01):
                await pool.aclose()
            assert pool.closed
            raise ValueError("enough")


def test_the_default_pools_come_back_after_a_shutdown() -> None:
    async def where() -> int:
        return await call(tasks.pid, on="process")

    first = anyio.run(where)
    shutdown_default_pools()
    assert not tasks.exists(first)
    second = anyio.run(where)
    assert second != first
    shutdown_default_pools()
    shutdown_default_pools()


async def test_the_default_pools_are_not_shut_down_under_a_running_task(tmp_path: Path) -> None:
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    async with TaskScope() as scope:
        handle = scope.spawn(tasks.note_and_wait, log, 1, str(gate), on="process")
        assert await until_async(lambda: tasks.noted(log))
        with pytest.raises(RuntimeError):
            shutdown_default_pools()
        gate.touch()
        assert await handle == 1


def test_a_pool_can_be_closed_while_the_loop_it_served_is_idle_in_another_thread() -> None:
    ready, over = threading.Event(), threading.Event()

    async def main() -> None:
        async with TaskScope(processes=pool) as scope:
            await scope.spawn(tasks.pid, on="process")
        ready.set()
        await until_async(over.is_set, 60)

    pool = ProcessPool(max_workers=1)
    thread = threading.Thread(target=anyio.run, args=(main,))
    thread.start()
    assert ready.wait(30)
    workers = list(pool._registry.workers)
    pool.close()
    assert until(lambda: all(not tasks.exists(worker.pid) for worker in workers))
    over.set()
    thread.join()


def close_as_soon_as_it_may(pool: ProcessPool) -> None:
    while True:
        try:
            pool.close()
        except RuntimeError:
            continue
        return


def spawn_until_closed(pool: ProcessPool, handles: list[TaskHandle[int]]) -> None:
    async def main() -> None:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            with pytest.raises(PoolClosed):
                while True:
                    handles.append(scope.spawn(tasks.double, len(handles), on="process"))
                    await handles[-1].wait()  # for an instant nothing is left: `close` refuses while there are tasks
                    if len(handles) == 3000:  # it never came at such an instant
                        await until_async(lambda: pool.closed, 60)

    anyio.run(main)


@pytest.mark.parametrize("how", ["close", "aclose"])
def test_closing_a_pool_under_the_tasks_of_another_loop_costs_none_of_them(how: str) -> None:
    """Also one that is on its way from the queue to a worker at that moment."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(examples(1, nightly=20)):
            pool, handles = ProcessPool(2), list[TaskHandle[int]]()
            thread = threading.Thread(target=spawn_until_closed, args=(pool, handles))
            thread.start()
            try:
                assert until(partial(handles.__getitem__, slice(100, None)), 30)
                if how == "close":
                    close_as_soon_as_it_may(pool)
            finally:  # also if that fails: the thread would go on spawning
                anyio.run(pool.aclose)
                thread.join()
            assert [handle.result() for handle in handles] == [2 * n for n in range(len(handles))]
    finally:
        sys.setswitchinterval(before)


def close_beside(
    main: Callable[[], Awaitable[None]], begun: threading.Event, pool: ProcessPool, values: list[int]
) -> list[threading.Thread]:
    """Run `main` in one thread and, once it has begun, close the pool in another: refused, which adds 3 to `values`."""

    def close() -> None:
        with pytest.raises(RuntimeError, match="still runs tasks"):
            pool.close()
        values.append(3)

    threads = [threading.Thread(target=anyio.run, args=(main,)), threading.Thread(target=close)]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    return threads


def test_a_task_on_its_way_to_a_worker_keeps_its_pool_from_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    sending, go = threading.Event(), threading.Event()
    send = Worker.send
    values: list[int] = []

    def pause(worker: Worker, *args: Any) -> bool:
        sending.set()
        assert go.wait(30)
        return send(worker, *args)

    async def main() -> None:
        async with TaskScope(processes=pool) as scope:
            values.append(await scope.spawn(tasks.double, 1, on="process"))
            monkeypatch.setattr(Worker, "send", pause)
            values.append(await scope.spawn(tasks.double, 2, on="process"))

    pool = ProcessPool(1, grace=60)
    threads = close_beside(main, sending, pool, values)
    assert until(lambda: pool._admission.guarded)
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(values) == [2, 3, 4]
    pool.close()


def test_work_that_comes_while_the_pool_asks_other_loops_keeps_it_open() -> None:
    blocked, go = threading.Event(), threading.Event()
    values: list[int] = []

    async def block() -> None:
        async with TaskScope(processes=pool) as scope:
            values.append(await scope.spawn(tasks.double, 1, on="process"))
            blocked.set()
            assert go.wait(30)  # this loop does not answer

    async def spawn() -> None:
        async with TaskScope(processes=pool) as scope:
            assert await until_async(lambda: pool._admission.guarded)
            values.append(await scope.spawn(tasks.double, 2, on="process"))

    pool = ProcessPool(2, grace=60)
    threads = close_beside(block, blocked, pool, values)
    anyio.run(spawn)
    threads[1].join()
    go.set()
    threads[0].join()
    assert sorted(values) == [2, 3, 4]
    assert not pool.closed
    pool.close()
    assert pool.closed


def test_a_worker_left_to_a_loop_that_ends_at_that_moment_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    ready, over = threading.Event(), threading.Event()

    async def main() -> None:
        async with TaskScope(processes=pool) as scope:
            await scope.spawn(tasks.pid, on="process")
        ready.set()
        over.wait(60)

    pool = ProcessPool(max_workers=1, grace=1.0)
    thread = threading.Thread(target=anyio.run, args=(main,))
    thread.start()
    assert ready.wait(30)
    ((adapter, lane),) = pool._registry.lanes.items()
    (worker,) = lane.groups[0].workers
    monkeypatch.setattr(adapter, "call_threadsafe", lambda *call: True)  # the loop takes it and never comes to it
    pool.close()
    over.set()
    thread.join()
    shutdown_default_pools()
    assert not tasks.exists(worker.pid)


def test_a_pool_that_is_dropped_without_a_close_ends_its_workers() -> None:
    def use() -> int:
        pool = ProcessPool(max_workers=1)

        async def where() -> int:
            return await call(tasks.pid, on=pool)

        return anyio.run(where)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pid = use()
        gc.collect()
        # A closed loop is forgotten when the next one comes.
        anyio.run(anyio.sleep, 0)
        gc.collect()
    assert until(lambda: not tasks.exists(pid))
    for warning in caught:
        assert warning.category is ResourceWarning
        assert "ProcessPool" in str(warning.message)


async def test_a_worker_that_is_offered_to_a_pool_that_has_ended_is_reaped() -> None:
    async with ProcessPool(max_workers=1) as pool:
        async with TaskScope(processes=pool) as scope:
            pid = await scope.spawn(tasks.pid, on="process")
        (lane,) = pool._registry.lanes.values()
        (worker,) = lane.groups[0].workers
        pool._registry.closed = True  # as when another thread ends it just before
        pool._registry.give_back(lane.groups[0], worker)
        assert not tasks.exists(pid)
        pool._registry.closed = False


async def test_a_spare_that_comes_up_after_the_end_of_its_pool_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ProcessPool(max_workers=1)
    registry = pool._registry
    started = []

    def end_meanwhile(kind: WorkerKind, why: str) -> Worker:
        worker = registry.spec.start(kind, registry.templates)
        started.append(worker.pid)
        pool.close()
        pool._registry.workers.add(worker)
        return worker

    monkeypatch.setattr(registry, "_start", end_meanwhile)
    registry.start_spare(CALLS)
    assert len(started) == 1
    assert not tasks.exists(started[0])
