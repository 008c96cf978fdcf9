"""Law 1.6 and 1.8: what tasks do to their worker costs at most that worker, and nobody else notices."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import tasks
from tests.waiting import until_async
from unified_exec import Collect, ProcessPool, TaskScope, WorkerCrashed

pytestmark = pytest.mark.one_loop


async def check_the_worker_goes_on(fn: Callable[..., Any], *args: Any) -> Any:
    """Run `fn`, then look whether the very same worker still does its work; the value of `fn`."""
    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        pid = await scope.spawn(tasks.pid, on="process")
        value = await scope.spawn(fn, *args, on="process")
        assert await scope.spawn(tasks.double, 21, on="process") == 42
        assert len(await scope.spawn(bytes, 200_000, on="process")) == 200_000
        assert await scope.spawn(tasks.pid, on="process") == pid
    return value


async def test_a_task_that_closes_all_descriptors_costs_its_worker() -> None:
    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(os.closerange, 3, 1000, on="process")
        await handle.wait()
        assert isinstance(handle.exception(), WorkerCrashed)
        assert await scope.spawn(tasks.double, 21, on="process") == 42


async def test_a_task_that_closes_all_descriptors_and_goes_on_can_be_killed() -> None:
    def close_and_hang() -> None:
        os.closerange(0, 1000)
        tasks.hang()

    async with ProcessPool(max_workers=1, grace=0.1) as pool, TaskScope(processes=pool) as scope:
        assert await scope.spawn(tasks.double, 1, on="process") == 2
        handle = scope.spawn(close_and_hang, on="process")
        worker = next(iter(pool._registry.workers))
        assert await until_async(lambda: worker.inbox.closed)
        handle.cancel()
        await handle.wait()
        assert await scope.spawn(tasks.double, 21, on="process") == 42


@pytest.mark.parametrize("name", ["SIGURG", "SIGINT", "SIGTERM", "SIGALRM"])
async def test_a_task_may_install_signal_handlers_of_its_own(name: str) -> None:
    def install() -> None:
        signal.signal(getattr(signal, name), lambda *_: sys.exit(9))

    await check_the_worker_goes_on(install)


async def test_cancelling_works_after_a_task_took_the_bells_signal(tmp_path: Path) -> None:
    def install() -> None:
        signal.signal(signal.SIGURG, signal.SIG_IGN)

    def loop(path: str) -> None:
        tasks.note(path, "here")
        while True:
            pass

    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1, grace=60) as pool, TaskScope(processes=pool) as scope:
        await scope.spawn(install, on="process")
        handle = scope.spawn(loop, log, on="process")
        assert await until_async(lambda: tasks.noted(log))
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()
        assert await scope.spawn(tasks.pid, on="process") == handle.worker


async def test_a_task_that_ignores_sigterm_is_killed_all_the_same(tmp_path: Path) -> None:
    def ignore(path: str) -> None:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        tasks.note(path, "here")
        tasks.hang()

    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1, grace=0.1) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(ignore, log, on="process")
        assert await until_async(lambda: tasks.noted(log))
        handle.cancel()
        await handle.wait()
        assert handle.cancelled()


async def test_a_task_that_moves_to_another_process_group_is_killed_all_the_same(tmp_path: Path) -> None:
    def move(path: str) -> None:
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where a thread of the worker waits
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            tasks.note(path, "moved")
            tasks.hang()
        while not tasks.noted(path):
            pass
        os.setpgid(0, child)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        tasks.note(path, "here")
        tasks.hang_whatever_is_asked()

    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1, grace=0.1) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(move, log, on="process")
        assert await until_async(lambda: len(tasks.noted(log)) == 2)
        handle.cancel()
        await handle.wait()


async def test_a_task_may_change_its_folder_and_its_environment(tmp_path: Path) -> None:
    def change(path: str) -> None:
        os.chdir(path)
        os.environ["UNIFIED_EXEC_FAULT"] = "changed"
        os.umask(0o077)

    here = os.getcwd()
    await check_the_worker_goes_on(change, str(tmp_path))
    assert os.getcwd() == here
    assert "UNIFIED_EXEC_FAULT" not in os.environ


async def test_a_task_may_leave_a_thread_behind() -> None:
    def start() -> None:
        threading.Thread(target=threading.Event().wait).start()

    await check_the_worker_goes_on(start)


async def test_sys_exit_in_a_thread_of_a_task_ends_that_thread_only() -> None:
    def start() -> None:
        thread = threading.Thread(target=sys.exit, args=(3,))
        thread.start()
        thread.join()

    await check_the_worker_goes_on(start)


async def test_a_worker_leads_its_group_so_a_task_cannot_make_a_session() -> None:
    def leave() -> str:
        try:
            os.setsid()
        except PermissionError:
            return "refused"
        return "done"

    assert await check_the_worker_goes_on(leave) == "refused"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_task_may_use_multiprocessing(method: str) -> None:
    def use() -> list[int]:
        import multiprocessing

        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(tasks.double, range(5))

    assert await check_the_worker_goes_on(use) == [0, 2, 4, 6, 8]


async def test_a_task_may_break_the_interpreters_streams() -> None:
    def close() -> None:
        sys.stdout.close()
        sys.stderr.close()

    def drop() -> None:
        sys.stdout = sys.stderr = sys.stdin = None  # type: ignore[assignment]

    class Broken:
        def flush(self) -> None:
            raise SystemExit

        def write(self, text: str) -> None:
            raise KeyboardInterrupt

    def replace() -> None:
        sys.stdout = sys.stderr = Broken()  # type: ignore[assignment]

    for fn in (drop, close, replace):
        await check_the_worker_goes_on(fn)


async def test_a_task_may_change_what_can_be_imported() -> None:
    def change() -> None:
        sys.path.insert(0, "/nowhere")
        sys.path.append("")
        sys.modules.pop("os")
        sys.modules.pop("unified_exec")

    await check_the_worker_goes_on(change)


async def test_a_task_that_takes_the_interpreter_apart_costs_at_most_its_worker() -> None:
    def wreck() -> None:
        vars(os).clear()
        vars(sys).clear()

    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handle = scope.spawn(wreck, on="process")
        await handle.wait()
        assert handle.exception() is None or isinstance(handle.exception(), WorkerCrashed)
        after = scope.spawn(tasks.double, 21, on="process")
        await after.wait()
        if after.exception() is not None:  # the wreck may have ended only now
            assert isinstance(after.exception(), WorkerCrashed)
            assert await scope.spawn(tasks.double, 21, on="process") == 42


async def test_a_task_may_set_a_trace_function_and_an_alarm_and_a_recursion_limit() -> None:
    def settings() -> None:
        sys.settrace(lambda *_: None)
        sys.setprofile(lambda *_: None)
        sys.setrecursionlimit(200)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)

    await check_the_worker_goes_on(settings)


async def test_a_task_may_turn_collection_off_and_raise_in_destructors() -> None:
    def destruct() -> object:
        import gc

        gc.disable()

        class Bad:
            def __del__(self) -> None:
                raise SystemExit(4)

        sys.unraisablehook = lambda _: None
        Bad()
        return Bad.__name__

    await check_the_worker_goes_on(destruct)
