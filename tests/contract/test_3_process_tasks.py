"""Law 1.3 for processes: ask, grace, kill; and the worker stays warm where it can."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from tests.contract import stops, tasks
from tests.contract.conftest import Folder
from tests.waiting import until_async
from unified_exec import (
    Collect,
    ProcessPool,
    TaskCancelled,
    TaskHandle,
    TaskScope,
    TaskState,
)
from unified_exec._pools.process import worker as worker_module

pytestmark = pytest.mark.every_loop

NEVER = 600.0
"""A grace so long that only the ask can end a task."""


async def running(handle: TaskHandle[Any]) -> None:
    assert await until_async(lambda: handle.state is TaskState.RUNNING, 60)


async def gone(pid: int) -> bool:
    def ended() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return await until_async(ended, 60)


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("body", range(len(stops.BODIES)), ids=[body.__name__ for body in stops.BODIES])
async def test_an_asked_task_runs_its_finally_block_and_its_worker_stays_warm(body: int, folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_a_finally, folder.path, "task", body, on="process")
        await folder.started("task")
        worker = handle.worker
        handle.cancel("enough")
        with pytest.raises(TaskCancelled, match="enough"):
            await handle
        assert folder.ended("task")
        assert (folder.path / "task.before").read_text() == "False"
        assert (folder.path / "task.asked").read_text() == "True enough"
        assert await scope.spawn(os.getpid, on="process") == worker


@pytest.mark.loops_in_turn
async def test_a_task_that_swallows_the_ask_is_killed_after_the_grace_with_its_children(folder: Folder) -> None:
    async with ProcessPool(1, grace=0.3) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.deaf, folder.path, "task", on="process")
        await folder.started("task")
        worker = handle.worker
        assert worker is not None
        child = int((folder.path / "task.child").read_text())
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert await gone(worker)
        assert await gone(child)
        assert await scope.spawn(os.getpid, on="process") != worker


@pytest.mark.fresh_pool
@pytest.mark.loops_in_turn
async def test_a_call_that_keeps_the_gil_is_killed_and_a_spare_worker_takes_over(folder: Folder) -> None:
    def others() -> set[int]:
        return {child.pid for child in psutil.Process().children()} - {handle.worker}

    async with ProcessPool(1, grace=1.0) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_c, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        spare: set[int] = set()
        while not (handle.done() or spare):
            spare = others()
            await anyio.sleep(0.01)
        await handle.wait()
        assert handle.cancelled()
        assert await scope.spawn(os.getpid, on="process") in spare


@pytest.mark.loops_in_turn
async def test_a_spare_worker_is_no_more_than_that(folder: Folder) -> None:
    """A pool of one runs one task at a time, also while its worker is being asked and a spare is ready."""
    async with ProcessPool(1, grace=1.0) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        deaf = scope.spawn(stops.deaf, folder.path, "task", on="process")
        await folder.started("task")
        deaf.cancel()
        await until_async(lambda: deaf.done() or len(psutil.Process().children()) > 1)
        for n in range(3):
            after = scope.spawn(stops.mark, folder.path, f"after{n}", on="process")
            await after
            assert deaf.timing.finished is not None
            assert after.timing.started is not None
            assert after.timing.started > deaf.timing.finished


@pytest.mark.loops_in_turn
@pytest.mark.parametrize(
    ("function", "args"),
    [
        (stops.in_an_import, ()),
        (stops.in_an_import, ("raise ValueError",)),
        (stops.in_an_import, ("", stops.no_tracer)),
        (stops.in_an_import_by_c, ()),
        (stops.blocked_by_an_import, ()),
    ],
    ids=["import", "failing import", "traced import", "import by C code", "import in a coroutine"],
)
async def test_an_ask_during_an_import_is_raised_when_the_import_returns(
    folder: Folder, function: Any, args: tuple[Any, ...]
) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(function, folder.path, "task", *args, on="process")
        await folder.started("task")
        worker = int((folder.path / "task.pid").read_text())
        if function is stops.blocked_by_an_import:  # the loop is asked first
            handle.cancel()
            await anyio.sleep(0.2)  # the request is there, of which nothing tells
            assert not folder.ended("task")
        else:
            handle.cancel("enough")
        folder.release("task")
        await handle.wait()
        assert handle.cancelled()
        assert (folder.path / "task.whole").exists()
        assert not (folder.path / "task.after").exists()
        on = scope.spawn(stops.a_pid if function is stops.blocked_by_an_import else os.getpid, on="process")
        assert await on == worker


@pytest.mark.loops_in_turn
async def test_an_import_that_outlasts_the_grace_costs_the_worker(folder: Folder) -> None:
    async with ProcessPool(1, grace=0.2) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_an_import, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert not folder.ended("task")
        assert await scope.spawn(os.getpid, on="process") != int((folder.path / "task.pid").read_text())


async def test_an_import_that_fails_by_itself_is_an_error_of_the_task() -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(__import__, "no_such_module_anywhere", on="process")
    with pytest.raises(ModuleNotFoundError):
        handle.result()


class MadeByAnImport:
    """Rebuilding it imports a module that makes an error of its own of whatever interrupts it, as NumPy's does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return stops.import_that_changes_the_error, (self.folder,)


