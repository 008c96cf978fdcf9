"""A `Limit` never makes nested work wait for its own holder."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel

from tests.scope import many
from tests.waiting import until_async
from unified_exec import Limit, TaskScope


async def test_nested_work_never_waits_for_its_own_holder() -> None:
    limit = Limit(1)

    async def nest(depth: int) -> int:
        if not depth:
            return 0
        async with TaskScope() as scope:
            inner = [scope.spawn(nest, depth - 1, limit=limit) for _ in range(2)]
            return 1 + max(await scope.gather(*inner))

    async with TaskScope() as scope:
        assert await scope.spawn(nest, 3, limit=limit) == 3
    assert limit.free == 1


async def test_nested_work_of_a_thread_neither() -> None:
    limit = Limit(1)
    async with TaskScope() as scope:

        def outer() -> int:
            with limit:
                return anyio.from_thread.run(inner)

        async def inner() -> int:
            return await scope.spawn(many.double, 21, on="process", limit=limit)

        assert await scope.spawn(outer) == 42
        assert await scope.spawn(outer, limit=limit) == 42
    assert limit.free == 1


async def test_nested_maps_neither() -> None:
    limit = Limit(2)

    async def outer(x: int) -> int:
        async with TaskScope() as scope:
            return sum([y async for y in scope.map(many.double, range(x), limit=limit)])

    async with TaskScope() as scope:
        assert [y async for y in scope.map(outer, range(6), limit=limit)] == [0, 0, 2, 6, 12, 20]
    assert limit.free == 2


async def test_one_nested_task_at_a_time_uses_the_place_of_its_holder(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope() as scope:
        async with limit:
            for name in "abc":
                scope.spawn(many.hold, tmp_path, name, limit=limit)
            assert await until_async((tmp_path / "a.started").exists, 60)
            (tmp_path / "a.go").touch()
            assert await until_async((tmp_path / "b.started").exists, 60)
            assert not (tmp_path / "c.started").exists()
        assert limit.free == 0  # the place is b's now
        assert not (tmp_path / "c.started").exists()
        (tmp_path / "b.go").touch()
        assert await until_async((tmp_path / "c.started").exists, 60)
        (tmp_path / "c.go").touch()
    assert limit.free == 1


async def test_what_outlives_its_holder_waits_like_everybody(tmp_path: Path) -> None:
    limit = Limit(1)
    async with TaskScope() as scope:

        async def late() -> str:
            await over.wait()
            return await scope.spawn(many.a_hold, tmp_path, "late", limit=limit)

        over = anyio.Event()
        async with limit:
            handle = scope.spawn(late)
        import contextvars

        first = contextvars.Context().run(scope.spawn, many.a_hold, tmp_path, "first", limit=limit)
        assert await until_async((tmp_path / "first.started").exists, 60)
        over.set()
        await anyio.wait_all_tasks_blocked()
        assert not (tmp_path / "late.started").exists()
        for name in ("first", "late"):
            (tmp_path / f"{name}.go").touch()
        assert await scope.gather(first, handle) == ["first", "late"]
