"""Design §1, clause 8: no fork, no Ctrl-C in workers, and an end of the program that waits for nobody but executors."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.contract import tasks
from tests.contract.conftest import Folder, Place
from tests.faults import programs
from unified_exec import ProcessPool, TaskScope

pytestmark = pytest.mark.one_loop


async def test_a_busy_worker_ignores_ctrl_c(process_place: Place, folder: Folder) -> None:
    """A terminal sends it to the whole foreground; what it means for the workers is the parent's affair."""
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        handle = process_place.spawn(scope, tasks.hold, folder.path, "task")
        await folder.started("task")
        assert handle.worker is not None
        for _ in range(3):
            os.kill(handle.worker, signal.SIGINT)
        folder.release("task")
        assert await handle == "task"
        assert await process_place.spawn(scope, os.getpid) == handle.worker


async def test_an_idle_worker_ignores_ctrl_c(process_place: Place) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        worker = await process_place.spawn(scope, os.getpid)
        os.kill(worker, signal.SIGINT)
        assert await process_place.spawn(scope, os.getpid) == worker


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_process_with_threads_is_never_forked(loop: str, tmp_path: Path) -> None:
    text = f"""
        import os, threading
        import anyio
        from unified_exec import ProcessPool, TaskScope

        forks = []
        os.register_at_fork(before=lambda: forks.append(threading.active_count()))

        async def coroutine(n):
            return os.getpid()

        async def main():
            async with ProcessPool(2, max_tasks_per_worker=2) as pool, TaskScope(processes=pool) as scope:
                await scope.spawn(len, "in a thread")
                pids = [await scope.spawn(os.getpid, on="process") for n in range(8)]
                pids += [await scope.spawn(coroutine, n, on="process") for n in range(8)]
                print(len(set(pids)) >= 8, forks)

        anyio.run(main, backend={loop!r})
    """
    assert programs.run_script(tmp_path, text).check().lines == ["True []"]


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_the_end_of_the_program_does_not_wait_for_an_abandoned_thread(loop: str, tmp_path: Path) -> None:
    text = f"""
        import threading
        import anyio
        from unified_exec import TaskScope

        def hold():
            began.set()
            threading.Event().wait()

        async def main():
            async with TaskScope() as scope:
                scope.spawn(hold, abandon=True, name="deaf")
                while not began.is_set():
                    await anyio.sleep(0.001)
                scope.cancel()

        began = threading.Event()
        anyio.run(main, backend={loop!r})
        print("done")
    """
    ended = programs.run_script(tmp_path, text)
    assert (ended.code, ended.lines, ended.left) == (0, ["done"], [])
    assert "task 'deaf' was abandoned" in ended.err


AT_EXIT = """
import sys, time
from unified_exec.executor import {kind}
def late(text):
    time.sleep(0.2)  # so that the exit comes first
    print(text, flush=True)
    return text
executor = {kind}(1)
{before}
future = executor.submit(late, "done")
future.add_done_callback(lambda call: print("told", call.result(), flush=True))
{after}
"""


@pytest.mark.parametrize("kind", ["ProcessExecutor", "ThreadExecutor"])
@pytest.mark.parametrize("after", ["", "executor.shutdown(wait=False)", "del executor", "1 / 0"])
def test_the_end_of_the_program_waits_for_what_executors_were_given(kind: str, after: str) -> None:
    ended = programs.run("-c", AT_EXIT.format(kind=kind, before="", after=after))
    assert ended.lines == ["done", "told done"]
    assert "ZeroDivisionError" in ended.err if after == "1 / 0" else not ended.err
    assert not ended.left


@pytest.mark.parametrize("kind", ["ProcessExecutor", "ThreadExecutor"])
def test_executors_are_given_nothing_once_the_interpreter_ends(kind: str) -> None:
    before = "import atexit; atexit.register(lambda: executor.submit(print))"
    ended = programs.run("-c", AT_EXIT.format(kind=kind, before=before, after=""))
    assert "RuntimeError: cannot schedule new futures after" in ended.err
