"""Law 1.4: no argument and no result of any kind may hang or break a pool."""

from __future__ import annotations

import gc
import os
from typing import Any

import psutil
import pytest

from tests.faults import tasks
from tests.profiles import examples
from unified_exec import Collect, ProcessPool, SerializationError, TaskScope

pytestmark = pytest.mark.one_loop

MIB = 1 << 20


class PicklesOnly:
    """Goes out, but cannot be rebuilt."""

    def __reduce__(self) -> Any:
        return tasks.spring, ("error",)


def make_pickles_only() -> PicklesOnly:
    return PicklesOnly()


@pytest.mark.parametrize("call", [(tasks.take, PicklesOnly()), (make_pickles_only,)], ids=["argument", "result"])
async def test_what_pickles_but_does_not_unpickle_is_an_error_that_names_the_task(call: Any) -> None:
    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        pid = await scope.spawn(tasks.pid, on="process")
        handle = scope.spawn(*call, on="process")
        await handle.wait()
        error = handle.exception()
        assert isinstance(error, SerializationError)
        assert f"{call[0].__name__}()" in str(error)
        assert "sprung" in str(error)
        assert await scope.spawn(tasks.pid, on="process") == pid


@pytest.mark.parametrize("make", ["lock", "socket", "generator", "frame", "file"])
async def test_a_result_that_cannot_travel_is_an_error_that_names_the_task(make: str) -> None:
    def thing() -> Any:
        import socket
        import sys
        import threading

        kinds = {
            "lock": threading.Lock,
            "socket": socket.socket,
            "generator": lambda: (n for n in ()),
            "frame": sys._getframe,
            "file": lambda: open(os.devnull),
        }
        return {"deep": [kinds[make]()]}

    async with ProcessPool(max_workers=1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        pid = await scope.spawn(tasks.pid, on="process")
        handle = scope.spawn(thing, on="process")
        await handle.wait()
        assert isinstance(handle.exception(), SerializationError)
        assert "thing()" in str(handle.exception())
        assert await scope.spawn(tasks.pid, on="process") == pid


def need(megabytes: int) -> None:
    free = psutil.virtual_memory().available // MIB
    if free < megabytes:
        pytest.skip(f"needs {megabytes} MiB of free memory, {free} are there")


@pytest.mark.parametrize("megabytes", [1, examples(200, nightly=1024)])
@pytest.mark.timeout(300)
async def test_large_bytes_come_back_whole(megabytes: int) -> None:
    need(megabytes * 4)
    size = megabytes * MIB

    def make() -> bytes:
        return b"0123456789abcdef" * (size // 16)

    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        handle = scope.spawn(make, on="process")
        result = await handle
    assert len(result) == size
    assert result[:16] == result[-16:] == b"0123456789abcdef"
    assert result[size // 2 : size // 2 + 16] == b"0123456789abcdef"


async def test_large_arrays_go_there_and_back_writable_and_leave_the_senders_alone() -> None:
    numpy = pytest.importorskip("numpy")
    need(1000)

    def add(array: Any) -> Any:
        array += 1
        return array

    array = numpy.zeros(25 * MIB)  # 200 MiB
    async with ProcessPool(max_workers=1) as pool, TaskScope(processes=pool) as scope:
        back = await scope.spawn(add, array, on="process")
    assert array.sum() == 0
    assert back.sum() == 25 * MIB
    back += 1
    del back
    gc.collect()


async def test_many_objects_that_make_a_large_pickle_come_back() -> None:
    def make() -> list[str]:
        return [str(n) for n in range(1_000_000)]

    async with TaskScope() as scope:
        result = await scope.spawn(make, on="process")
    assert result == [str(n) for n in range(1_000_000)]


async def test_a_hundred_large_arguments_sent_at_once_cost_no_hundred_descriptors() -> None:
    async with ProcessPool(max_workers=2) as pool, TaskScope(processes=pool) as scope:
        await scope.spawn(tasks.pid, on="process")
        before = len(os.listdir("/proc/self/fd"))
        handles = [scope.spawn(len, bytes(MIB), on="process") for _ in range(100)]
        assert len(os.listdir("/proc/self/fd")) < before + 30
        assert [await handle for handle in handles] == [MIB] * 100
