"""`scope.map`: lazy, bounded, in order, complete; at every place and on every loop."""

from __future__ import annotations

import contextvars
import tempfile
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from tests.scope import many
from tests.scope.many import PLACES, AsyncSource, Chaos, Gone, Place, Source, collect
from tests.waiting import until_async
from unified_exec import (
    Collect,
    ProcessPool,
    Retry,
    TaskScope,
    ThreadPool,
    WorkerCrashed,
    current_task,
)


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("options", [{}, {"limit": 3}, {"limit": 1}, {"chunk": 1}, {"chunk": 7}, {"buffer": 0}])
async def test_results_come_in_the_order_of_the_items(place: Place, options: dict[str, Any]) -> None:
    async with TaskScope() as scope:
        assert await collect(scope.map(place.fn(many.double), range(300), on=place.on, **options)) == [
            2 * x for x in range(300)
        ]


async def test_unordered_results_are_all_there(place: Place) -> None:
    async with TaskScope() as scope:
        stream = scope.map(place.fn(many.double), range(300), on=place.on, ordered=False)
        assert sorted(await collect(stream)) == [2 * x for x in range(300)]


async def test_a_slow_item_holds_up_no_unordered_result(place: Place, tmp_path: Path) -> None:
    names = ["slow", "quick"]
    (tmp_path / "quick.go").touch()
    async with ProcessPool(2) as processes, TaskScope(processes=processes) as scope:
        fn = partial(place.fn(many.hold), tmp_path)
        async with scope.map(fn, names, on=place.on, ordered=False, chunk=1) as stream:
            assert await anext(stream) == "quick"
            (tmp_path / "slow.go").touch()
            assert await anext(stream) == "slow"


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("make_pool", [ThreadPool, ProcessPool])
@pytest.mark.parametrize("goes_on", [False, True])
async def test_items_that_turn_slow_do_not_wait_in_one_chunk_beside_an_idle_worker(
    make_pool: Any, goes_on: bool, tmp_path: Path
) -> None:
    quick, slow = 2000, 20
    async with make_pool(2) as pool, TaskScope() as scope:
        both = [scope.spawn(many.hold, tmp_path, name, on=pool) for name in "ab"]
        for name in "ab":  # the worker that is to be idle is there
            assert await until_async((tmp_path / f"{name}.started").exists, 60)
        for name in "ab":
            (tmp_path / f"{name}.go").touch()
        await scope.gather(*both)
        fn = partial(many.slow_from, tmp_path, quick)
        results = scope.map(fn, range(quick + slow), on=pool, return_exceptions=goes_on)
        assert [x async for x in results] == list(range(quick + slow))
    assert len({(tmp_path / f"{x}.where").read_text() for x in range(quick, quick + slow)}) == 2


async def test_an_empty_source_gives_nothing(place: Place) -> None:
    async with TaskScope() as scope:
        assert await collect(scope.map(place.fn(many.double), [], on=place.on)) == []


async def test_async_sources_are_read_too(place: Place) -> None:
    async with TaskScope() as scope:
        source = AsyncSource(200)
        assert await collect(scope.map(place.fn(many.double), source, on=place.on)) == [2 * x for x in range(200)]
        assert source.closed


async def test_a_map_can_be_the_source_of_another() -> None:
    async with TaskScope() as scope:
        inner = scope.map(many.double, range(500), on="process")
        assert await collect(scope.map(many.a_double, inner)) == [4 * x for x in range(500)]


async def test_several_consumers_share_one_map() -> None:
    got: list[int] = []

    async def consume() -> None:
        async for x in stream:
            got.append(x)
            await anyio.lowlevel.checkpoint()

    async with TaskScope() as scope:
        stream = scope.map(many.double, range(100), chunk=1)
        async with TaskScope() as consumers:
            for _ in range(3):
                consumers.spawn(consume)
    assert sorted(got) == [2 * x for x in range(100)]


@pytest.mark.parametrize("kind", [Source, AsyncSource])
async def test_nothing_is_read_before_the_first_result_is_asked_for(place: Place, kind: type[Source]) -> None:
    source = kind()
    async with TaskScope() as scope:
        stream = scope.map(place.fn(many.double), source, on=place.on)
        await anyio.lowlevel.checkpoint()
        assert source.read == 0
        await stream.aclose()


@pytest.mark.parametrize("kind", [Source, AsyncSource])
async def test_an_endless_source_is_read_no_further_than_the_bounds_say(place: Place, kind: type[Source]) -> None:
    source = kind()
    async with TaskScope() as scope:
        async with scope.map(place.fn(many.double), source, on=place.on, limit=4, buffer=3) as stream:
            for taken in range(1, 30):
                assert await anext(stream) == 2 * (taken - 1)
                assert source.read <= taken + 4 + 3


