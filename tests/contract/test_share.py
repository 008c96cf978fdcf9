"""An object placed once in shared memory reaches any number of tasks, and goes when nobody needs it any more."""

from __future__ import annotations

import gc
import os
import weakref
from typing import Any

import anyio
import numpy as np
import psutil
import pytest

from tests.waiting import until_async
from unified_exec import ProcessPool, SerializationError, Shared, TaskScope, call, share

pytestmark = pytest.mark.one_loop


def total(shared: Shared[Any], start: int) -> tuple[float, bool]:
    return float(shared.value[start::10].sum()), bool(shared.value.flags.writeable)


def give_back(shared: Shared[Any]) -> Shared[Any]:
    return shared


def nested_total(shared: Shared[Any]) -> tuple[float, bool]:
    async def main() -> tuple[float, bool]:
        return await call(total, shared, 0, on="process")

    return anyio.run(main)


async def first(shared: Shared[Any]) -> float:
    return float(shared.value[0])


def block_count(pid: int) -> int:
    """Mappings of anonymous shared memory in a process, the status page of a worker included."""
    return sum(
        "unified_exec" in mapping.path and not mapping.path.endswith(".so")
        for mapping in psutil.Process(pid).memory_maps(grouped=False)
    )


async def test_a_shared_array_reaches_tasks_on_every_backend() -> None:
    array = np.arange(100_000, dtype=float)
    shared = share(array)
    async with TaskScope() as scope:
        parts = [scope.spawn(total, shared, start, on="process") for start in range(10)]
        assert sum([(await part)[0] for part in parts]) == array.sum()
        assert (await scope.spawn(total, shared, 0, on="thread"))[0] == array[::10].sum()
        assert await scope.spawn(first, shared) == 0.0
        assert await scope.spawn(first, shared, on="process") == 0.0


async def test_its_large_buffers_are_read_only_everywhere() -> None:
    shared = share(np.ones(100_000))
    assert (await call(total, shared, 0, on="process"))[1] is False
    assert shared.value.flags.writeable is False


async def test_a_shared_object_comes_back_as_the_same_handle() -> None:
    shared = share([1, 2, 3])
    assert await call(give_back, shared, on="process") is shared


@pytest.mark.fresh_pool
async def test_a_worker_can_hand_it_on_to_workers_of_its_own() -> None:
    shared = share(np.ones(1000))
    assert (await call(nested_total, shared, on="process"))[0] == 100.0


@pytest.mark.fresh_pool
async def test_the_memory_is_freed_when_the_handle_is_dropped() -> None:
    shared = share(np.ones(1_000_000))
    watched = weakref.ref(shared)
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        task = scope.spawn(total, shared, 0, on="process")
        await task
        assert task.worker is not None
        before = block_count(task.worker)
        pid = task.worker
        del shared, task
        gc.collect()
        assert watched() is None
        assert await until_async(lambda: block_count(pid) < before)
    assert not any("memfd:unified_exec" in os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors())


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_an_object_that_cannot_travel_is_refused_at_once() -> None:
    with open(os.devnull) as file, pytest.raises(SerializationError, match="the shared object"):
        share(file)
