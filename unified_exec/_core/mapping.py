"""`scope.map`: a function over many items, lazily, bounded, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import route
from .handle import TaskHandle
from .._backends.base import Backend
from .._rules.chunking import Chunking
from .._rules.dispatch import call_name, is_async
from .._rules.retry import Retry
from .._worker.chunks import ChunkResults, ItemFailure, run_chunk
from ..errors import SerializationError, UnifiedExecError

if TYPE_CHECKING:
    from .scope import TaskScope
    from .._backends.ports import Waiter

T = TypeVar("T")

LOOP_LIMIT = 100
"""Coroutines of one map at the same time, unless said otherwise."""
AHEAD = 3
"""Chunks in flight for each worker: one runs, one waits beside it, one is on its way."""
HELD = 16
"""Finished chunks for each worker that may wait for their turn, or for the consumer."""

_PENDING: Any = object()  # the place of an item that is tried again
_SKIPPED: Any = object()  # the place of a failed item that somebody else took


class Chunk:
    """Items that travel together, and their results as they come."""

    __slots__ = ("items", "missing", "results", "tries")

    def __init__(self, items: list[Any], tries: int = 1) -> None:
        self.items = items
        self.tries = tries
        self.results: list[Any] | None = None
        self.missing = 0

    @property
    def whole(self) -> bool:
        return self.results is not None and not self.missing


class MapStream(AsyncIterator[T], Generic[T]):
    """The results of `TaskScope.map`: iterate it with ``async for``.

    Leaving the loop early cancels what is in flight; the scope waits for its end. `aclose` waits at once.
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
        if type(item) is ItemFailure:
            return self._engine.failure(item.error)  # type: ignore[no-any-return]
        return item  # type: ignore[no-any-return]

    def take(self, most: int) -> list[Any]:
        """Take up to `most` results that are ready, stopping before a failure."""
        ready, taken = self._ready, []
        while ready and len(taken) < most and type(ready[0]) is not ItemFailure:
            taken.append(ready.popleft())
        if len(ready) <= self._engine.low:
            self._engine.refill()
        return taken

    async def aclose(self) -> None:
        """Cancel what is in flight and wait for its end. Does nothing if the stream has ended."""
        await self._engine.aclose()

    async def __aenter__(self) -> MapStream[T]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._engine.ended:
            self._engine.abandon()


