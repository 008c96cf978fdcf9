"""Law 1.7: no head-of-line blocking. And nothing is lost or run twice while workers come and go."""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from pathlib import Path

import anyio
import pytest

from tests.contract import stops
from tests.contract.conftest import Folder
from tests.profiles import examples
from tests.stress import victims
from tests.waiting import until_async
from unified_exec import Collect, ProcessPool, TaskScope

pytestmark = pytest.mark.one_loop


@pytest.mark.parametrize("known", [True, False], ids=["known as short", "unknown"])
async def test_short_tasks_do_not_wait_behind_a_long_one_while_another_worker_is_free(
    known: bool, folder: Folder
) -> None:
    async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
        for _ in range(100 if known else 0):
            await scope.spawn(stops.maybe_hold, folder.path, "", False, on="process")
        slow = scope.spawn(stops.maybe_hold, folder.path, "slow", True, on="process")
        short = [scope.spawn(stops.maybe_hold, folder.path, "", False, on="process") for _ in range(200)]
        for handle in short:
            await handle  # hangs if one of them waits for the slow one
        assert not slow.done()
        folder.release("slow")
        assert await slow not in {handle.worker for handle in short[1:]} or not known


async def test_what_waits_behind_a_long_task_moves_when_another_worker_becomes_free(folder: Folder) -> None:
    async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
        for _ in range(100):
            await scope.spawn(stops.maybe_hold, folder.path, "", False, on="process")
        held = [scope.spawn(stops.maybe_hold, folder.path, name, True, on="process") for name in "ab"]
        await folder.started("a", "b")
        short = [scope.spawn(stops.maybe_hold, folder.path, "", False, on="process") for _ in range(50)]
        folder.release("a")
        for handle in (held[0], *short):
            await handle
        assert not held[1].done()
        folder.release("b")


async def test_a_single_task_passes_the_many_of_another_scope() -> None:
    many = 20_000
    async with ProcessPool(2) as pool:
        async with TaskScope(processes=pool) as crowd:
            await crowd.spawn(abs, 0, on="process")
            handles = [crowd.spawn(abs, n, on="process") for n in range(many)]
            async with TaskScope(processes=pool) as single:
                assert await single.spawn(abs, -1, on="process") == 1
            done = sum(handle.done() for handle in handles)
            assert done < many / 5, f"{done} others were done first"


def test_two_event_loops_share_a_pool(tmp_path: Path) -> None:
    """The first holds all workers; the second gets one of its own, and later theirs."""
    pool = ProcessPool(2)
    folder = Folder(tmp_path)
    answers: list[int] = []

    async def second() -> None:
        async with TaskScope(processes=pool) as scope:
            answers.extend([await scope.spawn(abs, -n, on="process") for n in range(5)])
        folder.release("a", "b")

    async def first() -> None:
        async with TaskScope(processes=pool) as scope:
            for name in "ab":
                scope.spawn(stops.maybe_hold, tmp_path, name, True, on="process")
            await folder.started("a", "b")
            thread = threading.Thread(target=anyio.run, args=(second,))
            thread.start()
            assert await until_async(lambda: not thread.is_alive(), 60)

    anyio.run(first)
    assert answers == list(range(5))
    pool.close()


def test_two_event_loops_lend_each_other_their_idle_workers(tmp_path: Path) -> None:
    pool = ProcessPool(2)
    folder = Folder(tmp_path)
    ready, over = threading.Event(), threading.Event()

    async def owner() -> None:
        async with TaskScope(processes=pool) as scope:
            for name in "ab":
                scope.spawn(stops.maybe_hold, tmp_path, name, True, on="process")
            await folder.started("a", "b")
            folder.release("a", "b")
        ready.set()
        await anyio.to_thread.run_sync(over.wait)

    async def borrower() -> None:
        async with TaskScope(processes=pool) as scope:
            for name in "cd":
                scope.spawn(stops.maybe_hold, tmp_path, name, True, on="process")
            await folder.started("c", "d")  # both at the same time
            folder.release("c", "d")

    thread = threading.Thread(target=anyio.run, args=(owner,))
    thread.start()
    ready.wait()
    try:
        anyio.run(borrower)
    finally:
        over.set()
        thread.join()
    pool.close()


async def test_two_pools_do_not_wait_for_each_other(folder: Folder) -> None:
    async with ProcessPool(1) as one, ProcessPool(1) as other, TaskScope() as scope:
        held = scope.spawn(stops.maybe_hold, folder.path, "held", True, on=one)
        await folder.started("held")
        assert await scope.spawn(abs, -1, on=other) == 1
        assert not held.done()
        folder.release("held")


async def test_a_pool_of_one_runs_one_task_at_a_time(folder: Folder) -> None:
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        handles = [scope.spawn(stops.tell_who_runs, folder.path, f"t{n}", on="process") for n in range(50)]
        assert [await handle for handle in handles] == [1] * 50


async def test_nothing_is_lost_or_run_twice_while_idle_workers_retire(tmp_path: Path) -> None:
    """Tasks come at the very moment the workers give up waiting for them."""
    journal = tmp_path / "journal"
    journal.touch()
    dice = random.Random(os.getpid())
    idle = 0.02
    pool = ProcessPool(2, idle_timeout=idle, initializer=victims.open_journal, initargs=(str(journal), str(tmp_path)))
    async with pool, TaskScope(processes=pool) as scope:
        number = 0
        for _ in range(examples(20, nightly=200)):
            batch = []
            for _ in range(dice.choice((1, 1, 2, 5))):
                number += 1
                batch.append(scope.spawn(victims.brief, number, 10, on="process"))
            for handle in batch:
                await handle
            await anyio.sleep(idle * dice.uniform(0.9, 1.1))
    begun = Counter(line.split()[0] for line in journal.read_text().splitlines() if line.endswith("begun"))
    assert begun == Counter(str(n) for n in range(1, number + 1))


async def test_nothing_is_lost_or_run_twice_while_every_task_has_a_worker_of_its_own(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.touch()
    start = victims.open_journal, (str(journal), str(tmp_path))
    async with (
        ProcessPool(2, max_tasks_per_worker=1, initializer=start[0], initargs=start[1]) as pool,
        TaskScope(policy=Collect(), processes=pool) as scope,
    ):
        handles = [scope.spawn(victims.brief, n, 10, on="process") for n in range(1, 13)]
        for handle in handles[9:]:
            handle.cancel()
        for handle in handles:
            await handle.wait()
    lines = [line.split() for line in journal.read_text().splitlines() if line.endswith("begun")]
    assert Counter(line[0] for line in lines) == Counter(str(n) for n in range(1, 10))
    assert len({line[1] for line in lines}) == 9


async def test_more_coroutines_than_a_socket_holds_all_start(folder: Folder) -> None:
    async with ProcessPool(1) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
        handles = [scope.spawn(stops.a_sleep, on="process") for _ in range(900)]
        assert await scope.spawn(stops.a_pid, on="process") == handles[0].worker
        scope.cancel_scope.cancel()
