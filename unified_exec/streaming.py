"""Pipelines: stages on different backends, joined by bounded channels."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import anyio

from ._core import route
from ._core.limits import Gate
from ._core.map_engine import MapEngine
from ._core.mapping import MapStream, check_options
from ._core.progress import Tracker, check_show
from ._core.scope import TaskScope
from ._rules.dispatch import call_name
from ._rules.retry import Retry

if TYPE_CHECKING:
    from ._core.progress import Show
    from ._core.scope import On

__all__ = ["Failure", "Pipeline"]

T = TypeVar("T")
U = TypeVar("U")

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


class Pipeline(Generic[T]):
    """Items from a source through stages, each on the backend that suits it.

    A pipeline is a description and changes nothing until it is run; each method returns a new one. Between stages
    only a bounded number of items waits, so a slow stage slows its source.

    Args:
        source: a plain or async iterable; endless ones are fine.
        name: shown in errors.

    Attributes:
        failures: what the stages with ``on_error="skip"`` left out in the last run.

    Example::

        import anyio
        from unified_exec import Pipeline

        async def fetch(url):
            return f"the page at {url}"

        async def main():
            pipeline = Pipeline(["/a", "/b", "/c"]).map(fetch, limit=100).map(len, on="cpu").batch(500, every=1.0)
            print(await pipeline.run(), "batches")

            async with pipeline as results:
                async for batch in results:
                    print(batch)

        anyio.run(main)
    """

    def __init__(self, source: Iterable[T] | AsyncIterable[T], name: str | None = None) -> None:
        if not isinstance(source, (Iterable, AsyncIterable)):
            raise TypeError(f"Pipeline() takes an iterable or an async iterable of items, got {source!r}")
        self._source: Any = source
        self._stages: tuple[_Stage, ...] = ()
        self.name = name
        self.failures: list[Failure] = []
        self._scope: TaskScope | None = None
        self._progress: Show = None
        self._results: Any = None

    def _with(self, stage: _Stage) -> Pipeline[Any]:
        longer: Pipeline[Any] = Pipeline(self._source, self.name)
        longer._stages = (*self._stages, stage)
        return longer

    @overload
    def map(
        self,
        fn: Callable[[T], Awaitable[U]],
        *,
        on: On | None = ...,
        limit: int | Gate | None = ...,
        ordered: bool = ...,
        chunk: int | Literal["auto"] = ...,
        retry: Retry | None = ...,
        timeout: float | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Pipeline[U]: ...

    @overload
    def map(
        self,
        fn: Callable[[T], U],
        *,
        on: On | None = ...,
        limit: int | Gate | None = ...,
        ordered: bool = ...,
        chunk: int | Literal["auto"] = ...,
        retry: Retry | None = ...,
        timeout: float | None = ...,
        on_error: OnError = ...,
        name: str | None = ...,
    ) -> Pipeline[U]: ...

    def map(
        self,
        fn: Callable[[Any], Any],
        *,
        on: On | None = None,
        limit: int | Gate | None = None,
        ordered: bool = True,
        chunk: int | Literal["auto"] = "auto",
        retry: Retry | None = None,
        timeout: float | None = None,
        on_error: OnError = "raise",
        name: str | None = None,
    ) -> Pipeline[Any]:
        """Add a stage that calls `fn` for each item; the options are those of `TaskScope.map`.

        Args:
            on_error: ``"raise"`` ends the pipeline with the item's exception; ``"skip"`` leaves the item out and
                notes it in `failures`; a function gets each `Failure` (a dead letter) and the item is left out.
            name: name of the stage, by default the function's.

        Raises:
            TypeError, ValueError: an option is out of its range.
        """
        if on_error not in ("raise", "skip") and not callable(on_error):
            raise ValueError(f"on_error must be 'raise', 'skip' or a function of one Failure, got {on_error!r}")
        check_options(limit=limit, chunk=chunk, retry=retry, timeout=timeout)
        options = {"limit": limit, "ordered": ordered, "chunk": chunk, "retry": retry, "timeout": timeout}
        return self._with(_Map(fn, on, options, on_error, name or call_name(fn)))

    def batch(self, size: int, *, every: float | None = None) -> Pipeline[list[T]]:
        """Gather items into lists.

        Args:
            size: items in a full list.
            every: seconds after which a list is given on although it is not full; ``None`` to wait.

        Raises:
            ValueError: `size` or `every` is out of its range.
        """
        if size < 1:
            raise ValueError(f"batch(size) must be at least 1, got {size}")
        if every is not None and every <= 0:
            raise ValueError(f"batch(every=...) must be positive or None, got {every}")
        return self._with(_Batch(size, every))

    def filter(self, keep: Callable[[T], bool]) -> Pipeline[T]:
        """Keep the items for which ``keep(item)`` is true; it runs on the event loop and must be quick."""
        return self._with(_Filter(keep))

    async def __aenter__(self) -> AsyncIterator[T]:
        if self._scope is not None:
            raise RuntimeError("this pipeline runs already: make a second one for a second run")
        self.failures = []
        progress, self._progress = self._progress, None
        if progress:
            check_show(progress)
        scope = self._scope = TaskScope(self.name or "pipeline")
        await scope.__aenter__()
        stream: Any = self._source
        try:
            total = len(stream) if hasattr(stream, "__len__") else None
            for stage in self._stages:
                stream = stage.attach(scope, stream, self.failures)
                if isinstance(stream, MapStream):
                    if progress:
                        assert scope._port is not None
                        stream._engine.tracker = Tracker(scope._port, repr(stage), total, progress)
                else:
                    total = None
        except BaseException as exc:  # a stage that cannot run where it shall
            self._scope = None
            scope.cancel("its pipeline could not start")
            await scope.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        results: AsyncIterator[T] = stream if isinstance(stream, AsyncIterator) else _each(stream)
        self._results = results
        return results

    async def __aexit__(self, kind: Any, exc: BaseException | None, tb: Any) -> bool:
        scope, self._scope = self._scope, None
        assert scope is not None
        results, self._results = self._results, None
        scope.cancel("its pipeline was left")  # at its natural end nothing is running any more
        with anyio.CancelScope(shield=True):
            await _close(results)  # each stage closes the one before it
        try:
            await scope.__aexit__(kind, exc, tb)
        except BaseExceptionGroup as group:
            if exc is not None and _only(group, exc):
                return False
            raise
        finally:
            del exc, tb
        return False

    def __aiter__(self) -> AsyncIterator[T]:
        raise TypeError(
            "a pipeline is iterated inside its own block, so that leaving the loop ends its stages: "
            "`async with pipeline as results:` and then `async for result in results:`"
        )

    async def run(self, *, progress: Show = None) -> int:
        """Run the pipeline to its end and drop the results: how many there were.

        Args:
            progress: shows each stage, as that of `TaskScope.map` does.

        Raises:
            Exception: the first item's failure in a stage with ``on_error="raise"``.

        Cancelling it ends every stage.
        """
        count = 0
        self._progress = progress
        async with self as results:
            async for _ in results:
                count += 1
        return count

    async def collect(self) -> list[T]:
        """Run the pipeline to its end and return all results. Raises as `run` does."""
        async with self as results:
            return [result async for result in results]
        raise AssertionError("unreachable")

    def __repr__(self) -> str:
        return f"<Pipeline {' -> '.join(['source', *(repr(stage) for stage in self._stages)])}>"


def _only(group: BaseExceptionGroup[Any], exc: BaseException) -> bool:
    return len(group.exceptions) == 1 and group.exceptions[0] is exc


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """The items, one by one; whatever they come from is closed at the end."""
    try:
        if isinstance(items, Iterable):
            for item in items:
                yield item
        else:
            async for item in items:
                yield item
    finally:
        await _close(items)


async def _close(stream: Any) -> None:
    if hasattr(stream, "aclose"):
        await stream.aclose()
    elif isinstance(stream, Generator):
        stream.close()


class _Stage:
    def attach(self, scope: TaskScope, stream: Any, failures: list[Failure]) -> Any:
        raise NotImplementedError


class _Map(_Stage):
    def __init__(
        self, fn: Callable[[Any], Any], on: Any, options: dict[str, Any], on_error: OnError, name: str
    ) -> None:
        self.fn = fn
        self.on = on
        self.options = options
        self.on_error = on_error
        self.name = name

    def attach(self, scope: TaskScope, stream: Any, failures: list[Failure]) -> Any:
        place, backend = route.resolve(scope, self.fn, self.on)
        options = {**self.options, "chunk": None if self.options["chunk"] == "auto" else self.options["chunk"]}
        take = failures.append if self.on_error == "skip" else self.on_error
        if callable(take):
            options["on_error"] = lambda item, error: take(Failure(self.name, item, error))
        options["steering"] = route.steering(scope, self.fn, self.on)
        engine = MapEngine(scope, self.fn, stream, place, backend, name=f"stage {self.name}", **options)
        return MapStream(engine)

    def __repr__(self) -> str:
        return f"map({self.name})"


class _Batch(_Stage):
    def __init__(self, size: int, every: float | None) -> None:
        self.size = size
        self.every = every

    def attach(self, scope: TaskScope, stream: Any, failures: list[Failure]) -> Any:
        source = _each(stream)
        if self.every is None:
            return self._full(source)
        send, receive = anyio.create_memory_object_stream[Any](1)
        scope.start_soon(self._pour, source, send, name="batch, reading its source")
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
            await _close(source)
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
                    await _close(source)

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


class _Filter(_Stage):
    def __init__(self, keep: Callable[[Any], bool]) -> None:
        self.keep = keep

    async def attach_to(self, stream: AsyncIterable[Any]) -> AsyncIterator[Any]:
        try:
            async for item in stream:
                if self.keep(item):
                    yield item
        finally:
            await _close(stream)

    def attach(self, scope: TaskScope, stream: Any, failures: list[Failure]) -> Any:
        return self.attach_to(_each(stream))

    def __repr__(self) -> str:
        return f"filter({call_name(self.keep)})"
