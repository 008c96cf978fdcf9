"""How a `scope.map` ends before its items do: it is left, cancelled, or something fails."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.scope import many
from tests.scope.many import AsyncSource, Chaos, Gone, Place, Source, collect
from tests.waiting import until_async
from unified_exec import (
    Collect,
    ProcessPool,
    SerializationError,
    TaskScope,
    ThreadPool,
    WorkerCrashed,
)
from unified_exec._map import closing


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("how", ["break", "raise", "aclose"])
async def test_leaving_the_loop_cancels_and_reaps_what_is_in_flight(place: Place, how: str, tmp_path: Path) -> None:
    (tmp_path / "0.go").touch()
    fn = partial(place.fn(many.hold), tmp_path)
    async with ProcessPool(2) as processes, TaskScope(policy=Collect(), processes=processes) as scope:
        with pytest.raises(Gone) if how == "raise" else anyio.CancelScope():
            stream = scope.map(fn, count(), on=place.on, limit=2)
            async for x in stream:
                assert x == 0
                assert await until_async((tmp_path / "1.started").exists, 60)
                if how == "raise":
                    del stream
                    raise Gone
                if how == "aclose":
                    await stream.aclose()
                    assert (tmp_path / "1.ended").exists()
                break
        stream = None  # type: ignore[assignment]
    started = {path.stem for path in tmp_path.glob("*.started")}
    # Not `==`: a worker interrupts the third item at any instruction, also before its first, which notes the start.
    assert {"0", "1"} <= started <= {path.stem for path in tmp_path.glob("*.ended")}


async def test_leaving_touches_no_other_task_of_the_scope() -> None:
    async with TaskScope() as scope:
        other = scope.spawn(many.double, 4)
        async for _ in scope.map(many.double, count()):
            break
        assert await other == 8


async def test_leaving_ends_the_reading_of_a_source_that_never_answers() -> None:
    closed = anyio.Event()

    async def stuck() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.set()

    async with TaskScope() as scope:
        async for x in scope.map(many.a_double, stuck(), limit=2):
            assert x == 2
            break
    assert closed.is_set()


async def test_leaving_closes_a_generator() -> None:
    closed = []

    def numbers() -> Any:
        try:
            yield from count()
        finally:
            closed.append(True)

    async with TaskScope() as scope:
        async with scope.map(many.double, numbers()) as stream:
            assert await anext(stream) == 0
        assert closed == [True]


async def test_a_generator_whose_closing_hangs_is_cancelled_after_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(closing, "CLOSE_TIMEOUT", 0.05)
    ends: list[str] = []

    async with TaskScope() as scope:
        async for _ in scope.map(many.double, many.never_closed(ends), limit=1, buffer=0):
            break
    assert ends == ["closing", "cancelled"]
    assert "took longer than 0.05 s" in caplog.text


def closes_badly() -> Iterator[int]:
    try:
        yield from count()
    finally:
        raise ValueError("bad end")


async def a_closes_badly() -> AsyncIterator[int]:
    try:
        for i in count():
            yield i
    finally:
        raise ValueError("bad end")


@pytest.mark.parametrize(
    ("how", "source"),
    [
        ("dropped", closes_badly),
        ("dropped", a_closes_badly),
        ("closed", closes_badly),
        ("closed", a_closes_badly),
        ("left to the scope", closes_badly),
    ],
)
async def test_what_a_source_raises_while_it_is_closed_is_logged_and_costs_nothing_else(
    how: str, source: Any, caplog: pytest.LogCaptureFixture
) -> None:
    streams: list[Any] = []

    async with TaskScope(policy=Collect()) as scope:
        for _ in range(2):
            streams.append(scope.map(many.a_double, source(), limit=1, buffer=0))
            assert await anext(streams[-1]) == 0
        failed = scope.spawn(many.a_fail_at_three, 3)
        if how == "closed":
            for stream in streams:
                await stream.aclose()
        if how == "dropped":
            stream = None
            streams.clear()
            gc.collect()
    assert str(failed.exception()) == "3"
    assert caplog.text.count("ValueError: bad end") == 2


async def test_closing_a_map_waits_for_the_end_of_its_source() -> None:
    ends: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            for i in count():
                yield i
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            ends.append("closed")

    async with TaskScope() as scope:
        async with scope.map(many.a_double, source(), limit=1, buffer=0) as stream:
            assert await anext(stream) == 0
        assert ends == ["closed"]


async def test_a_source_may_close_its_own_map() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        await stream.aclose()

    async with TaskScope() as scope:
        stream = scope.map(many.a_double, source())
        assert [x async for x in stream] in ([], [2])


async def test_a_map_that_outlives_its_scope_says_so() -> None:
    async with TaskScope() as scope:
        stream = scope.map(many.double, count(), chunk=1)
        assert await anext(stream) == 0
    with pytest.raises(RuntimeError, match="scope of this map of double has ended"):
        await collect(stream)


async def test_cancelling_the_scope_ends_the_map(place: Place, tmp_path: Path) -> None:
    fn = partial(place.fn(many.hold), tmp_path)
    async with TaskScope() as scope:
        scope.start_soon(_cancel_when_started, scope, tmp_path)
        await collect(scope.map(fn, count(), on=place.on, limit=1))
        raise AssertionError("unreachable")
    assert (tmp_path / "0.ended").exists()


async def _cancel_when_started(scope: TaskScope, folder: Path) -> None:
    assert await until_async((folder / "0.started").exists, 60)
    scope.cancel()


@pytest.mark.parametrize("chunk", [1, 10])
async def test_the_first_failure_comes_behind_the_results_before_it(place: Place, chunk: int) -> None:
    got = []
    async with TaskScope() as scope:
        with pytest.raises(ValueError, match="3"):
            async for x in scope.map(place.fn(many.fail_at_three), count(), on=place.on, chunk=chunk):
                got.append(x)
        assert got == [0, 1, 2]


async def test_exceptions_can_be_had_as_values(place: Place) -> None:
    async with TaskScope() as scope:
        stream = scope.map(place.fn(many.fail_odd), range(50), on=place.on, return_exceptions=True)
        got = await collect(stream)
    assert [x if isinstance(x, int) else x.args[0] for x in got] == list(range(50))
    assert [isinstance(x, ValueError) for x in got] == [bool(x % 2) for x in range(50)]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", [Source, AsyncSource])
async def test_a_source_that_raises_does_so_behind_its_items(place: Place, kind: type[Source], ordered: bool) -> None:
    got = []
    async with TaskScope() as scope:
        with pytest.raises(Gone):
            async for x in scope.map(
                place.fn(many.double),
                kind(25, Gone("the source")),
                on=place.on,
                ordered=ordered,
                return_exceptions=True,
            ):
                got.append(x)
    assert sorted(got) == [2 * x for x in range(25)]


async def test_an_item_that_cannot_travel_fails_alone() -> None:
    items: list[Any] = [*range(10)]
    items[4] = (x for x in range(3))  # a generator
    async with TaskScope() as scope:
        got = await collect(scope.map(many.double, items, on="process", chunk=5, return_exceptions=True))
    assert isinstance(got.pop(4), SerializationError)
    assert got == [2 * x for x in range(10) if x != 4]


async def test_a_result_that_cannot_travel_fails_alone() -> None:
    async with TaskScope() as scope:
        got = await collect(scope.map(many.unpicklable, range(10), on="process", chunk=5, return_exceptions=True))
    error = got.pop(3)
    assert isinstance(error, SerializationError)
    assert error.what == "the result of map of unpicklable() for item 3"
    assert got == [x for x in range(10) if x != 3]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_result_that_cannot_be_rebuilt_fails_alone(ordered: bool) -> None:
    async with TaskScope() as scope:
        options: dict[str, Any] = {"on": "process", "chunk": 8, "ordered": ordered, "return_exceptions": True}
        got = await collect(scope.map(many.parcel, range(8), **options))
    said = [str(each) for each in got if isinstance(each, SerializationError)]
    assert [text.partition(" cannot ")[0] for text in said] == [
        "the result of map of parcel() for item 1",
        "the result of map of parcel() for item 4",
    ]
    assert all("ValueError: far from home" in text for text in said)
    rest = {each.x: each.content for each in got if isinstance(each, many.Parcel)}
    assert [*rest] == [0, 2, 3, 5, 6, 7]
    assert rest[6][0] == b"." * 70_000
    assert [content[1][0].x for content in rest.values()] == [0] * 6


async def test_each_item_has_its_timeout(place: Place, tmp_path: Path) -> None:
    (tmp_path / "0.go").touch()
    fn = partial(place.fn(many.hold), tmp_path)
    async with TaskScope() as scope:
        # A thread's task ends at its next `check_cancelled`; it is slow to start, hence no shorter timeout.
        got = await collect(scope.map(fn, [0, 1], on=place.on, timeout=2.0, return_exceptions=True))
    assert got[0] == 0
    assert isinstance(got[1], TimeoutError)


async def test_a_dying_worker_costs_its_chunk_by_name() -> None:
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), {4: "kill"})
        async with ProcessPool(1) as pool, TaskScope() as scope:
            got = await collect(scope.map(chaos.run, range(9), on=pool, chunk=3, return_exceptions=True))
    assert got[:3] == [0, 1, 2]
    assert got[6:] == [6, 7, 8]
    assert all(isinstance(error, WorkerCrashed) and "run" in error.task for error in got[3:6])


async def test_a_closed_pool_is_said() -> None:
    pool = ThreadPool(1)
    pool.close()
    async with TaskScope() as scope:
        with pytest.raises(Exception, match="closed"):
            await collect(scope.map(many.double, [1], on=pool))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"limit": 0}, ValueError),
        ({"limit": "3"}, TypeError),
        ({"chunk": 0}, ValueError),
        ({"chunk": "big"}, TypeError),
        ({"buffer": -1}, ValueError),
        ({"retry": 3}, TypeError),
        ({"timeout": -1}, ValueError),
        ({"on": "nowhere"}, ValueError),
        ({"progress": "yes"}, TypeError),
    ],
)
async def test_wrong_options_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    async with TaskScope() as scope:
        with pytest.raises(error):
            scope.map(many.double, [1], **options)
        with pytest.raises(TypeError, match="iterable"):
            scope.map(many.double, 3)  # type: ignore[call-overload]
