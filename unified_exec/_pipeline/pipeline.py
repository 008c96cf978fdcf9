"""Pipelines: stages on different backends, connected by bounded buffers."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import anyio
import anyio.lowlevel

from .._handles.cancelled import is_own_cancellation
from .._map.closing import close_shielded
from .._map.source import length_of
from .._map.stats import StageStats
from .._map.stream import check_options
from .._rules.arguments import check_callback, check_function, check_seconds, text, whole
from .._rules.dispatch import call_name
from .._rules.retry import Retry
from .._scope.block import engine_of
from .._scope.scope import TaskScope
from .._sync.limit import Gate
from ..observe.progress.tracker import check_show
from .stages import BatchStage, Failure, FilterStage, MapStage, Run, each

if TYPE_CHECKING:
    from .._scope.options import On
    from ..observe.progress.record import Show
    from .stages import OnError, Stage

T = TypeVar("T")
U = TypeVar("U")


class Pipeline(Generic[T]):
    """Sends items from a source through stages, each on the backend that suits it.

    A pipeline is a description and does nothing until it is run; each method returns a new one. Only a bounded number
    of items waits between two stages, so a slow stage slows its source down.

    Args:
        source: a plain or async iterable; endless ones are fine.
        name: name of the pipeline, shown in errors.

    Attributes:
        failures: the items that stages with ``on_error="skip"`` left out in the last run.
        stats: counts of each ``map`` stage, of the last run or of the present one so far.

    Example::

        import anyio
        from unified_exec import Pipeline

        async def fetch(url):
            return f"the page at {url}"

        async def main():
            pipeline = Pipeline(["/a", "/b", "/c"]).map(fetch, limit=100)
            pipeline = pipeline.map(len, on="cpu").batch(500, every=1.0)
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
        self._stages: tuple[Stage, ...] = ()
        self.name = name
        self.failures: list[Failure] = []
        self.stats: tuple[StageStats, ...] = ()
        self._scope: TaskScope | None = None
        self._progress: Show = None
        self._results: Any = None

    def _with(self, stage: Stage) -> Pipeline[Any]:
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
        buffer: int | None = ...,
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
        buffer: int | None = ...,
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
        buffer: int | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        on_error: OnError = "raise",
        name: str | None = None,
    ) -> Pipeline[Any]:
        """Add a stage that calls `fn` for each item; the options are those of `TaskScope.map`.

        Args:
            on_error: ``"raise"`` ends the pipeline with the item's exception; ``"skip"`` leaves the item out and
                adds it to `failures`; a function is called with each `Failure` (a dead letter) and the item is left
                out.
            name: name of the stage, by default the function's.

        Raises:
            TypeError, ValueError: an option is out of its range.
        """
        if on_error not in ("raise", "skip") and not callable(on_error):
            raise ValueError(f"on_error must be 'raise', 'skip' or a function of one Failure, got {on_error!r}")
        check_function("map", fn)
        check_callback("on_error", on_error)
        check_options(limit=limit, chunk=chunk, buffer=buffer, retry=retry, timeout=timeout)
        bounds = {"limit": limit, "ordered": ordered, "chunk": chunk, "buffer": buffer}
        options = {**bounds, "retry": retry, "timeout": timeout}
        return self._with(MapStage(fn, on, options, on_error, text(name) or call_name(fn)))

    def batch(self, size: int, *, every: float | None = None) -> Pipeline[list[T]]:
        """Gather items into lists.

        Args:
            size: items in a full list.
            every: seconds after which a list is passed on although it is not full; ``None`` to wait until it is.

        Raises:
            TypeError, ValueError: `size` or `every` is not a number, or out of its range.
        """
        if every is not None:
            check_seconds("batch(every=...)", every, positive=True)
        return self._with(BatchStage(whole("batch(size)", size), every))

    def filter(self, keep: Callable[[T], bool]) -> Pipeline[T]:
        """Keep the items for which ``keep(item)`` is true; it runs on the event loop and must be quick."""
        check_function("filter", keep)
        check_callback("filter()", keep)
        return self._with(FilterStage(keep))

    async def __aenter__(self) -> AsyncIterator[T]:
        if self._scope is not None:
            raise RuntimeError("this pipeline is already running: make a second one for a second run")
        self.failures, self.stats = [], ()
        progress, self._progress = self._progress, None
        if progress:
            check_show(progress)
        scope = self._scope = TaskScope(self.name or "pipeline")
        await scope.__aenter__()
        engine = engine_of(scope)
        stream: Any = self._source
        try:
            run = Run(engine, self.failures, progress, length_of(stream))
            for stage in self._stages:
                stream = stage.attach(run, stream)
            self.stats = tuple(run.stats)
        except BaseException as exc:  # a stage that cannot run where it was told to
            self._scope = None
            scope.cancel("its pipeline could not start")
            await scope.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        results: AsyncIterator[T] = stream if isinstance(stream, AsyncIterator) else each(stream)
        self._results = results
        return results

    async def __aexit__(self, kind: Any, exc: BaseException | None, tb: Any) -> bool:
        scope, self._scope = self._scope, None
        assert scope is not None
        engine = engine_of(scope)
        results, self._results = self._results, None
        scope.cancel("its pipeline was left")  # after its natural end nothing is running
        try:
            await close_shielded(results, repr(self))  # each stage closes the previous one
        except BaseException as raised:  # `asyncio.Task.cancel`, which no shield stops
            await scope.__aexit__(type(raised), raised, raised.__traceback__)
            raise
        try:
            await scope.__aexit__(kind, exc, tb)
            # If a cancelled item has ended first, the cancellation that caused it has not arrived here yet.
            if is_own_cancellation(exc, engine):
                await anyio.lowlevel.checkpoint_if_cancelled()
        except BaseExceptionGroup as group:
            if exc is not None and len(group.exceptions) == 1 and group.exceptions[0] is exc:
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
        """Run the pipeline to its end, drop the results and return their number.

        Args:
            progress: shows the progress of each stage; see `TaskScope.map`.

        Raises:
            Exception: the first item's failure in a stage with ``on_error="raise"``.

        Cancelling it cancels every stage and waits for their tasks.
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
