"""Large buffers travel through anonymous shared memory, in both directions, and nothing of them stays."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.profiles import examples
from tests.waiting import has_ended, until, until_async
from unified_exec import Collect, ProcessPool, SerializationError, TaskScope, TaskState, WorkerCrashed, share

pytestmark = pytest.mark.one_loop

ROOT = str(Path(__file__).parents[2])
LARGE = 300_000


def block_count(pid: int) -> int:
    """Mappings of anonymous shared memory in a process, the status pages of workers included."""
    return sum("memfd:unified_exec" in mapping.path for mapping in psutil.Process(pid).memory_maps(grouped=False))


def give_back(value: Any) -> Any:
    return value


def pid_and_blocks(value: Any) -> tuple[int, int]:
    return os.getpid(), block_count(os.getpid())


def blocks() -> int:
    return block_count(os.getpid())


def change_first(value: Any) -> Any:
    value[0] = 7
    return value


class Frame:
    """Offers its columns as pickle-5 buffers, as pandas and Arrow do."""

    def __init__(self, *columns: Any) -> None:
        self.columns = columns

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Frame, tuple(pickle.PickleBuffer(column) for column in self.columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and [*map(bytes, self.columns)] == [*map(bytes, other.columns)]

    __hash__ = None  # type: ignore[assignment]


VALUES = {
    "bytes": lambda: bytes(range(256)) * (LARGE // 256),
    "bytearray": lambda: bytearray(range(256)) * (LARGE // 256),
    "memoryview": lambda: memoryview(bytearray(range(256)) * (LARGE // 256)),
    "cast memoryview": lambda: memoryview(bytearray(8 * LARGE)).cast("d", (LARGE // 10, 10)),
    "array": lambda: np.arange(LARGE, dtype="f8"),
    "Fortran array": lambda: np.asfortranarray(np.arange(LARGE, dtype="f8").reshape(3, -1)),
    "strided array": lambda: np.arange(2 * LARGE, dtype="f8")[::2],
    "structured array": lambda: np.zeros(LARGE, dtype=[("a", "f8"), ("b", "i2")]),
    "buffers of an object": lambda: Frame(bytes(LARGE), b"\x01" * LARGE),
    "many in one": lambda: {n: np.full(LARGE, n, "u1") for n in range(5)},
}


@pytest.mark.parametrize("kind", VALUES)
async def test_a_large_value_comes_back_as_it_went(kind: str) -> None:
    value = VALUES[kind]()
    async with TaskScope() as scope:
        back = await scope.spawn(give_back, value, on="process")
    assert type(back) is type(value)
    if isinstance(value, dict):
        assert all(np.array_equal(back[key], value[key]) for key in value)
    elif isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        assert np.array_equal(back, value)
    else:
        assert back == value


@pytest.mark.parametrize("kind", ["array", "bytearray", "memoryview"])
async def test_the_receiver_may_write_and_the_senders_data_stay(kind: str) -> None:
    value = VALUES[kind]()
    async with TaskScope() as scope:
        back = await scope.spawn(change_first, value, on="process")
    assert (value[0], back[0]) == (0, 7)
    back[1] = 9
    assert value[1] != 9


def sort_in_place(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    values.sort(axis=0)
    return values


def read_only(count: int, order: str = "C") -> np.ndarray[Any, Any]:
    values = np.array(np.arange(count)[::-1].reshape(-1, 2), order=order)  # type: ignore[call-overload]
    values.flags.writeable = False
    return values


@pytest.mark.parametrize("count", [10, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("order", ["C", "F"])
async def test_a_read_only_array_arrives_writable_in_the_task_and_in_the_result(count: int, order: str) -> None:
    values = read_only(count, order)
    async with TaskScope() as scope:
        back = await scope.spawn(sort_in_place, values, on="process")
        same = await scope.spawn(read_only, count, order, on="process")
        nested = await scope.spawn(
            lambda pair: (pair[0] is pair[1], sort_in_place(pair[0])), [values] * 2, on="process"
        )
    assert np.array_equal(back, values[::-1])
    assert np.array_equal(same, values)
    assert nested[0]
    assert back.flags.writeable
    assert same.flags.writeable
    assert not values.flags.writeable
    assert values[0, 0] == count - 1


async def test_a_shared_read_only_array_stays_read_only() -> None:
    async with TaskScope() as scope:
        shared = share(read_only(LARGE))
        assert not await scope.spawn(lambda each: each.value.flags.writeable, shared, on="process")


@pytest.mark.parametrize("kind", ["bytes", "array", "buffers of an object"])
async def test_the_memory_is_freed_when_the_receiver_drops_the_value(kind: str) -> None:
    value = VALUES[kind]()
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        before = await scope.spawn(blocks, on="process")
        pid, _ = await scope.spawn(pid_and_blocks, value, on="process")
        assert await scope.spawn(blocks, on="process") == before
        here = block_count(os.getpid())
        back = await scope.spawn(give_back, value, on="process")
        if kind != "bytes":  # which own their memory: one copy
            assert block_count(os.getpid()) > here
        del back
        gc.collect()
        assert block_count(os.getpid()) <= here
        assert block_count(pid) == before


def refuse(value: Any) -> Any:
    raise ValueError(len(value))


def never_end(value: Any) -> Any:
    while True:
        time.sleep(0.001)


async def test_the_arguments_of_a_task_that_fails_or_is_stopped_are_freed_with_it() -> None:
    value = np.ones(LARGE)
    async with ProcessPool(1) as pool, TaskScope(processes=pool, policy=Collect()) as scope:
        await scope.spawn(gc.disable, on="process")
        before = await scope.spawn(blocks, on="process")
        with pytest.raises(ValueError, match=str(LARGE)):
            await scope.spawn(refuse, value, on="process")
        assert await scope.spawn(blocks, on="process") == before
        handle = scope.spawn(never_end, value, on="process")
        assert await until_async(lambda: handle.state is TaskState.RUNNING)
        handle.cancel()
        await handle.wait()
        assert await scope.spawn(blocks, on="process") == before


async def test_nothing_is_left_of_what_a_killed_worker_held() -> None:
    value = np.ones(LARGE)
    async with ProcessPool(1) as pool, TaskScope(processes=pool, policy=Collect()) as scope:
        await scope.spawn(blocks, on="process")
        here, descriptors = block_count(os.getpid()), len(os.listdir("/proc/self/fd"))
        with pytest.raises(WorkerCrashed):
            await scope.spawn(die_holding, value, on="process")
        await scope.spawn(blocks, on="process")  # by its successor
        assert await until_async(lambda: block_count(os.getpid()) == here)
        assert await until_async(lambda: len(os.listdir("/proc/self/fd")) == descriptors)


def die_holding(value: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


PARENT = """
import os, sys, time
import anyio, numpy as np
from tests.contract.test_large_data import hold
from unified_exec import TaskScope

