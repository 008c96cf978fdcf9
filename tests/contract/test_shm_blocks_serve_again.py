"""Large arrays go back and forth in the same memory: nobody's data change for it, and it is given back."""

from __future__ import annotations

import os
import random
from typing import Any

import anyio
import numpy as np
import pytest

from tests.leaks import LINUX
from tests.waiting import until_async
from unified_exec import ProcessPool, TaskCancelled, TaskScope
from unified_exec._platform.shm_cache import KEEP

pytestmark = [pytest.mark.one_loop, pytest.mark.skipif(not LINUX, reason="looks at descriptors in /proc")]
MIB = 1024 * 1024


def blocks_held(pid: int) -> int:
    """Descriptors of large blocks in a process; a worker's own page is not one of them."""
    held = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = f"/proc/{pid}/fd/{fd}"
            held += "memfd:unified_exec" in os.readlink(path) and os.stat(path).st_size >= MIB
        except OSError:
            pass  # closed since
    return held


def give_back(value: Any) -> Any:
    return value


def negative(value: Any) -> Any:
    return -value


def pid_of(value: Any) -> tuple[int, Any]:
    return os.getpid(), value


def fork_and_look(value: Any) -> tuple[int, int]:
    """Leave a child behind that looks at the value when it is told to: where to tell it, where it answers."""
    told, tell = os.pipe()
    answers, answer = os.pipe()
    if not os.fork():
        try:
            os.read(told, 1)
            os.write(answer, b"same" if (value == 1).all() else b"changed")
        finally:
            os._exit(0)
    return tell, answers


def ask_child(ends: tuple[int, int]) -> bytes:
    os.write(ends[0], b"!")
    said = os.read(ends[1], 10)
    os.wait()
    for fd in ends:
        os.close(fd)
    return said


async def test_arrays_that_are_held_keep_their_contents_whatever_comes_after() -> None:
    chance = random.Random(7)
    held: list[tuple[Any, int]] = []
    async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
        for turn in range(40):
            sent = [np.full(chance.randint(MIB // 2, 4 * MIB), turn + n, "i1") for n in range(3)]
            handles = [scope.spawn(negative, array, on="process") for array in sent]
            for n, handle in enumerate(handles):
                back = await handle
                assert (back == -(turn + n)).all()
                if chance.random() < 0.2:
                    held.append((back, -(turn + n)))
            assert all((array == turn + n).all() for n, array in enumerate(sent))
            if len(held) > 4:
                del held[chance.randrange(len(held))]
        assert all((array == value).all() for array, value in held)


async def test_cancelled_tasks_do_no_harm_to_the_others_arrays() -> None:
    chance = random.Random(11)
    value = np.full(2 * MIB, 5, "i1")
    async with ProcessPool(2) as pool:
        async with TaskScope(processes=pool) as scope:
            for _ in range(60):
                handles = [scope.spawn(negative, value, on="process") for _ in range(3)]
                await anyio.sleep(chance.random() * 0.004)  # the cancellations are spread over the whole of a task
                handles[chance.randrange(3)].cancel()
                for handle in handles:
                    try:
                        assert (await handle == -5).all()
                    except TaskCancelled:
                        pass
            assert (value == 5).all()
            handle = scope.spawn(pid_of, value, on="process")
            pid, _ = await handle
        del handle, handles, _
        assert await until_async(lambda: not blocks_held(pid))
        assert await until_async(lambda: not blocks_held(os.getpid()))


async def test_the_memory_is_given_back_soon_after_the_last_array() -> None:
    before = blocks_held(os.getpid())
    value = np.ones(MIB, "i1")
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        most = 0
        for _ in range(5):
            pid, back = await scope.spawn(pid_of, value, on="process")
            del back
            most = max(most, blocks_held(os.getpid()) - before)
        assert most  # or there would be nothing to give back
        assert await until_async(lambda: blocks_held(os.getpid()) == before)
        assert await until_async(lambda: not blocks_held(pid))
        assert await scope.spawn(pow, 2, 3, on="process") == 8


async def test_the_memory_is_given_back_though_small_tasks_leave_no_pause() -> None:
    value = np.ones(MIB, "i1")
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        for _ in range(3):
            pid, back = await scope.spawn(pid_of, value, on="process")
            del back
        assert blocks_held(pid)
        over = anyio.current_time() + 10 * KEEP
        while blocks_held(pid) and anyio.current_time() < over:
            assert await scope.spawn(pow, 2, 3, on="process") == 8
        assert not blocks_held(pid)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
async def test_the_child_of_a_task_keeps_what_it_sees() -> None:
    ones, twos = np.ones(2 * MIB, "i1"), np.full(2 * MIB, 2, "i1")
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        for _ in range(3):
            await scope.spawn(give_back, ones, on="process")
        ends = await scope.spawn(fork_and_look, ones, on="process")
        for _ in range(3):
            await scope.spawn(give_back, twos, on="process")
        assert await scope.spawn(ask_child, ends, on="process") == b"same"
