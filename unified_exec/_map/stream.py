"""`scope.map`: a function over many items, lazily, bounded, in order."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .._handles.validation import check_priority
from .._rules.arguments import as_int, check_seconds, whole
from .._rules.dispatch import AUTO, is_async
from .._rules.retry import Retry
from .._sync.limit import Gate, as_gate
from .bounds import FixedPlacement, Placement
from .chunks import NO_RESULT, Stop
from .engine import MapEngine
from .result_stream import ResultStream, raise_failure

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from ..observe.progress.record import Show

T = TypeVar("T")


class MapStream(ResultStream[T]):
    """The results of `TaskScope.map`: iterate over it with ``async for``.

    Leaving the loop early cancels the tasks in flight; the scope waits for their end. `aclose` waits at once.
    """

    def __init__(self, engine: MapEngine) -> None:
        self._engine = engine
        self._ready = engine.ready

    def __aiter__(self) -> MapStream[T]:
        return self

    async def __anext__(self) -> T:
        ready = self._ready
        if not ready:
            await self._engine.more()
        item = ready.popleft()
        if len(ready) == self._engine.low:
            self._engine.refill()
        if type(item) in NO_RESULT:
            error, final = item.error, type(item) is Stop
            try:
                if self._engine.ends_with_failure(final):
                    raise_failure(error, self._engine.name)
                return cast(T, error)
            finally:
                del item, error  # no cycle from the error over its traceback to this frame
        return item  # type: ignore[no-any-return]

    def take(self, most: int) -> list[T]:
        """Take up to `most` results that are ready now, without waiting; it stops before a failure."""
        ready = self._ready
        taken: list[T] = []
        while ready and len(taken) < most and type(ready[0]) not in NO_RESULT:
            taken.append(ready.popleft())
        if len(ready) <= self._engine.low:
            self._engine.refill()
        return taken

    async def aclose(self) -> None:
        """Cancel the tasks in flight and wait for their end. Does nothing if the stream has ended."""
        await self._engine.aclose()

    def __del__(self) -> None:
        if not self._engine.ended:
            self._engine.abandon()


def make_map(
    scope: Launcher,
    fn: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    on: Any,
    *,
    progress: Show = None,
    **options: Any,
) -> MapStream[Any]:
    """Check the arguments of `TaskScope.map` and return its stream.

    Raises:
        RuntimeError: the scope is not open.
        TypeError, ValueError: an argument does not fit.
    """
    if progress:
        from ..observe.progress.tracker import Tracker, check_show

        check_show(progress)
    engine = make_engine(scope, fn, items, on, **options)
    if progress:
        engine.tracker = Tracker(scope, engine.name, engine.source.total, progress)
    return MapStream(engine)


def make_engine(
    scope: Launcher,
    fn: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    on: Any,
    **options: Any,
) -> MapEngine:
    """Check the arguments of a map and return its engine; the options are those of `MapEngine`.

    Raises:
        RuntimeError: the scope is not open.
        TypeError, ValueError: an argument does not fit.
    """
    _, backend = scope.resolve(fn, on)
    if not isinstance(items, (Iterable, AsyncIterable)):
        raise TypeError(f"map() takes an iterable or an async iterable of items, got {items!r}")
    options = check_options(**options)
    placement: Placement
    if on == AUTO and not is_async(fn):
        from .._auto.placer import AdaptivePlacement  # loaded where it is used: it brings `statistics`

        placement = AdaptivePlacement(scope, fn)
    else:
        placement = FixedPlacement(scope, backend)
    return MapEngine(scope, fn, items, placement, **options)


def check_options(
    *,
    limit: int | Gate | None = None,
    chunk: int | str = "auto",
    buffer: int | None = None,
    retry: Retry | None = None,
    timeout: float | None = None,
    priority: int | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Check the options of a map, and return them as its engine takes them.

    Raises:
        TypeError, ValueError: one of them does not fit.
    """
    limit = as_gate(limit, "limit") if as_int(limit) is None else whole("limit", limit)
    size = None if chunk == "auto" else whole("chunk", chunk, instead="'auto'")
    if buffer is not None:
        buffer = whole("buffer", buffer, 0, instead="None")
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry, got {retry!r}: write retry=Retry(3)")
    if timeout is not None:
        check_seconds("timeout", timeout)
    if priority is not None:
        priority = check_priority(priority)
    checked = {"limit": limit, "chunk": size, "buffer": buffer, "retry": retry, "timeout": timeout}
    return {**checked, "priority": priority, **others}
