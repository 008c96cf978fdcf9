"""Design §1, clause 1: no process outlives its scope, not even a grandchild of a killed worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio

from tests.contract import stops
from tests.contract.conftest import Folder, Place
from tests.faults import tasks
from tests.waiting import until_async
from unified_exec import Collect, ProcessPool, TaskScope


async def test_grandchildren_of_a_cancelled_task_are_killed_with_their_worker(tmp_path: Path) -> None:
    def start(path: str) -> None:
        tasks.start_grandchild(path)
        tasks.hang_whatever_is_asked()

    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1, grace=0.1) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(start, log, on="process")
        assert await until_async(lambda: tasks.noted(log))
        child = int(tasks.noted(log)[0])
        handle.cancel()
        await handle.wait()
        assert await until_async(lambda: not tasks.exists(child))


async def test_the_death_of_a_worker_takes_its_grandchildren_along(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    async with TaskScope(policy=Collect()) as scope:
        await scope.spawn(tasks.start_grandchild, log, on="process")
        child = int(tasks.noted(log)[0])
        assert tasks.exists(child)
        scope.spawn(tasks.die, "exit", on="process")
    assert await until_async(lambda: not tasks.exists(child))


async def test_a_grandchild_that_left_its_process_group_is_the_written_exception(tmp_path: Path) -> None:
    def start(path: str) -> None:
        import subprocess

        process = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
        tasks.note(path, process.pid)
        tasks.die("exit")

    log = str(tmp_path / "log")
    async with TaskScope(policy=Collect()) as scope:
        scope.spawn(start, log, on="process")
    child = int(tasks.noted(log)[0])
    assert tasks.exists(child)
    os.kill(child, signal.SIGKILL)
    assert await until_async(lambda: not tasks.exists(child))


async def test_killing_a_worker_with_workers_of_its_own_leaves_none(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def nested(path: str) -> None:
        async def main() -> None:
            async with TaskScope() as scope:
                tasks.note(path, await scope.spawn(tasks.pid, on="process"))
                scope.spawn(tasks.hang, on="process")
                await anyio.sleep_forever()

        while True:
            try:
                anyio.run(main)
            except BaseException:
                pass

    async with ProcessPool(max_workers=1, grace=0.1) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(nested, log, on="process")
        assert await until_async(lambda: tasks.noted(log))
        handle.cancel()
        await handle.wait()
    for pid in set(tasks.noted(log)):
        assert await until_async(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))


async def test_the_worker_of_a_task_that_does_not_stop_is_dead_when_its_block_is_left(
    process_place: Place, folder: Folder
) -> None:
    async with ProcessPool(1, grace=0.1) as pool:
        async with TaskScope(processes=pool) as scope:
            handle = scope.spawn(
                stops.a_deaf if process_place.coroutine else stops.deaf, folder.path, "task", on="process"
            )
            await folder.started("task")
            scope.cancel()
        assert handle.cancelled()
        assert handle.worker is not None
        assert not tasks.exists(handle.worker)