async def test_an_ask_during_an_import_while_arguments_are_rebuilt_waits_for_its_end(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(id, MadeByAnImport(folder.path), on="process")
        await folder.started("import")
        handle.cancel("enough")
        folder.release("import")
        with pytest.raises(TaskCancelled, match="enough"):
            await handle
        assert (folder.path / "import.whole").exists()
        assert await scope.spawn(os.getpid, on="process") == int((folder.path / "import.pid").read_text())


async def test_an_ask_that_a_del_swallowed_is_repeated(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_a_del, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert folder.ended("task")
        assert await scope.spawn(os.getpid, on="process") == handle.worker


async def test_an_ask_reaches_a_task_whose_arguments_are_being_rebuilt(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.take, stops.SlowToRebuild(folder.path, "task"), on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert folder.ended("task")
        assert await scope.spawn(stops.take, 1, on="process") == "taken"
        assert await scope.spawn(os.getpid, on="process") == handle.worker


async def test_a_task_cancelled_while_its_worker_starts_never_starts(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.mark, folder.path, "task", on="process")
        handle.cancel()
        assert handle.cancelled()
        await anyio.lowlevel.checkpoint()
        second = scope.spawn(stops.mark, folder.path, "second", on="process")
        await anyio.lowlevel.checkpoint()
        second.cancel()
        assert second.cancelled()
        await scope.spawn(os.getpid, on="process")
        assert not folder.has_started("task")
        assert not folder.has_started("second")


def send_ahead(pool: ProcessPool) -> None:
    """Let the pool send any function ahead that was measured: on a busy machine none is short."""
    pool._registry.spec = pool._registry.spec._replace(prefetch_budget=NEVER)


async def test_tasks_that_were_sent_ahead_are_taken_back(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        send_ahead(pool)
        for _ in range(5):  # measured from now on
            await scope.spawn(stops.maybe_hold, folder.path, "", False, on="process")
        held = scope.spawn(stops.maybe_hold, folder.path, "held", True, on="process")
        prefetch = [scope.spawn(stops.maybe_hold, folder.path, f"ahead{n}", False, on="process") for n in range(10)]
        assert any(handle.worker is not None for handle in prefetch), "nothing was sent ahead"
        await folder.started("held")
        for handle in prefetch[:9]:
            handle.cancel()
        assert all(handle.cancelled() for handle in prefetch[:9])
        assert not held.done()
        folder.release("held")
        assert await prefetch[9] == await held
        assert all(handle.timing.started is None for handle in prefetch[:9])


async def test_a_finalizer_may_cancel_a_task_while_another_is_being_sent(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector may run it when that other lies in the socket and the sending has not returned."""
    send = worker_module.send_in_block

    def send_and_collect(*message: Any) -> None:
        send(*message)
        before.cancel()

    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        send_ahead(pool)
        assert await scope.spawn(len, bytes(100_000), on="process") == 100_000  # measured: it is sent ahead from now on
        held = scope.spawn(tasks.hold, folder.path, "held", on="process")
        await folder.started("held")
        before = scope.spawn(len, bytes(100_000), on="process")
        with monkeypatch.context() as patch:
            patch.setattr(worker_module, "send_in_block", send_and_collect)
            handle = scope.spawn(len, bytes(100_000), on="process")
        assert before.cancelled()
        folder.release("held")
        assert await held == "held"
        assert await handle == 100_000


@pytest.mark.loops_in_turn
async def test_a_c_function_that_returned_after_the_ask_keeps_its_value() -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await scope.spawn(hashlib.pbkdf2_hmac, "sha256", b"", b"", 1, on="process")  # imports what it needs
        handle = scope.spawn(hashlib.pbkdf2_hmac, "sha256", b"", b"", 500_000, on="process")
        await running(handle)
        handle.cancel()
        assert len(await handle) == 32


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before 3.13 the interpreter itself prints a line there")
async def test_an_ask_prints_nothing_while_an_event_loop_of_the_task_closes(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.beside_a_closed_pipe, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        await handle.wait()
    assert handle.cancelled()
    assert capfd.readouterr() == ("", "")


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("by", ["asyncio", "trio", "hand"])
async def test_an_ask_that_the_task_has_put_into_a_group_is_a_cancellation(by: str, folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.in_a_group, folder.path, "task", by, on="process")
        await folder.started("task")
        handle.cancel("enough")
        with pytest.raises(TaskCancelled, match="enough"):
            await handle
        assert folder.ended("task")


async def test_an_exception_of_the_cleanup_is_the_outcome(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.fails_in_cleanup, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        with pytest.raises(ValueError, match="cleanup"):
            await handle


@pytest.mark.loops_in_turn
async def test_a_task_is_asked_once_however_often_the_bell_rings(folder: Folder) -> None:
    async with ProcessPool(1, grace=NEVER) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(stops.slow_cleanup, folder.path, "task", on="process")
        await folder.started("task")
        handle.cancel()
        assert await until_async((folder.path / "task.cleaning").exists, 60)
        assert handle.worker is not None
        for _ in range(50):
            handle.cancel()
            os.kill(handle.worker, signal.SIGURG)
            await anyio.sleep(0.001)  # the asks are spread over the cleaning, and not merged into one
        folder.release("task")
        await handle.wait()
        assert handle.cancelled()
        assert folder.ended("task")
        assert await scope.spawn(os.getpid, on="process") == handle.worker


async def test_a_worker_is_not_killed_for_an_answer_that_the_busy_loop_had_not_read(folder: Folder) -> None:
    """The grace is over, but so was the task: the worker may be at another one already."""
    async with ProcessPool(1, grace=0.05) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        worker = await scope.spawn(os.getpid, on="process")
        for n in range(6):  # which of the two the loop looks at first is chance on trio
            asked = scope.spawn(stops.in_a_finally, folder.path, f"asked{n}", 0, on="process")
            await folder.started(f"asked{n}")
            asked.cancel()
            busy_until = time.monotonic() + 0.1
            while time.monotonic() < busy_until or not folder.ended(f"asked{n}"):
                pass  # keeps the event loop busy, as a careless body does
            await asked.wait()
            assert asked.cancelled()
            assert await scope.spawn(os.getpid, on="process") == worker
