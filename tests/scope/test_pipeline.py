"""`Pipeline`: stages on different backends, joined by bounded channels."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.scope import many
from tests.scope.many import AsyncSource, Chaos, Gone, Source
from tests.waiting import until_async
from unified_exec import Failure, Limit, Pipeline, ProcessPool, Retry, ThreadPool
from unified_exec._map import closing


async def test_items_go_through_every_backend_in_order() -> None:
    pipeline = (
        Pipeline(range(300))
        .map(many.a_double, limit=10)
        .map(many.double, on="process")
        .filter(lambda x: x % 8 == 0)
        .map(many.double, on="thread")
    )
    assert await pipeline.collect() == [8 * x for x in range(0, 300, 2)]
    assert await pipeline.run() == 150  # a description: it can be run again


async def test_a_pipeline_without_stages_gives_its_source() -> None:
    assert await Pipeline(range(3)).collect() == [0, 1, 2]
    assert await Pipeline(AsyncSource(3)).collect() == [0, 1, 2]
    assert await Pipeline([]).map(many.double).batch(3).collect() == []


async def test_order_may_be_given_up_per_stage() -> None:
    assert sorted(await Pipeline(range(99)).map(many.double, on="process", ordered=False).collect()) == [
        2 * x for x in range(99)
    ]


# --- batches


async def test_batches_are_full_but_for_the_last() -> None:
    assert await Pipeline(range(10)).batch(4).collect() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert await Pipeline(range(10)).batch(4, every=1000.0).collect() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_batch_is_given_on_when_its_time_is_over() -> None:
    async def stuck() -> AsyncIterator[int]:
        yield 1
        yield 2
        await anyio.sleep_forever()

    async with Pipeline(stuck()).batch(100, every=0.01) as batches:
        got = await anext(batches)
        if got == [1]:  # the clock was quicker
            got += await anext(batches)
        assert got == [1, 2]


async def test_an_error_comes_behind_the_batch_before_it() -> None:
    for every in (None, 1000.0):
        got = []
        with pytest.raises(Gone):
            async with Pipeline(Source(5, Gone())).map(many.a_double).batch(3, every=every) as batches:
                async for batch in batches:
                    got += batch
        assert got[:3] == [0, 2, 4]


# --- errors


async def test_the_first_failure_ends_all_and_is_raised_bare() -> None:
    source = Source()
    with pytest.raises(ValueError, match="3"):
        await Pipeline(source).map(many.fail_at_three, on="process").map(many.a_double).run()


async def test_failures_can_be_left_out_with_a_report() -> None:
    pipeline = Pipeline(range(10)).map(many.fail_odd, on="process", on_error="skip").map(many.double)
    assert await pipeline.collect() == [0, 4, 8, 12, 16]
    assert sorted((each.stage, each.item, type(each.error)) for each in pipeline.failures) == [
        ("fail_odd", x, ValueError) for x in (1, 3, 5, 7, 9)
    ]
    await pipeline.run()
    assert len(pipeline.failures) == 5


async def test_failures_can_be_given_to_a_function() -> None:
    letters: list[Failure] = []
    pipeline = Pipeline(range(10)).map(many.a_fail_odd, on_error=letters.append)
    assert await pipeline.collect() == [0, 2, 4, 6, 8]
    assert sorted(each.item for each in letters) == [1, 3, 5, 7, 9]
    assert pipeline.failures == []


async def test_a_dead_letter_function_that_fails_ends_the_pipeline() -> None:
    def broken(_: Failure) -> None:
        raise Gone("the function itself")

    with pytest.raises(Gone, match="itself"):
        await Pipeline(range(10)).map(many.fail_odd, on_error=broken).run()


async def test_a_stage_tries_again(tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, {3: "raise", 5: "raise"}, recover=True)
    pipeline = Pipeline(range(9)).map(chaos.run, on="process", retry=Retry(1, on=Gone), on_error="skip")
    assert await pipeline.collect() == list(range(9))
    assert pipeline.failures == []


async def test_stages_may_share_a_limit() -> None:
    limit = Limit(2)
    pipeline = Pipeline(range(30)).map(many.a_double, limit=limit).map(many.double, on="process", limit=limit)
    assert await pipeline.collect() == [4 * x for x in range(30)]
    assert limit.free == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Pipeline(3),  # type: ignore[arg-type]
        lambda: Pipeline([]).batch(0),
        lambda: Pipeline([]).batch(3, every=0),
        lambda: Pipeline([]).map(many.double, on_error="ignore"),  # type: ignore[call-overload]
        lambda: Pipeline([]).map(many.double, limit=0),
    ],
)
def test_wrong_descriptions_are_refused_at_once(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        wrong()


async def test_a_stage_that_cannot_run_there_is_refused_and_nothing_is_left() -> None:
    pipeline = Pipeline(range(3)).map(many.double).map(many.a_double, on="thread")
    for _ in range(2):
        with pytest.raises((TypeError, ExceptionGroup)):
            await pipeline.run()


# --- flow


async def test_a_slow_stage_slows_its_source(tmp_path: Path) -> None:
    source = Source()
    stage = partial(many.a_hold, tmp_path)
    pipeline = Pipeline(source).map(many.a_double, limit=2).map(many.double, on="process", limit=2).map(stage, limit=1)
    async with pipeline as results:
        async with anyio.create_task_group() as group:
            group.start_soon(anext, results)
            assert await until_async((tmp_path / "0.started").exists, 60)
            before = -1

            def stands() -> bool:
                nonlocal before
                before, now = source.read, before
                return before == now

            assert await until_async(stands, 60)
            assert before < 300
            group.cancel_scope.cancel()


async def test_cancelling_ends_every_stage(tmp_path: Path) -> None:
    pipeline = (
        Pipeline(count())
        .map(partial(many.hold_at, tmp_path, "thread", 2), on="thread", limit=2)
        .map(partial(many.hold_at, tmp_path, "process", 1), on="process", limit=2)
        .map(partial(many.a_hold_first, tmp_path, "loop"), limit=2)
    )
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.run)
        for name in ("thread", "process", "loop"):
            assert await until_async((tmp_path / f"{name}.started").exists, 60)
        group.cancel_scope.cancel()
    for name in ("thread", "process", "loop"):
        assert (tmp_path / f"{name}.ended").exists()


async def test_leaving_early_ends_every_stage() -> None:
    source = AsyncSource()
    async with Pipeline(source).map(many.a_double).map(many.double, on="process").batch(2, every=9e9) as results:
        async for batch in results:
            assert batch == [0, 4]
            break
    assert source.closed


@pytest.mark.parametrize("batched", [False, True])
async def test_a_source_whose_closing_hangs_does_not_hold_up_the_end(
    batched: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(closing, "CLOSE_TIMEOUT", 0.05)
    ends: list[str] = []
    pipeline = Pipeline(many.never_closed(ends)).filter(lambda _: True)
    async with pipeline.batch(1, every=60.0) if batched else pipeline as results:
        async for _ in results:
            break
    assert ends == ["closing", "cancelled"]
    assert "took longer than 0.05 s" in caplog.text


@pytest.mark.parametrize("stage", [None, "filter", "batch"])
async def test_a_source_that_raises_while_it_is_closed_leaves_no_scope_open(
    stage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    def source() -> Any:
        try:
            yield from count()
        finally:
            raise ValueError("bad end")

    pipeline: Any = Pipeline(source())
    if stage is not None:
        pipeline = pipeline.filter(bool) if stage == "filter" else pipeline.batch(1)
    with anyio.CancelScope() as around:
        async with pipeline as results:
            async for _ in results:
                break
        await anyio.lowlevel.checkpoint()
    assert not around.cancelled_caught
    assert "ValueError: bad end" in caplog.text


@pytest.mark.asyncio
async def test_a_task_that_is_cancelled_while_its_pipeline_closes_leaves_no_scope_open() -> None:
    closing_began = asyncio.Event()
    ends: list[str] = []

    async def source() -> Any:
        try:
            for i in count():
                yield i
        finally:
            closing_began.set()
            await asyncio.Event().wait()

    async def use() -> None:
        try:
            async with Pipeline(source()).filter(lambda _: True) as results:
                async for _ in results:
                    break
        except asyncio.CancelledError:
            with anyio.CancelScope():  # of the task's innermost scope, which is none of the pipeline's
                await asyncio.sleep(0)
            ends.append("cancelled")
            raise

    task = asyncio.ensure_future(use())
    await closing_began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["cancelled"]


async def test_it_runs_once_at_a_time() -> None:
    pipeline = Pipeline(count()).map(many.a_double)
    async with pipeline:
        with pytest.raises(RuntimeError, match="is already running"):
            await pipeline.run()
    with pytest.raises(TypeError, match="async with pipeline"):
        aiter(pipeline)


async def test_its_pool_may_be_given() -> None:
    async with ProcessPool(1) as pool:
        assert await Pipeline(range(3)).map(many.double, on=pool).collect() == [0, 2, 4]


# --- what the stages did


async def test_each_stage_tells_what_it_did(tmp_path: Path) -> None:
    chaos = Chaos(tmp_path, {3: "raise", 5: "raise"}, recover=True)
    pipeline = (
        Pipeline(range(20))
        .map(many.a_double, limit=3)
        .map(many.half, on="thread", name="halve")
        .map(chaos.run, on="process", chunk=1, retry=Retry(1, on=Gone))
        .batch(2)
        .map(len)
        .map(many.fail_odd, on="process", on_error="skip")
    )
    assert pipeline.stats == ()
    await pipeline.run()
    first, second, third, fourth, fifth = pipeline.stats
    assert [stage.name for stage in pipeline.stats] == ["a_double", "halve", "Chaos.run", "len", "fail_odd"]
    assert [stage.backend for stage in pipeline.stats] == ["loop", "thread", "process", "thread", "process"]
    for stage, items in ((first, 20), (second, 20), (third, 20), (fourth, 10), (fifth, 10)):
        assert (stage.received, stage.finished, stage.failed, stage.pending) == (items, items, 0, 0)
        assert (stage.cancelled, stage.tasks(), stage.running()) == (0, 0, 0)
        assert stage.busy_seconds > 0
    assert (second.retried, third.retried) == (0, 2)
    assert third.workers
    assert not first.workers | second.workers
    assert os.getpid() not in third.workers


async def test_each_run_is_counted_anew_and_failed_items_apart() -> None:
    pipeline = Pipeline(range(10)).map(many.fail_odd, on="process", on_error="skip").map(many.a_double)
    for _ in range(2):
        await pipeline.run()
        failing, doubling = pipeline.stats
        assert (failing.received, failing.finished, failing.failed) == (10, 5, 5)
        assert (doubling.received, doubling.finished, doubling.failed) == (5, 5, 0)
    assert repr(failing) == "<StageStats 'fail_odd' on process: 5 finished, 5 failed, 0 cancelled, 0 pending>"


@pytest.mark.parametrize("make_pool", [ThreadPool, ProcessPool])
async def test_what_was_stopped_and_what_never_started_are_told_apart(tmp_path: Path, make_pool: Any) -> None:
    hold = partial(many.hold_at, tmp_path, "held", 0)
    async with make_pool(1) as pool:
        pipeline = Pipeline(range(9)).map(hold, on=pool, limit=3, chunk=1)
        async with pipeline as results, anyio.create_task_group() as group:
            (stage,) = pipeline.stats
            group.start_soon(anext, results)
            assert await until_async((tmp_path / "held.started").exists, 60)
            assert (stage.tasks(), stage.running()) == (3, 1)
            group.cancel_scope.cancel()
    assert (stage.received, stage.finished, stage.cancelled, stage.pending) == (3, 0, 1, 2)
    assert (stage.tasks(), stage.running()) == (0, 0)


async def test_a_buffer_bounds_what_waits_for_the_consumer() -> None:
    source = Source()
    async with Pipeline(source).map(many.a_double, limit=2, buffer=1) as results:
        async for _ in results:
            break
        assert source.read <= 5  # one was taken, two may be on their way, one may wait, one takes the free place