class MapEngine:
    """Reads the source as far as its bounds allow, sends chunks, and puts their results in order."""

    def __init__(
        self,
        scope: TaskScope,
        fn: Callable[[Any], Any],
        items: Iterable[Any] | AsyncIterable[Any],
        place: str,
        backend: Backend | None,
        *,
        limit: int | None,
        ordered: bool,
        chunk: int | None,
        buffer: int | None,
        retry: Retry | None,
        timeout: float | None,
        return_exceptions: bool,
        on_error: Callable[[Any, BaseException], object] | None = None,
    ) -> None:
        self.scope = scope
        self.on_error = on_error
        self.name = f"map of {call_name(fn)}"
        self.place = place
        self.backend = backend
        self.timeout = timeout
        self.retry = retry
        self.ordered = ordered
        self.return_exceptions = return_exceptions
        self.ready: deque[Any] = deque()
        self.low = 0
        self.ended = False
        single = backend is None or is_async(fn) or timeout is not None
        self._fn = fn if single else partial(run_chunk, fn, return_exceptions or retry is not None or on_error is not None)
        self._single = single
        workers = LOOP_LIMIT if backend is None else backend.max_workers
        self._auto_limit = limit is None
        most = 1 if single else (2000 if limit is None else limit // (2 * workers))
        self.chunking = Chunking(1 if single else chunk, most)
        self._workers = workers
        self._limit = limit if limit is not None else workers
        self._buffer = buffer
        self._flying = 0
        self._held = 0
        self._window: deque[Chunk] = deque()
        self._flights: set[TaskHandle[Any]] = set()
        self._waiter: Waiter | None = None
        self._stop: BaseException | None = None
        self._source: Any = iter(items) if isinstance(items, Iterable) else None
        self._asource: Any = None if self._source is not None else aiter(items)
        self._exhausted = False
        self._feeding = False
        self._refilling = False
        self._room: Waiter | None = None

    # -- bounds

    def _may_send(self) -> int:
        """How many items may be sent now."""
        size = self.chunking.size
        flight = self._limit if not self._auto_limit or self.backend is None else AHEAD * self._workers * size
        kept = self._buffer if self._buffer is not None else max(HELD * self._workers * size, 2 * flight)
        return min(flight - self._flying, flight + kept - self._flying - self._held - len(self.ready))

    def refill(self) -> None:
        """Send what the bounds allow."""
        if self.ended or self._exhausted or self._refilling:
            return
        if self._asource is not None:
            if not self._feeding:
                self._feeding = True
                self.scope.create_task(self._feed(), name=f"{self.name}, reading its source")
            elif self._room is not None:
                self._room.wake()
            return
        self._refilling = True
        try:
            self._read_source()
        finally:
            self._refilling = False
        self.low = len(self.ready) // 2

    def _read_source(self) -> None:
        while not self.ended and not self._exhausted and (room := self._may_send()) > 0:
            try:
                items = list(islice(self._source, min(room, self.chunking.size)))
            except BaseException as exc:
                self._source_failed(exc)
                return
            if not items:
                self._exhausted = True
                return
            self._send(Chunk(items))

    async def _feed(self) -> None:
        """Read an async source as far as the bounds allow; it ends with the source or the stream."""
        assert self.scope._port is not None
        try:
            while not self.ended:
                while self._may_send() <= 0 and not self.ended:
                    self._room = self.scope._port.waiter()
                    await self._room
                self._room = None
                if self.ended:
                    break
                try:
                    items = [await anext(self._asource)]
                except StopAsyncIteration:
                    break
                if type(self._asource) is MapStream:
                    items += self._asource.take(min(self._may_send(), self.chunking.size) - 1)
                self._send(Chunk(items))
        except Exception as exc:
            self._source_failed(exc)
        finally:
            self._exhausted = True
            self._wake_if_over()

    def _source_failed(self, exc: BaseException) -> None:
        """The source raised: the consumer gets that after the results of what had been read."""
        self._exhausted = True
        self._window.append(_done([ItemFailure(exc)] if isinstance(exc, Exception) else []))
        if not isinstance(exc, Exception):
            raise exc
        self._held += 1
        self._stop = exc
        self._deliver()

    # -- chunks

    def _send(self, chunk: Chunk, into: tuple[Chunk, int] | None = None) -> None:
        if into is None:
            self._window.append(chunk)
        self._flying += len(chunk.items)
        scope = self.scope
        args = (chunk.items[0],) if self._single else (chunk.items,)
        handle: TaskHandle[Any] = TaskHandle(self.name, self._fn, args, self.place, scope, scope._port)
        handle.private = True
        try:
            scope.launch(handle, self.backend, self.timeout)
        except SerializationError as exc:
            self._flying -= len(chunk.items)
            self._cannot_travel(chunk, into, exc)
            return
        except UnifiedExecError as exc:
            self._flying -= len(chunk.items)
            self._finished(chunk, into, [ItemFailure(exc) for _ in chunk.items])
            return
        self._flights.add(handle)
        handle.when_done(lambda: self._done(handle, chunk, into))

    def _cannot_travel(self, chunk: Chunk, into: tuple[Chunk, int] | None, exc: SerializationError) -> None:
        """One item of the chunk is to blame: send each alone."""
        if len(chunk.items) == 1:
            self._finished(chunk, into, [ItemFailure(exc)])
            return
        chunk.results = [_PENDING] * len(chunk.items)
        chunk.missing = len(chunk.items)
        for index, item in enumerate(chunk.items):
            self._send(Chunk([item]), (chunk, index))

    def _done(self, handle: TaskHandle[Any], chunk: Chunk, into: tuple[Chunk, int] | None) -> None:
        """A chunk's task has ended."""
        assert handle.outcome is not None
        self._flights.discard(handle)
        self._flying -= len(chunk.items)
        outcome = handle.outcome
        if outcome.is_value:
            value = outcome.unwrap()
            results = value.results if type(value) is ChunkResults and not self._single else [value]
            if handle.started_at is not None and handle.finished_at is not None:
                self.chunking.measured(max(1, len(results)), handle.finished_at - handle.started_at)
        else:
            error = outcome.error if outcome.error is not None else handle.cancellation()
            if handle.by_scope:
                self._exhausted = True  # the scope ends: nothing more is read
            results = [ItemFailure(error) for _ in chunk.items]
        self._finished(chunk, into, results)

    def _finished(self, chunk: Chunk, into: tuple[Chunk, int] | None, results: list[Any]) -> None:
        if self.ended:
            self._wake_if_over()
            return
        if self.retry is not None:
            self._try_again(chunk, into, results)
        if self.on_error is not None:
            for index, result in enumerate(results):
                if type(result) is ItemFailure:
                    self.on_error(chunk.items[index], result.error)
                    results[index] = _SKIPPED
        if into is None:
            chunk.results = results
            self._held += len(results)
        elif results[0] is not _PENDING:
            home, index = into
            assert home.results is not None
            home.results[index] = results[0]
            home.missing -= 1
            self._held += 1
        self._deliver()
        self.refill()

    def _try_again(self, chunk: Chunk, into: tuple[Chunk, int] | None, results: list[Any]) -> None:
        assert self.retry is not None
        for index, result in enumerate(results):
            if type(result) is ItemFailure and self.retry.wants(result.error, chunk.tries):
                again = Chunk([chunk.items[index]], chunk.tries + 1)
                home = into if into is not None else (chunk, index)
                if into is None:
                    chunk.missing += 1
                    self._held -= 1
                results[index] = _PENDING
                assert self.scope._port is not None
                self.scope._port.call_later(self.retry.delay(chunk.tries), self._resend, again, home)

    def _resend(self, chunk: Chunk, into: tuple[Chunk, int]) -> None:
        if not self.ended:
            self._send(chunk, into)

    def _deliver(self) -> None:
        """Hand over what may be handed over: in order, or as it comes."""
        window = self._window
        before = len(self.ready)
        if self.ordered:
            while window and window[0].whole:
                self._hand_over(window.popleft())
        else:
            for chunk in [chunk for chunk in window if chunk.whole]:
                window.remove(chunk)
                self._hand_over(chunk)
        if len(self.ready) != before:
            self._wake()
        self._wake_if_over()

    def _hand_over(self, chunk: Chunk) -> None:
        assert chunk.results is not None
        if self.on_error is None:
            self.ready.extend(chunk.results)
        else:
            self.ready.extend(result for result in chunk.results if result is not _SKIPPED)
        self._held -= len(chunk.results)

    # -- the consumer

    async def more(self) -> None:
        """Wait until a result is ready.

        Raises:
            StopAsyncIteration: there will be none.
        """
        assert self.scope._port is not None
        self.refill()
        while not self.ready:
            if self.ended or self._over():
                self.ended = True
                raise StopAsyncIteration
            self._waiter = self.scope._port.waiter()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _over(self) -> bool:
        return self._exhausted and not self._window

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()

    def _wake_if_over(self) -> None:
        if self.ended or self._over():
            self._wake()

    def failure(self, error: BaseException) -> BaseException:
        """Give the error of an item to the consumer, as a value if that was asked for.

        Raises:
            BaseException: the error itself; the stream ends with it.
        """
        if self.return_exceptions and error is not self._stop:
            return error
        self.stop()
        raise error

    # -- the end

    def stop(self) -> None:
        """End the stream and cancel what is in flight, without waiting."""
        if self.ended:
            return
        self.ended = True
        for handle in list(self._flights):
            handle.cancel("its map was left")
        if self._room is not None:
            self._room.wake()
        if self._source is not None and hasattr(self._source, "close"):
            self._source.close()
        self._window.clear()
        self._wake()

    def abandon(self) -> None:
        """Like `stop`, from the collector, which may run anywhere."""
        port = self.scope._port
        if port is not None and not port.ended():
            port.call_threadsafe(self.stop)

    async def aclose(self) -> None:
        flights = list(self._flights)
        self.stop()
        for handle in flights:
            await handle.wait()
        if self._asource is not None and hasattr(self._asource, "aclose") and not self._feeding:
            await self._asource.aclose()


def _done(results: list[Any]) -> Chunk:
    chunk = Chunk([])
    chunk.results = results
    return chunk


def make_map(
    scope: TaskScope,
    fn: Callable[[Any], Any],
    items: Iterable[Any] | AsyncIterable[Any],
    on: Any,
    *,
    chunk: int | str,
    limit: int | None,
    buffer: int | None,
    timeout: float | None,
    retry: Retry | None,
    ordered: bool,
    return_exceptions: bool,
) -> MapStream[Any]:
    """Check the arguments of `TaskScope.map` and make its stream.

    Raises:
        RuntimeError: the scope is not open.
        TypeError, ValueError: an argument does not fit.
    """
    if not scope._open:
        raise RuntimeError(route.not_open(scope, fn))
    place, backend = route.resolve(scope, fn, on)
    if not isinstance(items, (Iterable, AsyncIterable)):
        raise TypeError(f"map() takes an iterable or an async iterable of items, got {items!r}")
    if chunk != "auto" and (not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f"chunk must be 'auto' or a number of at least 1, got {chunk!r}")
    for what, value, least in (("limit", limit, 1), ("buffer", buffer, 0)):
        if value is not None and value < least:
            raise ValueError(f"{what} must be at least {least} or None, got {value!r}")
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry, got {retry!r}: write retry=Retry(3)")
    if timeout is not None:
        route.check_seconds("timeout", timeout)
    engine = MapEngine(
        scope,
        fn,
        items,
        place,
        backend,
        limit=limit,
        ordered=ordered,
        chunk=chunk if isinstance(chunk, int) else None,
        buffer=buffer,
        retry=retry,
        timeout=timeout,
        return_exceptions=return_exceptions,
    )
    return MapStream(engine)