async def test_the_limit_bounds_what_runs_at_once(place: Place, tmp_path: Path) -> None:
    async with ProcessPool(4) as processes, TaskScope(processes=processes) as scope:
        fn = partial(place.fn(many.hold), tmp_path)
        async with scope.map(fn, count(), on=place.on, limit=2) as stream:
            for x in range(6):
                scope.start_soon(_release, tmp_path, x)
                assert await anext(stream) == x
                started = len(list(tmp_path.glob("*.started")))
                assert started - len(list(tmp_path.glob("*.ended"))) <= 2


async def _release(folder: Path, x: int) -> None:
    assert await until_async((folder / f"{x}.started").exists, 60)
    (folder / f"{x}.go").touch()


async def test_items_see_the_context_variables_of_the_map(place: Place) -> None:
    variable.set("ours")
    async with TaskScope() as scope:
        stream = scope.map(a_context if place.coroutine else context, range(50), on=place.on, chunk=1)
        assert await collect(stream) == ["ours"] * 50


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")


def context(_: int) -> str:
    task = current_task()
    assert task is not None
    return variable.get()


async def a_context(x: int) -> str:
    return context(x)


async def test_failed_items_are_tried_again(place: Place, tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, dict.fromkeys(range(0, 40, 3), "raise"), recover=True)
    async with TaskScope() as scope:
        fn = chaos.a_run if place.coroutine else chaos.run
        assert await collect(scope.map(fn, range(40), on=place.on, retry=Retry(1, on=Gone))) == list(range(40))
    assert [many.runs(tmp_path, x) for x in range(40)] == [1 if x % 3 else 2 for x in range(40)]


async def test_the_last_failure_counts(place: Place, tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, {3: "raise"})
    async with TaskScope() as scope:
        fn = chaos.a_run if place.coroutine else chaos.run
        with pytest.raises(Gone):
            await collect(scope.map(fn, range(9), on=place.on, retry=Retry(2, on=Gone)))
    assert many.runs(tmp_path, 3) == 3


async def test_items_that_wait_for_their_next_try_bound_the_reading(chunked: str, tmp_path: Path) -> None:
    source = Source()
    chaos = Chaos(tmp_path, dict.fromkeys(range(1000), "raise"))
    async with TaskScope() as scope:
        stream = scope.map(chaos.run, source, on=chunked, ordered=False, limit=4, retry=Retry(1, on=Gone, backoff=9e9))
        scope.start_soon(anext, stream)
        assert await until_async(lambda: all(many.runs(tmp_path, x) for x in range(4)), 60)
        assert source.read == 4
        scope.cancel()


@pytest.mark.one_loop
@given(
    fates=st.dictionaries(st.integers(0, 39), st.sampled_from(["raise", "kill"]), max_size=8),
    chunk=st.sampled_from([1, "auto", 5]),
    ordered=st.booleans(),
    retry=st.booleans(),
    limit=st.sampled_from([None, 1, 5]),
    source=st.sampled_from([Source, AsyncSource]),
)
@settings(
    max_examples=examples(2, nightly=30),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
async def test_no_item_is_lost_and_none_comes_twice(
    fates: dict[int, str], chunk: Any, ordered: bool, retry: bool, limit: int | None, source: type[Source]
) -> None:
    for place in PLACES.values():
        if place.on == "process":
            mine = fates
        else:
            mine = {x: "raise" for x, fate in fates.items() if fate == "raise"}  # nobody survives the other
        with tempfile.TemporaryDirectory() as name:
            await check_once(Path(name), place, mine, chunk, ordered, retry, limit, source)


async def check_once(
    folder: Path,
    place: Place,
    fates: dict[int, str],
    chunk: Any,
    ordered: bool,
    retry: bool,
    limit: int | None,
    source: type[Source],
) -> None:
    chaos = Chaos(folder, fates, recover=retry)
    again = Retry(4, on=(Gone, WorkerCrashed)) if retry else None
    async with ProcessPool(2) as processes, TaskScope(policy=Collect(), processes=processes) as scope:
        fn = chaos.a_run if place.coroutine else chaos.run
        stream = scope.map(
            fn,
            source(40),
            on=place.on,
            chunk=chunk,
            ordered=ordered,
            retry=again,
            limit=limit,
            return_exceptions=True,
        )
        got = await collect(stream)
    values = [x for x in got if isinstance(x, int)]
    assert len(got) == 40
    assert len(values) == len(set(values))
    if ordered:
        assert all(x == place_in_line for place_in_line, x in enumerate(got) if isinstance(x, int))
    if retry:
        # A coroutine that crashes costs its neighbours a try, and so may a chunk: they have tries to spare.
        assert len(values) == 40 or len(set(fates.values()) & {"kill"}) == 1
    else:
        assert not {x for x in values if x in fates}
    if chunk == 1 and not retry:
        # A crash in a worker with an event loop takes neighbours along that have not come far.
        least = 0 if place.coroutine else 1
        assert all(least <= many.runs(folder, x) <= 1 for x in range(40))
    if chunk == 1 and not place.coroutine and not retry:
        assert sorted(values) == [x for x in range(40) if x not in fates]
