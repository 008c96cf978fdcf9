"""Law 1.6: a crash is one task's problem."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults import tasks
from tests.profiles import examples
from tests.waiting import until_async
from unified_exec import Collect, ProcessPool, TaskScope, WorkerCrashed

pytestmark = pytest.mark.one_loop

HOW = {"exit": (7, "exit code 7"), "segfault": (-11, "SIGSEGV"), "abort": (-6, "SIGABRT"), "kill": (-9, "SIGKILL")}


def crash_of(handle: Any) -> WorkerCrashed:
    error = handle.exception()
    assert isinstance(error, WorkerCrashed), error
    return error


async def strength(pool: ProcessPool, path: Path) -> int:
    """Count the workers that work at the same time."""
    gate = path / "strength-gate"
    log = str(path / "strength")
    async with TaskScope(processes=pool) as scope:
        for number in range(pool.max_workers + 1):
            scope.spawn(tasks.note_and_wait, log, number, str(gate), on="process")
        await until_async(lambda: len(tasks.noted(log)) >= pool.max_workers)
        running = len(tasks.noted(log))
        gate.touch()
    return running


@pytest.mark.parametrize("how", tasks.DEATHS)
async def test_the_death_of_a_worker_fails_its_task_and_says_how(how: str) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handle = scope.spawn(tasks.die, how, on="process", name="victim")
    error = crash_of(handle)
    assert (error.task, error.pid, error.exitcode) == ("victim", handle.worker, HOW[how][0])
    assert "victim" in str(error)
    assert str(error.pid) in str(error)
    assert HOW[how][1] in str(error)


async def test_the_death_of_a_worker_is_a_failure_like_any_other() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerCrashed, match="victim")):
        async with TaskScope() as scope:
            scope.spawn(tasks.hang, on="process")
            scope.spawn(tasks.die, "kill", on="process", name="victim")


@pytest.mark.parametrize("how", tasks.DEATHS)
async def test_of_tasks_sent_ahead_only_the_one_that_had_started_fails_and_none_runs_twice(
    how: str, tmp_path: Path
) -> None:
    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=2) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            warm = [scope.spawn(tasks.note_and_return, log, f"w{n}", on="process") for n in range(100)]
            for handle in warm:
                await handle.wait()
            handles = {}
            for number in range(150):
                if number % 50 == 25:
                    handles[number] = scope.spawn(tasks.note_and_die, log, number, how, on="process")
                else:
                    handles[number] = scope.spawn(tasks.note_and_return, log, number, on="process")
        for number, handle in handles.items():
            if number % 50 == 25:
                assert crash_of(handle).pid == handle.worker
            else:
                assert handle.result() == number
        assert sorted(tasks.noted(log)) == sorted([f"w{n}" for n in range(100)] + [str(n) for n in range(150)])
        assert await strength(pool, tmp_path) == 2


async def test_a_worker_killed_while_it_is_busy_costs_the_task_it_runs(tmp_path: Path) -> None:
    log, gate = str(tmp_path / "log"), tmp_path / "gate"
    async with ProcessPool(max_workers=2) as pool:
        async with TaskScope(policy=Collect(), processes=pool) as scope:
            handles = [scope.spawn(tasks.note_and_wait, log, n, str(gate), on="process") for n in range(6)]
            assert await until_async(lambda: len(tasks.noted(log)) == 2)
            number, pid = map(int, tasks.noted(log)[0].split(":"))
            os.kill(pid, signal.SIGKILL)
            await handles[number].wait()
            gate.touch()
        for n, handle in enumerate(handles):
            if n == number:
                assert (crash_of(handle).pid, crash_of(handle).exitcode) == (pid, -9)
            else:
                assert handle.result() == n
        assert sorted(line.split(":")[0] for line in tasks.noted(log)) == list("012345")
        assert await strength(pool, tmp_path) == 2


async def test_a_worker_killed_while_it_is_idle_costs_nothing(tmp_path: Path) -> None:
    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        pid = await scope.spawn(tasks.pid, on="process")
        os.kill(pid, signal.SIGKILL)
        # It may or may not be dead when this is sent: either way the task must run.
        other = await scope.spawn(tasks.pid, on="process")
        assert other != pid
        assert await until_async(lambda: not tasks.exists(pid))
        assert await scope.spawn(tasks.pid, on="process") == other


async def test_a_worker_killed_while_it_starts_costs_nothing(tmp_path: Path) -> None:
    async with ProcessPool(max_workers=2) as pool, TaskScope(processes=pool) as scope:
        handles = [scope.spawn(tasks.note_and_return, str(tmp_path / "log"), n, on="process") for n in range(4)]
        await until_async(lambda: pool._registry.workers)
        for worker in list(pool._registry.workers):
            os.kill(worker.pid, signal.SIGKILL)
        assert [await handle for handle in handles] == [0, 1, 2, 3]
        assert sorted(tasks.noted(str(tmp_path / "log"))) == list("0123")
        assert await strength(pool, tmp_path) == 2


async def test_results_that_were_finished_before_the_death_are_kept(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    lost, rounds = 0, examples(8, nightly=20)
    async with ProcessPool(max_workers=2) as pool:
        for number in range(rounds):
            async with TaskScope(policy=Collect(), processes=pool) as scope:
                pid = await scope.spawn(tasks.pid, on="process")
                names = [f"{number}.{n}" for n in range(100)]
                handles = [scope.spawn(tasks.note_and_return, log, name, on="process") for name in names]
                await handles[number * 60 // rounds].wait()
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            failed = [handle for handle in handles if handle.exception() is not None]
            for handle in failed:
                assert crash_of(handle).pid == pid
            assert len(failed) <= 1
            lost += len(failed)
        ran = tasks.noted(log)
        assert len(ran) == len(set(ran))
        # The one that had begun may have died before its first line.
        assert 100 * rounds - lost <= len(ran) <= 100 * rounds


async def test_answers_that_are_first_seen_when_the_worker_is_dead_are_kept(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        await scope.spawn(tasks.note_and_return, log, "warm", on="process")
        (worker,) = pool._registry.workers
        adapter = next(iter(pool._registry.lanes))
        for sock in (worker.child.tasks, worker.child.control):
            adapter.remove_reader(sock.fileno())  # now only the end of the process is noticed
        small = scope.spawn(tasks.note_and_return, log, "small", on="process")
        assert await until_async(lambda: len(tasks.noted(log)) == 2)
        assert await until_async(lambda: select.select([worker.child.tasks], [], [], 0)[0])
        os.kill(worker.pid, signal.SIGKILL)
        assert await small == "small"


async def test_a_large_result_on_its_way_when_the_worker_dies_is_kept(tmp_path: Path) -> None:
    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        for _ in range(3):
            large = scope.spawn(bytes, 3_000_000, on="process")
            dying = scope.spawn(tasks.die, "exit", on="process")
            assert len(await large) == 3_000_000
            await dying.wait()
            crash_of(dying)


async def test_every_worker_may_die_again_and_again_and_the_pool_stays_at_full_strength(tmp_path: Path) -> None:
    async with ProcessPool(max_workers=2) as pool:
        for _ in range(3):
            async with TaskScope(policy=Collect(), processes=pool) as scope:
                handles = [scope.spawn(tasks.die, "kill", on="process") for _ in range(4)]
            assert len({crash_of(handle).pid for handle in handles}) == 4
        assert await strength(pool, tmp_path) == 2


async def test_a_dying_coroutine_worker_fails_every_coroutine_it_ran_and_no_other(tmp_path: Path) -> None:
    async def wait(log: str) -> None:
        import asyncio

        tasks.note(log, "here")
        await asyncio.sleep(1000)

    async def fine() -> int:
        return os.getpid()

    log = str(tmp_path / "log")
    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        waiting = [scope.spawn(wait, log, on="process") for _ in range(3)]
        assert await until_async(lambda: len(tasks.noted(log)) == 3)
        pid = await scope.spawn(fine, on="process")  # so the last one that it has started has ended
        os.kill(pid, signal.SIGKILL)
        assert await scope.spawn(fine, on="process") != pid
        assert [crash_of(handle).exitcode for handle in waiting] == [-9] * 3
        assert len(tasks.noted(log)) == 3
