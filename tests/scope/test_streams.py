"""`scope.stream`, `gather` and `as_completed`."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.scope import many
from tests.scope.many import Gone
from tests.waiting import until_async
from unified_exec import (
    Collect,
    ProcessPool,
    RemoteError,
    SerializationError,
    TaskCancelled,
    TaskScope,
    WorkerCrashed,
)

pytestmark = pytest.mark.every_loop

GENERATORS = {
    "loop": ("loop", many.a_count_to, many.a_three_then_fail),
    "thread": ("thread", many.count_to, many.three_then_fail),
    "process": ("process", many.count_to, many.three_then_fail),
    "process-async": ("process", many.a_count_to, many.a_three_then_fail),
}


@pytest.fixture(params=list(GENERATORS))
def generator(request: pytest.FixtureRequest) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
    return GENERATORS[request.param]


@pytest.fixture(params=[name for name in GENERATORS if name != "loop"])
def remote(request: pytest.FixtureRequest) -> tuple[str, Callable[..., Any], Callable[..., Any]]:
    return GENERATORS[request.param]


@pytest.mark.loops_in_turn
@pytest.mark.parametrize("n", [0, 1, 1200])
async def test_all_items_arrive_in_order(generator: Any, n: int, tmp_path: Path) -> None:
    on, fn, _ = generator
    async with TaskScope() as scope:
        assert [x async for x in scope.stream(fn, tmp_path, n, on=on)] == list(range(n))
    assert (tmp_path / "closed").exists()


async def test_the_generator_runs_ahead_by_a_bounded_number(remote: Any, tmp_path: Path) -> None:
    on, fn, _ = remote
    async with TaskScope() as scope:
        async with scope.stream(fn, tmp_path, 1_000_000, on=on) as stream:
            for x in range(10):
                assert await anext(stream) == x
            assert await until_async((tmp_path / "driven").exists, 60)
            before = -1

            def stands() -> bool:
                nonlocal before
                text = (tmp_path / "driven").read_text()
                now, before = before, int(text or -1)
                return now == before

            assert await until_async(stands, 60)
            assert before < 20_000
            assert await anext(stream) == 10
        assert (tmp_path / "closed").exists()


@pytest.mark.loops_in_turn
async def test_a_stream_that_moves_to_another_worker_loses_nothing(tmp_path: Path) -> None:
    async with ProcessPool(2, initializer=many.start_second_slowly, initargs=(tmp_path,)) as pool:
        async with TaskScope(processes=pool) as scope:
            held = scope.spawn(many.hold, tmp_path, "held", on="process")
            assert await until_async((tmp_path / "held.started").exists, 60)
            async with scope.stream(many.count_to, tmp_path, 3000, on="process") as stream:
                assert await until_async(lambda: many.runs(tmp_path, "start") == 2, 60)
                (tmp_path / "held.go").touch()
                assert [x async for x in stream] == list(range(3000))
            await held
            (tmp_path / "second.go").touch()


async def test_an_item_that_is_waited_for_comes_though_the_generator_was_quick_before(
    remote: Any, tmp_path: Path
) -> None:
    on, fn, _ = remote
    fn = many.a_quick_then_waiting if fn is many.a_count_to else many.quick_then_waiting
    async with TaskScope() as scope:
        async for x in scope.stream(fn, tmp_path, 5000, on=on):
            if x == 5000:
                (tmp_path / "taken.go").touch()
    assert x == 5001


async def test_leaving_runs_the_finally_where_the_generator_runs(generator: Any, tmp_path: Path) -> None:
    on, fn, _ = generator
    async with TaskScope() as scope:
        async with scope.stream(fn, tmp_path, 1_000_000, on=on) as stream:
            async for _ in stream:
                break
        assert (tmp_path / "closed").exists()


async def test_breaking_without_closing_is_reaped_by_the_scope(remote: Any, tmp_path: Path) -> None:
    on, fn, _ = remote
    async with TaskScope() as scope:
        async for _ in scope.stream(fn, tmp_path, 1_000_000, on=on):
            break
    assert (tmp_path / "closed").exists()


@pytest.mark.parametrize("kind", ["stream", "map of an async source", "map of a stream"])
async def test_a_stream_that_was_left_does_not_hold_up_its_scope(kind: str, tmp_path: Path) -> None:
    async with TaskScope() as scope:
        source = scope.stream(many.count_to, tmp_path, 1_000_000, on="thread")
        stream = (
            source if kind == "stream" else scope.map(many.a_double, many.AsyncSource() if "async" in kind else source)
        )
        other = scope.spawn(many.double, 4, on="thread")
        async for x in stream:
            assert x == 0
            break
    assert other.result() == 8
    with pytest.raises(RuntimeError, match="inside the block"):
        while True:
            await anext(stream)


async def test_a_task_takes_the_items_of_a_stream_when_the_block_has_ended(tmp_path: Path) -> None:
    async def take(stream: Any) -> int:
        return len([x async for x in stream])

    async with TaskScope() as scope:
        stream = scope.stream(many.count_to, tmp_path, 500, on="thread")
        assert await anext(stream) == 0
        spawned = scope.spawn(take, stream)
    assert spawned.result() == 499

    seen: list[int] = []
    async with TaskScope() as scope:
        stream = scope.map(many.a_double, many.AsyncSource(500))

        async def plainly() -> None:
            seen.append(await take(stream))

        scope.start_soon(plainly)
    assert seen == [500]


async def test_an_error_comes_behind_the_items(generator: Any, tmp_path: Path) -> None:
    on, _, fails = generator
    got = []
    async with TaskScope() as scope:
        with pytest.raises(Gone):
            async for x in scope.stream(fails, tmp_path, on=on):
                got.append(x)
    assert got == [0, 1, 2]


async def test_a_dying_worker_ends_the_stream_and_nothing_else(tmp_path: Path) -> None:
    got = []
    async with TaskScope(policy=Collect()) as scope:
        other = scope.spawn(many.double, 2)
        with pytest.raises(WorkerCrashed, match="three_then_die"):
            async for x in scope.stream(many.three_then_die, tmp_path, on="process"):
                got.append(x)
        assert await other == 4
    assert got == list(range(len(got)))


async def test_an_item_that_cannot_travel_is_said(tmp_path: Path) -> None:
    async with TaskScope() as scope:
        with pytest.raises(SerializationError, match="an item of the generator"):
            async for _ in scope.stream(many.unpicklable_items, on="process"):
                pass


def many_and_one_that_stays(folder: Path) -> Iterator[Any]:
    yield from range(300)
    yield (lock := socket.socket())
    lock.close()
    try:
        many.hold(folder, "all")
    except Exception:  # of the engine's own nothing comes here
        (folder / "caught").touch()
    yield 1


async def a_many_and_one_that_stays(folder: Path) -> AsyncIterator[Any]:
    for i in range(300):
        yield i
    with socket.socket() as stays:
        yield stays
    while not (folder / "all.go").exists():
        await anyio.sleep(0.001)
    yield 1


@pytest.mark.parametrize("fn", [many_and_one_that_stays, a_many_and_one_that_stays])
async def test_the_items_before_one_that_cannot_travel_arrive(fn: Any, tmp_path: Path) -> None:
    got: list[int] = []
    async with TaskScope() as scope:
        with pytest.raises(SerializationError, match="an item of the generator"):
            async for x in scope.stream(fn, tmp_path, on="process"):
                got.append(x)
                if x == 299:
                    (tmp_path / "all.go").touch()
    assert got == list(range(300))
    assert not (tmp_path / "caught").exists()


class Unbuildable:
    def __reduce__(self) -> Any:
        return int, ("x",)


def one_that_cannot_be_rebuilt(before: int) -> Iterator[Any]:
    yield from range(before)
    yield Unbuildable()
    yield from range(300)


@pytest.mark.parametrize("before", [0, 1, 300])
async def test_the_items_before_one_that_cannot_be_rebuilt_arrive(before: int) -> None:
    got: list[int] = []
    async with TaskScope() as scope:
        with pytest.raises(SerializationError, match=r"an item of the generator.*invalid literal") as caught:
            async for x in scope.stream(one_that_cannot_be_rebuilt, before, on="process"):
                got.append(x)
    assert got == list(range(before))
    assert type(caught.value.__cause__) is ValueError


def many_and_the_end() -> Iterator[int]:
    yield from range(300)
    sys.exit("enough")


async def test_the_items_before_sys_exit_arrive() -> None:
    got: list[int] = []
    async with TaskScope() as scope:
        with pytest.raises(RemoteError, match="enough"):
            async for x in scope.stream(many_and_the_end, on="process"):
                got.append(x)
    assert got == list(range(300))


async def test_cancelling_the_scope_ends_the_generator(remote: Any, tmp_path: Path) -> None:
    on, fn, _ = remote
    async with TaskScope() as scope:
        async for _ in scope.stream(fn, tmp_path, 1_000_000, on=on):
            scope.cancel()
            await anyio.sleep_forever()
    assert (tmp_path / "closed").exists()


async def test_two_streams_share_a_pool(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    async with ProcessPool(2) as pool, TaskScope(processes=pool) as scope:
        one, two = (scope.stream(many.count_to, folder, 50, on="process") for folder in folders)
        pairs = [(x, await anext(two)) async for x in one]
        assert pairs == [(x, x) for x in range(50)]
        assert [x async for x in two] == []


async def test_what_cannot_run_there_is_refused() -> None:
    async with TaskScope() as scope:
        with pytest.raises(TypeError, match="on the loop or in a process"):
            scope.stream(many.a_count_to, Path(), 1, on="thread")
        with pytest.raises(TypeError, match="generator function"):
            scope.stream(many.count_to(Path(), 1))  # type: ignore[call-overload]
    with pytest.raises(RuntimeError, match="closed"):
        scope.stream(many.count_to, Path(), 1)


async def test_a_function_that_gives_no_iterator_fails_as_it_does_everywhere() -> None:
    async with TaskScope() as scope:
        for on in ("thread", "process"):
            with pytest.raises((TypeError, RemoteError), match="not iterable"):
                async for _ in scope.stream(many.double, 1, on=on):  # type: ignore[call-overload]
                    pass


# --- gather and as_completed


async def test_gather_gives_the_values_in_the_order_of_the_handles() -> None:
    async with TaskScope() as scope:
        handles = [scope.spawn(many.double, x, on=on) for x in range(3) for on in ("thread", "process")]
        handles += [scope.spawn(many.a_double, x) for x in range(3)]
        assert await scope.gather(*handles) == [0, 0, 2, 2, 4, 4, 0, 2, 4]
        assert await scope.gather() == []


async def test_gather_raises_the_first_failure_in_their_order(tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        good, bad, held = (
            scope.spawn(many.double, 1),
            scope.spawn(many.fail_odd, 1),
            scope.spawn(many.hold, tmp_path, "held"),
        )
        with pytest.raises(ValueError, match="1"):
            await scope.gather(good, bad, held)
        assert not held.done()
        held.cancel()
        with pytest.raises(TaskCancelled):
            await scope.gather(held)


async def test_as_completed_gives_the_handles_as_they_end(tmp_path: Path) -> None:
    async with TaskScope(policy=Collect()) as scope:
        handles = [scope.spawn(many.hold, tmp_path, name) for name in "abc"]
        order = []
        for name in "cab":
            if name == "c":
                (tmp_path / "c.go").touch()
                stream = scope.as_completed([*handles, handles[0]])
            else:
                (tmp_path / f"{name}.go").touch()
            order.append((await anext(stream)).result())
        assert order == ["c", "a", "b"]
        assert [each async for each in stream] == []
        assert len([each async for each in scope.as_completed(handles)]) == 3
