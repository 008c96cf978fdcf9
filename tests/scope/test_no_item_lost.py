"""Pipelines and streams under random failures and worker kills: no item is lost, none is delivered twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.scope import many
from tests.scope.many import Chaos, Gone
from unified_exec import Failure, Pipeline, Retry, TaskScope, WorkerCrashed

ITEMS = 30
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]


@given(
    fates=st.dictionaries(st.integers(0, ITEMS - 1), st.sampled_from(["raise", "kill"]), max_size=6),
    ordered=st.booleans(),
    retry=st.booleans(),
    batch=st.sampled_from([0, 1, 7]),
)
@settings(max_examples=6, phases=PHASES, suppress_health_check=list(HealthCheck))
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


@given(n=st.integers(0, 2000), taken=st.integers(0, 2000), on=st.sampled_from(["thread", "process", "process-async"]))
@settings(max_examples=12, phases=PHASES, suppress_health_check=list(HealthCheck))
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
