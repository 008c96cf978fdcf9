"""The stages of a pipeline: a function over its items, batches, a filter."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from .._map.stats import StageStats
from .._map.stream import make_map
from .._rules.dispatch import call_name

if TYPE_CHECKING:
    from .._handles.owner import Launcher

T = TypeVar("T")

OnError = Literal["raise", "skip"] | Callable[["Failure"], object]


class Failure:
    """An item that failed in a stage.

    Attributes:
        stage: name of the stage.
        item: the item as the stage received it.
        error: what it raised.
    """

    __slots__ = ("error", "item", "stage")

    def __init__(self, stage: str, item: Any, error: BaseException) -> None:
        self.stage = stage
        self.item = item
        self.error = error

    def __repr__(self) -> str:
        return f"Failure(stage={self.stage!r}, item={self.item!r}, error={self.error!r})"


async def each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """The items, one by one; whatever they come from is closed at the end."""
    try:
        if isinstance(items, Iterable):
            for item in items:
                yield item
        else:
            async for item in items:
                yield item
    finally:
        await close(items)


async def close(stream: Any) -> None:
    if hasattr(stream, "aclose"):
        await stream.aclose()
    elif isinstance(stream, Generator):
        stream.close()


class Stage:
    def attach(self, scope: Launcher, stream: Any, failures: list[Failure]) -> Any:
        raise NotImplementedError


class MapStage(Stage):
    def __init__(
        self, fn: Callable[[Any], Any], on: Any, options: dict[str, Any], on_error: OnError, name: str
    ) -> None:
        self.fn = fn
        self.on = on
        self.options = options
        self.on_error = on_error
        self.name = name

    def attach(self, scope: Launcher, stream: Any, failures: list[Failure]) -> Any:
        options = {**self.options, "name": f"stage {self.name}"}
        take = failures.append if self.on_error == "skip" else self.on_error
        if callable(take):
            options["on_error"] = lambda item, error: take(Failure(self.name, item, error))
        results = make_map(scope, self.fn, stream, self.on, **options)
        results._engine.stats = StageStats(self.name, results._engine.place)
        return results

    def __repr__(self) -> str:
        return f"map({self.name})"


class BatchStage(Stage):
    def __init__(self, size: int, every: float | None) -> None:
        self.size = size
        self.every = every

    def attach(self, scope: Launcher, stream: Any, failures: list[Failure]) -> Any:
        source = each(stream)
        if self.every is None:
            return self._full(source)
        send, receive = anyio.create_memory_object_stream[Any](1)
        scope.create_task(self._pour(source, send), name="batch, reading its source")
        return self._timed(receive)

    async def _full(self, source: AsyncIterable[Any]) -> AsyncIterator[list[Any]]:
        batch: list[Any] = []
        try:
            async for item in source:
                batch.append(item)
                if len(batch) >= self.size:
                    yield batch
                    batch = []
        except Exception:
            if batch:  # what came before the error is not lost with it
                yield batch
            raise
        finally:
            await close(source)
        if batch:
            yield batch

    async def _pour(self, source: AsyncIterable[Any], send: Any) -> None:
        """Read the source in a task of its own: a time limit must not cancel a read half-way."""
        async with send:
            try:
                async for item in source:
                    await send.send((item, None))
            except anyio.BrokenResourceError:
                pass  # nobody takes the batches any more
            except Exception as exc:
                await send.send((None, exc))
            finally:
                with anyio.CancelScope(shield=True):
                    await close(source)

    async def _timed(self, receive: Any) -> AsyncIterator[list[Any]]:
        async with receive:
            batch: list[Any] = []
            ends = math.inf
            while True:
                item, error, over = None, None, False
                try:
                    with anyio.CancelScope(deadline=ends) as clock:
                        item, error = await receive.receive()
                except anyio.EndOfStream:
                    over = True
                arrived = not over and not clock.cancelled_caught
                if arrived and error is None:
                    if not batch and self.every is not None:
                        ends = anyio.current_time() + self.every
                    batch.append(item)
                if batch and (over or error is not None or not arrived or len(batch) >= self.size):
                    full, batch, ends = batch, [], math.inf
                    yield full
                if error is not None:
                    raise error
                if over:
                    return

    def __repr__(self) -> str:
        return f"batch({self.size})"


class FilterStage(Stage):
    def __init__(self, keep: Callable[[Any], bool]) -> None:
        self.keep = keep

    async def attach_to(self, stream: AsyncIterable[Any]) -> AsyncIterator[Any]:
        try:
            async for item in stream:
                if self.keep(item):
                    yield item
        finally:
            await close(stream)

    def attach(self, scope: Launcher, stream: Any, failures: list[Failure]) -> Any:
        return self.attach_to(each(stream))

    def __repr__(self) -> str:
        return f"filter({call_name(self.keep)})"