async def main():
    values = [np.ones(1_000_000) for _ in range(20)]
    async with TaskScope() as scope:
        for value in values:
            scope.spawn(hold, value, sys.argv[1], on="process")
        await anyio.sleep_forever()

anyio.run(main)
"""


def hold(value: Any, note: str) -> None:
    Path(note).write_text(f"{os.getpid()}")
    time.sleep(1000)


def test_nothing_is_left_of_what_a_killed_parent_had_sent(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(note)], cwd=ROOT)
    try:
        assert until(lambda: note.exists() and note.read_text(), 30)
        worker = psutil.Process(int(note.read_text()))
        assert block_count(worker.pid) > 1
    finally:
        parent.kill()
        parent.wait()
    # Blocks have no name: with the last process that maps them they are gone.
    assert until(lambda: has_ended(worker))


@pytest.mark.fresh_pool
async def test_a_large_result_that_no_descriptor_is_left_for_fails_its_task_alone() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 64, hard))
    taken = list[int]()
    try:
        async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
            pid = await scope.spawn(os.getpid, on=pool)
            with suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            lost = scope.spawn(bytes, LARGE, on=pool)
            await lost.wait()
            while taken:
                os.close(taken.pop())
            with pytest.raises(SerializationError, match=r"could not be received: .* Too many open files"):
                lost.result()
            assert len(await scope.spawn(bytes, LARGE, on=pool)) == LARGE
            assert await scope.spawn(os.getpid, on=pool) == pid
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


MANY = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import anyio, numpy as np
from tests.contract.test_large_data import give_back
from unified_exec import TaskScope

async def main():
    value = np.arange(20_000, dtype="f8")
    async with TaskScope() as scope:
        handles = [scope.spawn(give_back, value, on="process") for _ in range(COUNT)]
        backs = [await handle for handle in handles]  # all of them live
    assert len({back.ctypes.data for back in backs}) == COUNT
    assert all(back[-1] == 19_999 for back in backs)
    print("all live")

anyio.run(main)
"""


@pytest.mark.timeout(240)
def test_queued_and_then_live_arrays_need_no_descriptor_each() -> None:
    script = MANY.replace("COUNT", str(examples(1_000, nightly=10_000)))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("all live\n", "")
