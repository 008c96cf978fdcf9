"""Law 1.6: whatever happens at whatever point of a task's way, only that task fails."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import tasks
from unified_exec import Collect, ProcessPool, RemoteError, SerializationError, TaskScope, WorkerCrashed

pytestmark = pytest.mark.one_loop

PICKLED = (ValueError, SerializationError)
# What happens (in the worker, where the parent itself would die of it), and what may become of the task.
FAULTS: dict[str, tuple[type[BaseException], ...]] = {
    "error": PICKLED,
    "sys.exit": (RemoteError,),
    "interrupt": (RemoteError,),
    **dict.fromkeys(tasks.DEATHS, (WorkerCrashed,)),
}


async def check_only_that_task_fails(fn: Any, args: tuple[Any, ...], expected: tuple[type[BaseException], ...]) -> None:
    async with ProcessPool(max_workers=2) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        before = [scope.spawn(tasks.double, n, on="process") for n in range(5)]
        victim = scope.spawn(fn, *args, on="process")
        after = [scope.spawn(tasks.double, n, on="process") for n in range(5)]
        assert [await handle for handle in before] == [0, 2, 4, 6, 8]
        assert [await handle for handle in after] == [0, 2, 4, 6, 8]
        await victim.wait()
        assert isinstance(victim.exception(), expected), victim.exception()
        # A second time, alone: the worker that is used now must be whole.
        again = scope.spawn(fn, *args, on="process")
        await again.wait()
        assert isinstance(again.exception(), expected), again.exception()
        assert await scope.spawn(tasks.double, 21, on="process") == 42


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_while_arguments_are_unpickled_costs_one_task(what: str, home: int) -> None:
    await check_only_that_task_fails(tasks.take, (tasks.Trap("unpickle", what, home),), FAULTS[what])


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_while_the_task_runs_costs_one_task(what: str) -> None:
    await check_only_that_task_fails(tasks.spring, (what,), FAULTS[what])


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_while_the_result_is_pickled_costs_one_task(what: str, home: int) -> None:
    await check_only_that_task_fails(tasks.make_trap, ("pickle", what), FAULTS[what])


@pytest.mark.parametrize("what", ["error", "sys.exit", "interrupt"])
async def test_a_fault_while_the_result_is_unpickled_costs_one_task(what: str) -> None:
    # A crash at this point is the parent's own: the result is rebuilt in it.
    await check_only_that_task_fails(make_far_trap, (what, 0), FAULTS[what])


@pytest.mark.parametrize("what", ["error", "sys.exit", "interrupt"])
async def test_a_fault_while_a_large_result_is_unpickled_off_the_loop_costs_one_task(what: str) -> None:
    await check_only_that_task_fails(make_far_trap, (what, 2_000_000), FAULTS[what])


async def test_an_error_while_arguments_are_pickled_is_raised_by_spawn_and_touches_no_worker() -> None:
    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        with pytest.raises(SerializationError, match="sprung"):
            scope.spawn(tasks.take, tasks.Trap("pickle", "error"), on="process")
        assert not pool._registry.workers
        pid = await scope.spawn(tasks.pid, on="process")
        with pytest.raises(SerializationError):
            scope.spawn(tasks.take, tasks.Trap("pickle", "error"), on="process")
        assert await scope.spawn(tasks.pid, on="process") == pid


async def test_leaving_the_program_while_arguments_are_pickled_is_the_callers_own_doing() -> None:
    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        with pytest.raises(SystemExit):
            scope.spawn(tasks.take, tasks.Trap("pickle", "sys.exit"), on="process")
        assert await scope.spawn(tasks.double, 21, on="process") == 42


def make_far_trap(what: str, ballast: int) -> Any:
    """A trap that springs wherever it is unpickled, behind `ballast` bytes of ordinary objects."""
    return ["x" * ballast, tasks.Trap("unpickle", what)]


@pytest.fixture
def home() -> int:
    import os

    return os.getpid()
