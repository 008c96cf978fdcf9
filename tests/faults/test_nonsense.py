"""Law 1.6: a worker that talks nonsense costs that worker and the task it runs, never the parent."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.faults import tasks
from tests.waiting import until_async
from unified_exec import Collect, ProcessPool, TaskScope, WorkerCrashed
from unified_exec._wire import block_layout, frames
from unified_exec._worker.settings import CONTROL_FD, TASKS_FD

pytestmark = pytest.mark.one_loop

NONSENSE = {
    "zero": b"\0",
    "unknown kind": b"\xff" * 50,
    "half an answer": frames.pack_done(1, 0, 0.0, 0.0)[:5],
    "an answer nobody waits for": frames.pack_done(1 << 60, 0, 0.0, 0.0, b"x"),
    "an unknown outcome": frames.pack_done(1, 200, 0.0, 0.0),
    "a task": frames.pack_task(1, b"name", 0, b"", b"", None),
    "a second start": frames.pack_payload(frames.READY),
    "a failed start": frames.pack_payload(frames.FAILED, b"garbage"),
    "settings": frames.pack_payload(frames.SETUP, b"garbage"),
    "a short id": b"\x07\x01",
    "too long": b"\x02" * 100_000,
}


@pytest.mark.parametrize("fd", [TASKS_FD, CONTROL_FD], ids=["tasks", "control"])
@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_costs_the_worker_and_its_task_alone(what: str, fd: int, tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def talk(data: bytes) -> None:
        os.write(fd, data)
        tasks.hang()

    async with ProcessPool(max_workers=2) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        before = [scope.spawn(tasks.note_and_return, log, f"b{n}", on="process") for n in range(20)]
        bad = scope.spawn(talk, NONSENSE[what], on="process")
        after = [scope.spawn(tasks.note_and_return, log, f"a{n}", on="process") for n in range(20)]
        for n in range(20):
            assert await before[n] == f"b{n}"
            assert await after[n] == f"a{n}"
        await bad.wait()
        assert isinstance(bad.exception(), WorkerCrashed), bad.exception()
        assert bad.exception().pid == bad.worker
    assert len(tasks.noted(log)) == 40


@pytest.mark.parametrize("fd", [TASKS_FD, CONTROL_FD], ids=["tasks", "control"])
async def test_a_worker_that_goes_on_after_its_nonsense_runs_no_task_twice(fd: int, tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def talk(number: int) -> int:
        tasks.note(log, number)
        if number % 50 == 25:
            os.write(fd, b"\xff nonsense")
        return number

    async with ProcessPool(max_workers=2) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await scope.spawn(talk, -1, on="process")
        handles = [scope.spawn(talk, number, on="process") for number in range(200)]
        for number, handle in enumerate(handles):
            await handle.wait()
            error = handle.exception()
            assert isinstance(error, WorkerCrashed) or handle.result() == number
    ran = tasks.noted(log)
    assert len(ran) == len(set(ran))


@pytest.mark.parametrize("table", [b"", b"\xff" * 12, b"\0\0\0\0" + b"\xff" * 8], ids=["none", "cut", "too large"])
async def test_an_answer_that_promises_shared_memory_it_does_not_bring_fails_its_task(table: bytes) -> None:
    def lie() -> None:
        from unified_exec import current_task

        id = current_task().id
        os.write(CONTROL_FD, frames.pack_done(id, frames.VALUE, 0.0, 0.0, table, frames.IN_SHARED))
        tasks.hang()

    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(lie, on="process")
        await handle.wait()
        assert isinstance(handle.exception(), WorkerCrashed)
        assert await scope.spawn(tasks.double, 21, on="process") == 42


async def test_a_shared_block_shorter_than_its_table_says_fails_its_task() -> None:
    def lie() -> None:
        from unified_exec import current_task

        fd = os.memfd_create("lie")
        os.write(fd, b"short")
        table, _, _ = block_layout.shared_layout(1 << 30, [1 << 30])
        message = frames.pack_done(current_task().id, frames.VALUE, 0.0, 0.0, table, frames.IN_SHARED)
        with socket.socket(fileno=os.dup(CONTROL_FD)) as sock:
            socket.send_fds(sock, [message], [fd])
        tasks.hang()

    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(lie, on="process")
        await handle.wait()
        assert isinstance(handle.exception(), WorkerCrashed)
        assert await scope.spawn(tasks.double, 21, on="process") == 42


async def test_descriptors_that_come_with_nonsense_are_closed() -> None:
    def send() -> None:
        fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        with socket.socket(fileno=os.dup(CONTROL_FD)) as sock:
            socket.send_fds(sock, [b"\xff"], fds)
        tasks.hang()

    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await scope.spawn(tasks.pid, on="process")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            handle = scope.spawn(send, on="process")
            await handle.wait()
            assert isinstance(handle.exception(), WorkerCrashed)
            await scope.spawn(tasks.pid, on="process")
        assert await until_async(lambda: len(os.listdir("/proc/self/fd")) == before)


async def test_an_error_made_of_garbage_is_an_error_of_its_task() -> None:
    def lie() -> None:
        from unified_exec import current_task

        os.write(TASKS_FD, frames.pack_done(current_task().id, frames.ERROR, 0.0, 0.0, b"\x80garbage"))
        tasks.hang()

    async with ProcessPool(max_workers=1, grace=0.1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(lie, on="process")
        await handle.wait()
        assert handle.exception() is not None
        assert not handle.cancelled()
        for worker in list(pool._registry.workers):
            worker.kill()
