"""The engine of `scope.map`: reads as far as its bounds allow, sends, tries again, puts in order."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from .._handles.handle import TaskHandle
from .._rules.chunking import LONGEST
from .._rules.dispatch import call_name, is_async
from .._rules.retry import Retry
from .._sync.limit import Gate
from .._sync.waiters import LoopWaiter, Permit, enter, newest_permit
from .._worker.run_chunk import ItemFailure, run_chunk
from ..abc import Backend
from ..errors import SerializationError, UnifiedExecError
from .bounds import MapBounds
from .chunks import PENDING, SKIPPED, Chunk, Order, Stop, results_of
from .feed import Feed
from .source import Source

if TYPE_CHECKING:
    from .._auto.placer import AdaptivePlacement
    from .._handles.owner import Launcher
    from .._loops.adapter import Timer, Waiter
    from ..observe.progress.tracker import Tracker
    from .stats import StageStats


class MapEngine:
    """One map at work. Everything happens in the thread of its scope's loop."""

    def __init__(
        self,
        scope: Launcher,
        fn: Callable[[Any], Any],
        items: Any,
        place: str,
        backend: Backend | None,
        *,
        limit: int | Gate | None = None,
        ordered: bool = True,
        chunk: int | None = None,
        buffer: int | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        return_exceptions: bool = False,
        on_error: Callable[[Any, BaseException], object] | None = None,
        name: str | None = None,
        steering: AdaptivePlacement | None = None,
    ) -> None:
        self.scope = scope
        self.name = name or f"map of {call_name(fn)}"
        self.ended = False
        self.low = 0
        self.tracker: Tracker | None = None
        self.stats: StageStats | None = None
        self.port = scope.adapter
        self.place = place
        self._backend = backend
        self._steering = steering
        self._timeout = timeout
        self._retry = retry
        self._on_error = on_error
        self._return_exceptions = return_exceptions
        self._context = copy_context()
        self._gate = limit if isinstance(limit, Gate) else None
        self._single = backend is None or is_async(fn) or timeout is not None
        self._goes_on = return_exceptions or retry is not None or on_error is not None
        seconds = LONGEST if chunk is None else inf
        self._fn = fn if self._single else partial(run_chunk, fn, self._goes_on, seconds)
        self._bounds = MapBounds(backend, steering, self._single, limit, chunk, buffer)
        self.chunking = self._bounds.chunking
        self._order = Order(ordered)
        self.ready = self._order.ready
        self._flying = 0  # items on their way, waiting for the gate, or for their next try
        self._flights: set[TaskHandle[Any]] = set()
        self._queue: set[LoopWaiter] = set()
        self._timers: dict[Chunk, Timer] = {}
        self._waiters: list[Waiter] = []
        self.source = Source(items, self._context.copy())
        self._feed = Feed() if self.source.is_async else None
        self._refilling = False
        scope.attach(self)

    # -- reading

    def may_send(self) -> int:
        """How many items may be read and sent now."""
        read = self._flying + (len(self._feed.gathered) if self._feed is not None else 0)
        return self._bounds.room(read, self._order.held + len(self.ready))

    def refill(self) -> None:
        """Send what the bounds allow."""
        if self.ended or self.source.exhausted or self._refilling:
            return
        if self._feed is not None:
            self._feed.go_on(self)
            return
        self._refilling = True
        try:
            while (room := self.may_send()) > 0:
                if not self._reading():  # what was sent may have ended it
                    break
                size = self._next_size()
                if room < size and not self.is_short_of_work:
                    break  # soon there is room for a whole chunk
                items = self.source.read(min(room, size))
                if items:
                    self.expect(items)
                if self.source.error is not None:
                    self.source_failed(self.source.error)
        finally:
            self._refilling = False
        self.low = len(self.ready) // 2

    def _next_size(self) -> int:
        return self.chunking.next_size(self.source.left, self._bounds.workers)

    @property
    def is_short_of_work(self) -> bool:
        """Some worker may be idle soon: a chunk goes even if it is not full."""
        return len(self._flights) < 2 * self._bounds.workers

    def source_failed(self, error: BaseException) -> None:
        """The consumer gets what the source raised after the results of what had been read."""
        self._order.finish_with(Stop(error))
        self.wake()

    # -- sending

    def expect(self, items: list[Any]) -> None:
        """Send items that were read."""
        chunk = Chunk(items)
        if self.stats is not None:
            self.stats.received += len(items)
        self._order.expect(chunk)
        self._flying += len(items)
        self._line_up(chunk)

    def _line_up(self, chunk: Chunk) -> None:
        """Wait for the gate, if there is one."""
        if self._gate is None:
            self._send(chunk, None)
            return
        waiter = LoopWaiter(self.port, partial(self._let_in, chunk))
        waiter.outer = self._context.run(newest_permit.get)
        self._queue.add(waiter)
        if self._gate.acquire_nowait_or_enqueue(waiter):
            self._let_in(chunk, waiter)

    def _let_in(self, chunk: Chunk, waiter: LoopWaiter) -> None:
        self._queue.discard(waiter)
        self._send(chunk, waiter.permit)

    def _send(self, chunk: Chunk, permit: Permit | None) -> None:
        if self._steering is not None:
            self._steer(self._steering)
        scope = self.scope
        args = (chunk.items[0],) if self._single else (chunk.items,)
        handle: TaskHandle[Any] = TaskHandle(self.name, self._fn, args, self.place, scope, self.port)
        handle.private = True
        handle.attempts = chunk.tries
        if self.tracker is not None:
            handle.listener = self.tracker.on_item_report
        context = self._context.copy()
        context.run(enter, permit)
        try:
            if self._steering is None:
                context.run(scope.launch, handle, self._backend, self._timeout)
            else:
                assert self._backend is not None
                context.run(self._steering.launch, handle, self._backend, self._timeout, len(chunk.items))
        except SerializationError as exc:
            self._release(permit)
            self._cannot_travel(chunk, exc)
        except UnifiedExecError as exc:
            self._release(permit)
            self._finished(chunk, [ItemFailure(exc) for _ in chunk.items])
        else:
            self._flights.add(handle)
            if self.stats is not None:
                self.stats._sent(handle, len(chunk.items))
            handle.when_done(lambda: self._done(handle, chunk, permit))

    def _steer(self, steering: AdaptivePlacement) -> None:
        """Go where this chunk belongs by now; how much may be under way depends on the place."""
        self._backend = steering.backend()
        self.place = self._backend.kind
        self._bounds.steered(steering, self._backend)

    def _release(self, permit: Permit | None) -> None:
        if permit is not None and self._gate is not None:
            self._gate.release(permit)

    def _cannot_travel(self, chunk: Chunk, exc: SerializationError) -> None:
        """One item of the chunk is to blame: send each alone."""
        if len(chunk.items) == 1:
            self._finished(chunk, [ItemFailure(exc)])
            return
        chunk.results, chunk.missing = [PENDING] * len(chunk.items), len(chunk.items)
        for index in range(len(chunk.items)):
            self._line_up(chunk.alone(index, chunk.tries))

    # -- what comes back

    def _done(self, handle: TaskHandle[Any], chunk: Chunk, permit: Permit | None) -> None:
        """A chunk's task has ended."""
        outcome = handle.outcome
        assert outcome is not None
        self._flights.discard(handle)
        if self.stats is not None:
            self.stats._ended(handle)
        self._release(permit)
        results = results_of(handle, outcome, chunk, self._single)
        if outcome.cancelled:
            self.source.exhausted = True  # its scope ends: nothing more is read
        elif outcome.is_value and handle.started_at is not None and handle.finished_at is not None:
            self.chunking.measured(max(1, len(results)), handle.finished_at - handle.started_at)
        self._finished(chunk, results)

    def _finished(self, chunk: Chunk, results: list[Any]) -> None:
        if self.stats is not None:
            self.stats._came(results)
        if self.ended:
            return
        given_back = chunk.given_back(results, self._goes_on)
        pending = len(given_back)
        for index, result in enumerate(results):
            if type(result) is ItemFailure:
                results[index] = self._failed(chunk, index, result)
                pending += results[index] is PENDING
        self._flying -= len(chunk.items) - pending
        if self.tracker is not None:
            self.tracker.advance(len(results) - pending)
        before = len(self.ready)
        self._order.fill(chunk, results, pending)
        for index in given_back:
            self._line_up(chunk.alone(index, chunk.tries))
        if self._feed is not None and self.is_short_of_work:
            self._feed.send_gathered(self)
        self.refill()
        if len(self.ready) != before or self._over():
            self.wake()

    def _failed(self, chunk: Chunk, index: int, failure: ItemFailure) -> Any:
        """What stands in the place of an item that failed."""
        retry = self._retry
        try:
            if retry is not None and retry.wants(failure.error, chunk.tries):
                again = chunk.alone(index, chunk.tries + 1)
                self._timers[again] = self.port.call_later(retry.delay(chunk.tries), self._try_again, again)
                if self.stats is not None:
                    self.stats._tried_again()
                return PENDING
            if self._on_error is not None:
                self._on_error(chunk.items[index], failure.error)
                return SKIPPED
        except Exception as exc:  # the user's own backoff or dead letter function
            return Stop(exc)
        return failure

    def _try_again(self, chunk: Chunk) -> None:
        del self._timers[chunk]
        self._line_up(chunk)

    # -- the consumer

    async def more(self) -> None:
        """Wait until a result is ready.

        Raises:
            StopAsyncIteration: there will be none.
            RuntimeError: the scope has ended before the map.
        """
        self.refill()
        while not self.ready:
            if self._over():
                self._end()
            if self.ended:
                if self._unfinished:
                    raise RuntimeError(f"the scope of this {self.name} has ended: take its results inside the block")
                raise StopAsyncIteration
            waiter = self.port.waiter()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    _unfinished = False

    def _reading(self) -> bool:
        return not self.ended and not self.source.exhausted

    def _over(self) -> bool:
        return self.source.exhausted and not self._order.open and not (self._feed is not None and self._feed.gathered)

    def wake(self) -> None:
        """Wake the consumers: there is something to take, or the end."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.wake()

    def failure(self, error: BaseException, final: bool) -> BaseException:
        """Give the error of an item to the consumer, as a value if that was asked for.

        Raises:
            BaseException: the error itself; the map ends with it.
        """
        if self._return_exceptions and not final:
            return error
        self.stop()
        self.ready.clear()
        try:
            raise error
        finally:
            del error

    # -- the end

    def _end(self) -> None:
        self.ended = True
        self.scope.detach(self)
        if self.tracker is not None:
            self.tracker.close()

    def stop(self) -> None:
        """End the map and cancel what is in flight, without waiting."""
        if self.ended:
            return
        self._end()
        for waiter in self._queue:
            assert self._gate is not None
            self._gate.cancel(waiter)
        for timer in self._timers.values():
            timer.cancel()
        self._queue.clear()
        self._timers.clear()
        self._order.clear()
        for handle in list(self._flights):
            handle.cancel("its map was left")
        if self._feed is not None:
            self._feed.stop()
        self.source.close()
        self.wake()

    def scope_ended(self) -> None:
        """Called by the scope at its end: nothing more can be sent."""
        self._unfinished = not self._over()
        self.stop()

    def abandon(self) -> None:
        """Like `stop`, from the collector, which may run anywhere."""
        if not self.port.ended():
            self.port.call_threadsafe(self.stop)

    async def aclose(self) -> None:
        flights = list(self._flights)
        self.stop()
        self.ready.clear()
        for handle in flights:
            await handle.wait()
        if self._feed is None or not self._feed.runs:
            await self.source.aclose()
