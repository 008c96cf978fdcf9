"""Maps, pipelines and streams under random failures, cancellations and worker kills: no item is lost, none is
delivered twice, and with ``chunk=1`` none is run twice."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from tests.scope import many
from tests.scope.many import PLACES, Chaos, Gone
from tests.waiting import until_async
from unified_exec import Failure, Pipeline, Retry, TaskScope, WorkerCrashed

ITEMS = 30
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@given(
    fates=st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from(["raise", "kill"]), max_size=6),
    ordered=st.booleans(),
    retry=st.booleans(),
    batch=st.sampled_from([0, 1, 7]),
)
@settings(max_examples=examples(3, nightly=30), phases=PHASES, suppress_health_check=list(HealthCheck))
async def test_each_item_of_a_pipeline_comes_out_once_or_is_a_dead_letter_once(
    fates: dict[int, str], ordered: bool, retry: bool, batch: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chaos = Chaos(folder, fates, recover=retry)
        dead: list[Failure] = []
        pipeline = (
            Pipeline(range(ITEMS))
            .map(many.a_double, limit=3, ordered=ordered)
            .map(many.half, on="thread", ordered=ordered)
            .map(
                chaos.run,
                on="process",
                chunk=1,
                ordered=ordered,
                retry=Retry(4, on=(Gone, WorkerCrashed)) if retry else None,
                on_error=dead.append,
            )
        )
        if batch:
            found = [x for full in await pipeline.batch(batch).collect() for x in full]
        else:
            found = await pipeline.collect()
        lost = [] if retry else sorted(fates)
        assert sorted(failure.item for failure in dead) == lost
        assert sorted(found) == [x for x in range(ITEMS) if x not in lost]
        if ordered:
            assert found == sorted(found)
        runs = {x: many.runs(folder, x) for x in range(ITEMS)}
        assert runs == {x: 2 if retry and x in fates else 1 for x in range(ITEMS)}


MOMENTS = st.one_of(
    st.tuples(st.just("results taken"), st.integers(0, ITEMS)),
    st.tuples(st.just("item begun"), st.integers(0, ITEMS - 1)),
    st.tuples(st.just("milliseconds"), st.integers(0, 30)),
)


@pytest.mark.parametrize("place", PLACES)
@given(moment=MOMENTS, ordered=st.booleans(), fates=st.dictionaries(st.integers(0, ITEMS - 1), st.just("raise")))
@settings(max_examples=examples(3, nightly=40), phases=PHASES, suppress_health_check=list(HealthCheck))
async def test_a_map_cancelled_anywhere_has_run_and_given_each_item_at_most_once(
    place: str, moment: tuple[str, int], ordered: bool, fates: dict[int, str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chaos = Chaos(folder, fates)
        fn = chaos.a_run if PLACES[place].coroutine else chaos.run
        found: list[int] = []

        async def consume() -> None:
            async with TaskScope() as scope:
                results = scope.map(fn, range(ITEMS), on=PLACES[place].on, chunk=1, ordered=ordered, **WITH_ERRORS)  # type: ignore[call-overload]
                await _take(results, found, moment)

        await _cancelled_at(moment, folder, consume)
        _once_at_most(folder, found, ordered, set(fates))


@given(
    moment=MOMENTS, ordered=st.booleans(), fates=st.dictionaries(st.integers(0, ITEMS - 1), st.just("kill"), max_size=2)
)
@settings(max_examples=examples(3, nightly=40), phases=PHASES, suppress_health_check=list(HealthCheck))
async def test_a_pipeline_cancelled_anywhere_has_run_and_given_each_item_at_most_once(
    moment: tuple[str, int], ordered: bool, fates: dict[int, str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dead: list[Failure] = []
        pipeline = (
            Pipeline(range(ITEMS))
            .map(many.a_double, limit=3, ordered=ordered)
            .map(many.half, on="thread", ordered=ordered)
            .map(Chaos(folder, fates).run, on="process", chunk=1, ordered=ordered, on_error=dead.append)
        )
        found: list[int] = []

        async def consume() -> None:
            async with pipeline as results:
                await _take(results, found, moment)

        await _cancelled_at(moment, folder, consume)
        _once_at_most(folder, found, ordered, {failure.item for failure in dead})
        last = pipeline.stats[-1] if pipeline.stats else None  # cancelled before it began
        assert last is None or (last.tasks() == 0 and last.failed >= len(dead))  # one may have failed on the way out


WITH_ERRORS = {"return_exceptions": True}


async def _take(results: AsyncIterator[Any], found: list[Any], moment: tuple[str, int]) -> None:
    """Take results; at the moment that was chosen by their number, cancel what takes them."""
    async for result in results:
        if isinstance(result, int):
            found.append(result)
        if moment[0] == "results taken" and len(found) > moment[1]:
            _around.get().cancel()
            await anyio.sleep_forever()


async def _cancelled_at(moment: tuple[str, int], folder: Path, consume: Callable[[], Awaitable[None]]) -> None:
    what, number = moment
    async with anyio.create_task_group() as group:
        _around.set(group.cancel_scope)

        async def cancel() -> None:
            if what == "milliseconds":
                await anyio.sleep(number / 1000)
            else:
                await until_async(lambda: many.runs(folder, number) > 0, 60)
            group.cancel_scope.cancel()

        if what != "results taken":
            group.start_soon(cancel)
        await consume()
        group.cancel_scope.cancel()


_around: ContextVar[anyio.CancelScope] = ContextVar("_around")


def _once_at_most(folder: Path, found: list[int], ordered: bool, without: set[int]) -> None:
    runs = {x: many.runs(folder, x) for x in range(ITEMS)}
    assert max(runs.values()) <= 1
    assert len(set(found)) == len(found)
    assert not set(found) & without
    assert all(runs[x] == 1 for x in found)
    if ordered:  # none is left out before the last one
        assert found == [x for x in range(found[-1] + 1 if found else 0) if x not in without]


@pytest.mark.one_loop
@given(n=st.integers(0, 2000), taken=st.integers(0, 2000), on=st.sampled_from(["thread", "process", "process-async"]))
@settings(max_examples=examples(6, nightly=60), phases=PHASES, suppress_health_check=list(HealthCheck))
async def test_a_stream_left_anywhere_has_given_each_item_once_and_is_closed(n: int, taken: int, on: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fn = many.a_count_to if on == "process-async" else many.count_to
        found: list[int] = []
        async with TaskScope() as scope:
            async with scope.stream(fn, folder, n, on=on.partition("-")[0]) as stream:  # type: ignore[call-overload]
                async for x in stream:
                    found.append(x)
                    if len(found) > taken:
                        break
        assert found == list(range(min(n, taken + 1)))
        assert (folder / "closed").exists()
