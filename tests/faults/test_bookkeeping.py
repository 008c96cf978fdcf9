"""What a pool notes of its tasks and workers stays right whatever comes in between."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import subprocess
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from tests.faults import programs, tasks
from tests.waiting import is_freed, until_async
from unified_exec import Collect, ProcessPool, Tally, TaskHandle, TaskScope, ThreadPool, Verdict
from unified_exec._loops.current import current_adapter
from unified_exec._platform import posix, shm_cache
from unified_exec._platform.posix import PLAIN
from unified_exec._pools.process.child import Child
from unified_exec._pools.process.worker_logs import LogReader
from unified_exec._pools.process.worker_spec import WorkerSpec
from unified_exec._rules import prefetch
from unified_exec._tasks import weak_sets
from unified_exec._tasks.types import TaskState
from unified_exec._wire import log_levels
from unified_exec._wire.log_frames import CUT
from unified_exec._wire.pickling import surroundings
from unified_exec._worker.settings import CALLS
from unified_exec.errors import WorkerStartError

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_tasks_that_were_cancelled_while_they_waited_are_freed_at_once(on: Any, tmp_path: Path) -> None:
    log, go_on = str(tmp_path / "log"), str(tmp_path / "go on")
    async with ThreadPool(1) as threads, ProcessPool(1) as processes:
        async with TaskScope(threads=threads, processes=processes, timeout=60) as scope:
            scope.spawn(tasks.note_and_wait, log, "begun", go_on, on=on)
            assert await until_async(lambda: tasks.noted(log))
            async with TaskScope(policy=Collect(), threads=threads, processes=processes) as inner:
                handles = [inner.spawn(abs, -1, on=on) for _ in range(3)]
                inner.cancel()
            refs = [weakref.ref(handle) for handle in handles]
            del handles, inner
            assert await until_async(lambda: all(is_freed(ref) for ref in refs))
            Path(go_on).touch()


class CancelsAnother:
    """A policy of a user: the first value ends the others, and with the first of these one of another scope."""

    other: TaskHandle[Any]

    def judge(self, tally: Tally) -> Verdict:
        if tally.cancelled:
            self.other.cancel()
        return Verdict.CANCEL_REST if tally.values else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return False


def _both_began(log: str, text: str) -> bool:
    return "".join(tasks.noted(log)).count(text) == 2


async def test_a_task_that_moves_while_others_are_cancelled_with_it_is_cancelled_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(prefetch, "update_estimate", lambda cost, seconds: 0.0001)  # so they are sent ahead
    log, go_on, policy = str(tmp_path / "log"), tmp_path / "go on", CancelsAnother()
    call = tasks.note_and_wait
    async with ProcessPool(2) as pool, TaskScope(processes=pool, policy=Collect(), timeout=60) as scope:
        for text in ("learnt", "blocks"):  # in both workers
            running = [scope.spawn(call, log, text, str(go_on), on="process") for _ in range(2)]
            assert await until_async(partial(_both_began, log, text))
            if text == "learnt":
                go_on.touch()
                for task in running:
                    await task
                go_on.unlink()
        async with TaskScope(processes=pool, policy=policy, timeout=60) as inner:
            moving = [inner.spawn(call, log, "moving", str(go_on), on="process") for _ in range(2)]
            outer = [scope.spawn(call, log, "outer", str(go_on), on="process") for _ in range(2)]
            workers = [task.worker for task in (*moving, *outer)]
            assert workers[0] == workers[2] != workers[1] == workers[3]
            policy.other = outer[1]
            inner.spawn(anyio.lowlevel.checkpoint)
        assert all(task.cancelled() for task in moving)
        assert outer[1].cancelled()
        assert outer[0].state is not TaskState.DONE
        go_on.touch()
    assert "moving" not in "".join(tasks.noted(log))


def test_a_fork_while_a_thread_makes_the_adapter_of_its_loop_leaves_the_child_able_to_run_one(tmp_path: Path) -> None:
    lines = programs.run_script(
        tmp_path,
        """
        import os, threading, warnings
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        import anyio
        from unified_exec import call
        from unified_exec._loops import current

        async def main():
            return await call(abs, -1, on="thread")

        locked, done = threading.Event(), threading.Event()

        def hold():
            with current._lock:
                locked.set()
                done.wait(60)

        threading.Thread(target=hold).start()
        locked.wait()
        pid = os.fork()
        if not pid:
            print(anyio.run(main), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        done.set()
        """,
    ).check().lines  # fmt: skip
    assert lines == ["1"]


@pytest.mark.skipif(not hasattr(os, "pidfd_open") or PLAIN, reason="processes are known by their numbers alone here")
@pytest.mark.parametrize("kernel", ["6.9", "5.4"])
def test_a_process_that_has_the_number_of_a_worker_which_others_reaped_is_not_touched(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "5.4":
        monkeypatch.setattr(posix, "_TO_GROUP", 1 << 20)  # an unknown flag, as that of 6.9 is there
    gone, other = [subprocess.Popen(["sleep", "600"], process_group=0) for _ in range(2)]
    pidfd = os.pidfd_open(gone.pid)
    lifeline, end = socket.socketpair()
    try:
        gone.kill()
        gone.wait()
        worker: Any = Child(other.pid, end, end, end, lifeline, mmap.mmap(-1, 8), pidfd)
        worker.ring()
        worker.send_signal(signal.SIGTERM)
        worker.kill()
        with pytest.raises(ProcessLookupError):
            posix.signal_group(worker.pid, pidfd, signal.SIGSTOP)
        assert worker.has_ended()
        assert worker.reap() is None
        assert other.poll() is None
    finally:
        os.close(pidfd)
        lifeline.close()
        end.close()
        other.kill()
        other.wait()


async def test_workers_of_other_loops_may_start_while_they_are_counted() -> None:
    async with ProcessPool(1) as pool:
        registry = pool._registry

        class Counted:
            connection = None

            @property
            def kind(self) -> Any:
                registry.workers.add(Counted())  # type: ignore[arg-type]  # as another thread may
                return None

        registry.workers.update([Counted(), Counted()])  # type: ignore[list-item]
        assert registry._too_many(CALLS) is False
        registry.workers.clear()


async def test_a_filter_that_raises_at_the_news_of_dropped_records_harms_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Source:
        pid = 1

        def __init__(self) -> None:
            self.tasks: dict[int, Any] = {}

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError("a filter")

    log, reader = logging.getLogger("unified_exec"), LogReader(current_adapter())
    log.addFilter(refuse)
    try:
        reader.handle(Source(), (CUT, [(("app", 30), 5)]))
        reader.handle(Source(), (CUT, [(("app", 30), 5)]))
        reader.say_cut()
    finally:
        log.removeFilter(refuse)
    assert capsys.readouterr().err.count("ValueError: a filter") == 2


async def test_a_worker_whose_settings_cannot_be_made_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    from unified_exec._pools.process import worker_spec

    started: list[Any] = []
    start: Any = WorkerSpec.start_child

    def note(self: WorkerSpec, environment: dict[str, str]) -> Any:
        started.append(start(self, environment))
        return started[-1]

    def refuse(*args: object) -> bytes:
        raise TypeError("strange settings")

    monkeypatch.setattr(WorkerSpec, "start_child", note)
    monkeypatch.setattr(worker_spec, "dumps", refuse)
    async with ProcessPool(1) as pool, TaskScope(processes=pool, policy=Collect(), timeout=30) as scope:
        task: Any = scope.spawn(abs, -1, on="process")
    assert isinstance(task.exception(), WorkerStartError)
    assert not any(tasks.exists(child.pid) for child in started)


async def test_loops_that_see_other_surroundings_at_the_same_time_do_not_take_them_for_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels_now, others = log_levels.levels_now, []

    def as_another_thread_looks() -> Any:
        monkeypatch.setattr(log_levels, "levels_now", levels_now)
        monkeypatch.setenv("UNIFIED_EXEC_TEST_OTHER", "1")
        others.append(surroundings.snapshot())
        return levels_now()

    monkeypatch.setattr(log_levels, "levels_now", as_another_thread_looks)
    monkeypatch.setenv("UNIFIED_EXEC_TEST_ONE", "1")
    one = surroundings.snapshot()
    assert one.number != others[0].number


def test_a_fork_forgets_all_blocks_though_other_threads_make_some(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blocks:
        forgotten = False

        def forget(self) -> None:
            self.forgotten = True
            made.append(Blocks())  # as another thread may
            shm_cache._all.add(made[-1])

    monkeypatch.setattr(shm_cache, "_all", weak_sets.Registry())
    made = [Blocks(), Blocks()]
    for blocks in made:
        shm_cache._all.add(blocks)
    shm_cache._before_fork()
    assert [blocks.forgotten for blocks in made] == [True, True, False, False]
