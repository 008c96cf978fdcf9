"""`limit=`: what tasks wait for, shared between places and scopes; fair, safe to cancel."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel

from tests.scope import many
from tests.scope.many import PLACES, Place
from tests.waiting import until_async
from unified_exec import Collect, Limit, ProcessPool, Retry, TaskScope, TaskState


def going(folder: Path) -> int:
    ended = len(list(folder.glob("*.ended")))
    return len(list(folder.glob("*.started"))) - ended


async def test_a_limit_bounds_what_runs_at_once_wherever_it_runs(tmp_path: Path) -> None:
    limit = Limit(2)
    async with ProcessPool(4) as processes, TaskScope(processes=processes) as scope:
        handles = {
            f"{name}-{n}": scope.spawn(place.fn(many.hold), tmp_path, f"{name}-{n}", on=place.on, limit=limit)
            for n in range(2)
            for name, place in PLACES.items()
        }
        for left in range(len(handles), 0, -1):
            assert await until_async(lambda left=left: going(tmp_path) == min(2, left), 60)  # type: ignore[misc]
            assert [each.state for each in handles.values()].count(TaskState.RUNNING) <= 2
            assert limit.free == max(0, 2 - left)
            started = {path.stem for path in tmp_path.glob("*.started")}
            name = min(name for name in started if not handles[name].done())
            (tmp_path / f"{name}.go").touch()
            assert await handles[name] == name
    assert limit.free == 2


async def test_who_comes_first_is_let_in_first(place: Place, tmp_path: Path) -> None:
    limit = Limit(1)
    async with ProcessPool(2) as processes, TaskScope(processes=processes) as scope:
        handles = []
        for n in range(5):
            handles.append(scope.spawn(place.fn(many.hold), tmp_path, str(n), on=place.on, limit=limit))
            await anyio.wait_all_tasks_blocked()  # a coroutine asks when it begins; trio begins them in any order
        for n, handle in enumerate(handles):
            assert await until_async((tmp_path / f"{n}.started").exists, 60)
            assert not (tmp_path / f"{n + 1}.started").exists()
            (tmp_path / f"{n}.go").touch()
            await handle.wait()


async def test_cancelling_one_that_waits_lets_the_next_in(place: Place, tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope(policy=Collect()) as scope:
        one = scope.spawn(place.fn(many.hold), tmp_path, "a", on=place.on, limit=limit)
        assert await until_async((tmp_path / "a.started").exists, 60)
        two, three = (scope.spawn(place.fn(many.hold), tmp_path, name, on=place.on, limit=limit) for name in "bc")
        two.cancel()
        await two.wait()
        assert two.cancelled()
        one.cancel()
        assert await until_async((tmp_path / "c.started").exists, 60)
        (tmp_path / "c.go").touch()
        assert await three == "c"
    assert not (tmp_path / "b.started").exists()
    assert limit.free == 1


async def test_leaving_the_scope_by_force_gives_every_place_back(place: Place, tmp_path: Path) -> None:
    limit = Limit(2)
    async with TaskScope() as scope:
        for n in range(6):
            scope.spawn(place.fn(many.hold), tmp_path, str(n), on=place.on, limit=limit)
        assert await until_async(lambda: going(tmp_path) == 2, 60)
        scope.cancel()
    assert limit.free == 2


async def test_a_number_counts_the_calls_of_one_function_in_one_scope(tmp_path: Path) -> None:
    async with TaskScope() as scope:
        for n in range(4):
            scope.spawn(partial(many.hold, tmp_path), str(n), limit=2)
        other = scope.spawn(many.double, 1, limit=2)
        assert await other == 2
        assert await until_async(lambda: going(tmp_path) == 2, 60)
        for n in range(4):
            (tmp_path / f"{n}.go").touch()


async def test_arguments_are_pickled_at_once_though_the_call_waits(tmp_path: Path) -> None:
    limit = Limit(1)
    items = [1]
    async with TaskScope() as scope:
        async with limit:
            async with TaskScope() as beside:  # in a task of its own it would be nested work
                pass
            held = scope.spawn(many.hold, tmp_path, "held", on="process", limit=limit)
            waits = scope.spawn(sum, items, on="process", limit=limit)
            items.append(2)
        del beside
        (tmp_path / "held.go").touch()
        assert await waits == 1
        assert await held == "held"


async def test_a_failure_and_a_crash_give_the_place_back(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope(policy=Collect()) as scope:
        scope.spawn(many.fail_odd, 1, limit=limit)
        scope.spawn(many.a_fail_odd, 1, limit=limit)
        scope.spawn(many.crash_first, tmp_path, "x", on="process", limit=limit)
        assert await scope.spawn(many.double, 2, on="process", limit=limit) == 4
    assert limit.free == 1


async def test_each_try_waits_for_the_limit(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope() as scope:
        for place in PLACES.values():
            handle = scope.spawn(
                place.fn(many.needs), tmp_path, str(place), 3, on=place.on, retry=Retry(2), limit=limit
            )
            assert await handle == str(place)
    assert limit.free == 1
