"""The stages of a pipeline: a function over the items, batches, a filter."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio

from .._map.closing import close_shielded
from .._map.stats import StageStats
from .._map.stream import MapStream, make_engine
from .._rules.dispatch import call_name
from ..observe.progress.tracker import Tracker

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from ..observe.progress.record import Show

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
    """Yield the items one by one and close their source in the end."""
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


class Run:
    """One run of a pipeline: what its stages share.

    Attributes:
        scope: the scope its tasks run in.
        failures: the items that were skipped.
        progress: how progress is shown.
        total: the number of items that the next stage receives, ``None`` if unknown.
        stats: what the stages count, one for each `MapStage`.
    """

    __slots__ = ("failures", "progress", "scope", "stats", "total")

    def __init__(self, scope: Launcher, failures: list[Failure], progress: Show, total: int | None) -> None:
        self.scope = scope
        self.failures = failures
        self.progress = progress
        self.total = total
        self.stats: list[StageStats] = []


class Stage(ABC):
    """One step of a pipeline. It belongs to no run: `attach` is called once for each."""

    @abstractmethod
    def attach(self, run: Run, stream: Any) -> Any:
        """Return the stream of this stage's results for the items of `stream`."""


class MapStage(Stage):
    def __init__(
        self, fn: Callable[[Any], Any], on: Any, options: dict[str, Any], on_error: OnError, name: str
    ) -> None:
        self.fn = fn
        self.on = on
        self.options = options
        self.on_error = on_error
        self.name = name

    def attach(self, run: Run, stream: Any) -> MapStream[Any]:
        options = {**self.options, "name": f"stage {self.name}"}
        on_failure = run.failures.append if self.on_error == "skip" else self.on_error
        if callable(on_failure):
            options["on_error"] = lambda item, error: on_failure(Failure(self.name, item, error))
        engine = make_engine(run.scope, self.fn, stream, self.on, **options)
        engine.stats = StageStats(self.name, engine.backend)
        run.stats.append(engine.stats)
        if run.progress:
            engine.tracker = Tracker(run.scope, repr(self), run.total, run.progress)
        return MapStream(engine)

    def __repr__(self) -> str:
        return f"map({self.name})"


class BatchStage(Stage):
    def __init__(self, size: int, every: float | None) -> None:
        self.size = size
        self.every = every

    def attach(self, run: Run, stream: Any) -> Any:
        run.total = None
        source = each(stream)
        if self.every is None:
            return self._full(source)
        return self._timed(run.scope, source)

    async def _full(self, source: AsyncIterable[Any]) -> AsyncIterator[list[Any]]:
        batch: list[Any] = []
        try:
            async for item in source:
                batch.append(item)
                if len(batch) >= self.size:
                    yield batch
                    batch = []
        except Exception:
            if batch:  # the items before the error are not lost
                yield batch
            raise
        finally:
            await close(source)
        if batch:
            yield batch

    async def _read(self, source: AsyncIterable[Any], send: Any) -> None:
        """Read the source in a separate task: the deadline of a batch must not cancel a read halfway."""
        async with send:
            try:
                async for item in source:
                    await send.send((item, None))
            except anyio.BrokenResourceError:
                pass  # the batches are not taken any more
            except Exception as exc:
                await send.send((None, exc))
            finally:
                await close_shielded(source, repr(self))

    async def _timed(self, scope: Launcher, source: AsyncIterable[Any]) -> AsyncIterator[list[Any]]:
        send, receive = anyio.create_memory_object_stream[Any](1)
        async with send, receive:
            scope.create_task(self._read(source, send), name="batch, reading its source")
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

    async def _filter(self, stream: AsyncIterable[Any]) -> AsyncIterator[Any]:
        try:
            async for item in stream:
                if self.keep(item):
                    yield item
        finally:
            await close(stream)

    def attach(self, run: Run, stream: Any) -> Any:
        run.total = None
        return self._filter(each(stream))

    def __repr__(self) -> str:
        return f"filter({call_name(self.keep)})"
