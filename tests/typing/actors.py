"""What the type checkers know about actors and the way back. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from typing import assert_type

from unified_exec import Actor, ActorGroup, SyncActor, SyncTaskHandle, SyncTaskScope, TaskHandle, TaskScope, from_task


class Model:
    def __init__(self, path: str, size: int) -> None:
        self.path = path

    def predict(self, x: float, y: float) -> str:
        return self.path

    async def train(self, rounds: int) -> float:
        return float(rounds)


async def actors() -> None:
    async with TaskScope() as scope:
        model = scope.actor(Model, "path", 3, on="process")
        assert_type(model, Actor[Model])
        assert_type(model.call(Model.predict, 1.0, 2.0), TaskHandle[str])
        assert_type(await model.call(Model.train, 3), float)
        scope.actor(Model, 3, "path")  # type: ignore[arg-type]
        several = scope.actors(Model, "path", 3, count=2)
        assert_type(several, ActorGroup[Model])
        assert_type(await several.call(Model.predict, 1.0, 2.0), str)
    with SyncTaskScope() as blocking:
        synchronous = blocking.actor(Model, "path", 3)
        assert_type(synchronous, SyncActor[Model])
        assert_type(synchronous.call(Model.predict, 1.0, 2.0), SyncTaskHandle[str])


async def fetch(url: str) -> bytes:
    return url.encode()


def plain(n: int) -> str:
    return str(n)


def way_back() -> None:
    assert_type(from_task.run(fetch, "url"), bytes)
    assert_type(from_task.run_sync(plain, 3), str)
    from_task.run(plain, 3)  # type: ignore[arg-type]
    assert_type(from_task.spawn(plain, 3, on="process"), from_task.SpawnedTask[str])
    assert_type(from_task.spawn(fetch, "url").result(), bytes)


async def way_back_async() -> None:
    assert_type(await from_task.run_async(fetch, "url"), bytes)
    assert_type(await from_task.spawn(fetch, "url"), bytes)
