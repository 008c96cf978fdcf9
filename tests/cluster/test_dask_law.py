"""The law, clause by clause, where a task runs on another node."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests import installed
from tests.cluster.conftest import OpenPool
from tests.cluster.processes import in_main
from tests.cluster.tasks import a_nap, count_to, fail_once, meet, spin, telling
from tests.waiting import until_async
from unified_exec import (
    Collect,
    Limit,
    Pipeline,
    Race,
    Retry,
    SyncTaskScope,
    TaskScope,
    TaskTimeout,
    WorkerCrashed,
    WorkerStartError,
    call,
    share,
    time_left,
)
from unified_exec.cluster import WorkerRef
from unified_exec.cluster.node import Node
from unified_exec.cluster.pool import ClusterPool
from unified_exec.executor import ProcessExecutor

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")


def begun(folder: Path, *names: str) -> Any:
    return until_async(lambda: all((folder / f"{name}.begun").exists() for name in names), 60)


@pytest.mark.asyncio
async def test_every_verb_works_as_on_the_local_pool(pool: ClusterPool, tmp_path: Path) -> None:
    untyped: Any = TaskScope(processes=pool)
    async with untyped as scope:
        assert await scope.spawn(pow, 2, 10, on="process") == 1024
        assert await scope.gather(scope.spawn(abs, -1, on=pool), scope.spawn(abs, -2, on=pool)) == [1, 2]
        assert [n async for n in scope.map(lambda n: n * n, range(500), on=pool)] == [n * n for n in range(500)]
        assert [n async for n in scope.map(a_nap, range(20), on=pool)] == list(range(20))
        assert [n async for n in scope.stream(count_to, 1000, on=pool)] == list(range(1000))
        assert await scope.spawn(fail_once, str(tmp_path), on=pool, retry=Retry(3)) == "second try"
        heard: list[Any] = []
        assert await scope.spawn(telling, 5, on=pool, progress=lambda progress: heard.append(progress.done)) == 5
        assert await until_async(lambda: 4 in heard)
        assert sum([n async for n in scope.map(abs, range(-20, 0), on=pool, limit=Limit(1))]) == 210
    untyped_call: Any = call
    assert await untyped_call(divmod, 7, 2, on=pool) == (3, 1)
    pipeline: Any = Pipeline(range(20)).map(abs, on=pool).map(a_nap, on="loop")
    async with pipeline as results:
        assert sorted([n async for n in results]) == list(range(20))
    async with TaskScope(policy=Race(1)) as scope:
        handles: Any = [scope.spawn(spin, str(tmp_path), "racer", on=pool), scope.spawn(int, on=pool)]
    assert handles[1].result() == 0
    assert handles[0].cancelled()


async def test_a_short_task_does_not_wait_behind_a_long_one_while_the_cluster_has_a_free_thread(
    open_pool: OpenPool, tmp_path: Path
) -> None:
    async with open_pool(grace=30) as pool, TaskScope(policy=Collect()) as scope:
        short: Any = scope.spawn(int, on=pool)  # it needs one seat, and from now on its time is known
        assert await short == 0
        long: Any = scope.spawn(spin, str(tmp_path), "long", on=pool)
        assert await begun(tmp_path, "long")
        with anyio.fail_after(60):
            another: Any = scope.spawn(int, on=pool)
            assert await another == 0
        long.cancel()


@pytest.mark.asyncio
async def test_a_task_that_is_taken_back_while_it_is_cancelled_never_runs(
    open_pool: OpenPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untyped: Any = TaskScope(policy=Collect())
    async with open_pool(grace=30) as pool, untyped as scope:
        assert await scope.spawn(int, on=pool) == 0  # its time is known from now on: it is sent ahead
        long: Any = scope.spawn(spin, str(tmp_path), "long", on=pool)
        assert await begun(tmp_path, "long")
        surplus = Node.surplus

        def surplus_and_cancel(node: Node) -> Any:
            ids = surplus(node)
            if long.id in node.tasks:  # they cannot begin there meanwhile
                asyncio.get_running_loop().call_soon(cancel, ids)  # when the request to give them back is on its way
            return ids

        def cancel(ids: list[int]) -> None:
            for handle in short:
                if handle.id in ids:
                    handle.cancel()
                    cancelled.append(handle)

        cancelled: list[Any] = []
        monkeypatch.setattr(Node, "surplus", surplus_and_cancel)
        short = [scope.spawn(int, on=pool) for _ in range(8)]
        with anyio.fail_after(60):
            for handle in short:
                await handle.wait()
        long.cancel()
    if not cancelled:
        pytest.skip("a free seat took all of them at once: nothing was taken back")
    assert all(handle.cancelled() for handle in cancelled)


def test_blocking_scopes_and_executors_use_it_too(open_pool: OpenPool) -> None:
    with open_pool() as pool:
        with SyncTaskScope(processes=pool) as scope:
            assert scope.spawn(pow, 2, 5, on="process").result() == 32
        with ProcessExecutor(pool=pool) as executor:
            assert list(executor.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]


async def test_a_cancelled_task_runs_its_finally_block_and_has_stopped(open_pool: OpenPool, tmp_path: Path) -> None:
    async with open_pool(grace=30) as pool, TaskScope() as scope:
        handle: Any = scope.spawn(spin, str(tmp_path), "task", on=pool)
        waiting: Any = [scope.spawn(spin, str(tmp_path), f"later-{n}", on=pool) for n in range(5)]
        assert await begun(tmp_path, "task")
        assert await until_async(lambda: handle.state.value == "running")
        for each in (handle, *waiting):
            each.cancel("enough")
        await handle.wait()
        assert (tmp_path / "task.ended").exists()
    assert all(each.cancelled() for each in (handle, *waiting))
    ran = {path.stem for path in tmp_path.glob("*.begun")}
    assert ran <= {path.stem for path in tmp_path.glob("*.ended")}  # one may be stopped before it says that it began


@pytest.mark.asyncio
async def test_a_call_that_does_not_react_is_killed_after_the_grace(open_pool: OpenPool) -> None:
    async with open_pool(grace=0.1) as pool, TaskScope(policy=Collect()) as scope:
        handle: Any = scope.spawn(pow, 7, 10**8, on=pool, timeout=0.5)
        await handle.wait()
        assert type(handle.exception()) is TaskTimeout
        assert await scope.spawn(int, on=pool) == 0


@pytest.mark.asyncio
async def test_deadlines_travel_as_the_time_that_is_left(pool: ClusterPool) -> None:
    async with TaskScope() as scope:
        left: Any = await scope.spawn(time_left, on=pool, timeout=30)
        assert 0 < left < 30
        assert await scope.spawn(time_left, on=pool) == math.inf


@pytest.mark.asyncio
async def test_errors_arrive_exactly_also_those_of_the_programs_main(pool: ClusterPool) -> None:
    main = in_main(
        "class Mine(Exception):\n"
        "    def __init__(self, text, *, code):\n"
        "        super().__init__(text)\n"
        "        self.code = code\n"
        "def fail():\n"
        "    try:\n"
        "        1 / 0\n"
        "    except ZeroDivisionError as cause:\n"
        "        error = Mine('text', code=3)\n"
        "        error.add_note('a note')\n"
        "        raise error from cause\n"
    )
    before, sys.modules["__main__"] = sys.modules["__main__"], main
    try:
        async with TaskScope(policy=Collect()) as scope:
            handle: Any = scope.spawn(main.fail, on=pool)
            await handle.wait()
    finally:
        sys.modules["__main__"] = before
    error = handle.exception()
    assert type(error) is main.Mine
    assert (error.code, error.__notes__) == (3, ["a note"])
    assert type(error.__cause__) is ZeroDivisionError


@pytest.mark.asyncio
async def test_a_crash_of_a_worker_costs_one_task_and_names_the_node(pool: ClusterPool, tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        victim: Any = scope.spawn(spin, str(tmp_path), "victim", on=pool)
        assert await begun(tmp_path, "victim")
        others: Any = [scope.spawn(abs, -n, on=pool) for n in range(100)]
        os.kill(int((tmp_path / "victim.pid").read_text()), signal.SIGKILL)
        await victim.wait()
    error = victim.exception()
    assert type(error) is WorkerCrashed
    assert error.exitcode == -signal.SIGKILL
    assert "127.0.0.1" in str(error) or "ray://" in str(error)
    assert [each.result() for each in others] == list(range(100))


@pytest.mark.asyncio
async def test_a_handle_names_the_worker_and_its_node(pool: ClusterPool) -> None:
    async with TaskScope() as scope:
        handle: Any = scope.spawn(os.getpid, on=pool)
        assert await handle == handle.worker
        (node,) = {node.address for node in pool.nodes() if node.address == handle.worker.node}
        assert repr(handle.worker) == f"<worker {handle.worker:d} on {node}>"
        assert handle.worker != WorkerRef(handle.worker, "tcp://elsewhere")
        assert all(node.slots >= 1 and node.lease_left > 0 and node.rtt > 0 for node in pool.nodes())


@pytest.mark.asyncio
async def test_large_values_and_shared_objects_arrive(pool: ClusterPool) -> None:
    numpy = pytest.importorskip("numpy")
    table: Any = share(numpy.arange(100_000))
    async with TaskScope() as scope:
        array: Any = await scope.spawn(numpy.add, numpy.zeros(1 << 18), 1, on=pool)
        array += 1  # it is writable, as on one machine
        assert array.sum() == 2 << 18
        assert await scope.spawn(list, range(100_000), on=pool) == list(range(100_000))
        untyped: Any = scope
        sums = [n async for n in untyped.map(lambda i: int(table.value[i]), range(50), on=pool)]
        assert sums == list(range(50))


@pytest.mark.asyncio
async def test_coroutines_of_one_node_run_at_the_same_time(pool: ClusterPool, tmp_path: Path) -> None:
    async with TaskScope() as scope:
        handles: Any = [scope.spawn(meet, str(tmp_path), n, 20, on=pool) for n in range(20)]
    assert [handle.result() for handle in handles] == list(range(20))


def test_another_version_is_refused_at_connect_and_both_are_named(
    open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unified_exec.cluster import wire

    monkeypatch.setattr(wire, "versions", lambda: ["Python 2.7", "unified_exec 0.0"])
    with open_pool() as pool:
        with pytest.raises(ExceptionGroup) as caught, SyncTaskScope(processes=pool) as scope:
            scope.spawn(int, on="process")
    (error,) = caught.value.exceptions
    assert type(error) is WorkerStartError
    assert "Python 2.7" in str(error)
    assert "cloudpickle" in str(error)
    assert "install the same versions" in str(error)
