"""The engine of `scope.map`: reads as far as its bounds allow, sends chunks, retries items, puts results in order."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from .._handles.handle import TaskHandle
from .._handles.open_scopes import ScopePart
from .._handles.validation import wrong_loop
from .._rules.chunking import LONGEST
from .._rules.dispatch import call_name, is_async
from .._rules.retry import Retry
from .._sync.limit import Gate
from .._sync.waiters import LoopWaiter, Permit, enter, newest_permit
from .._worker.run_chunk import ItemFailure, run_chunk
from ..abc import Backend
from ..errors import SerializationError, UnifiedExecError
from .bounds import MapBounds, Placement
from .chunks import PENDING, SKIPPED, Chunk, Order, Stop, results_of
from .source import source_of
from .waiting_consumers import WaitingConsumers

if TYPE_CHECKING:
    from .._handles.owner import Launcher
    from .._loops.adapter import Timer
    from ..observe.progress.tracker import Tracker
    from .stats import StageStats


class MapEngine(ScopePart):
    """One running map. Everything happens in the thread of its scope's loop.

    Attributes:
        ended: it reads, sends and returns nothing more.
        ready: the results the consumer may take.
        low: when only this many results are ready, the consumer calls `refill`.
        source: where its items come from.
        backend: name of the pool of the latest chunk, or ``"loop"``.
        tracker: shows its progress, if that is wanted.
        stats: counts what it does, if it is a stage of a pipeline.
    """

    def __init__(
        self,
        scope: Launcher,
        fn: Callable[[Any], Any],
        items: Any,
        placement: Placement,
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
        priority: int | None = None,
    ) -> None:
        backend, workers = placement.choose()
        self.name = name or f"map of {call_name(fn)}"
        self.ended = False
        self.low = 0
        self.tracker: Tracker | None = None
        self.stats: StageStats | None = None
        self.backend = "loop" if backend is None else backend.kind
        self._scope = scope
        self._loop = scope.adapter
        self._placement = placement
        self._timeout = timeout
        self._priority = scope.default_priority() if priority is None else priority
        self._retry = retry
        self._on_error = on_error
        self._return_exceptions = return_exceptions
        self._context = copy_context()
        self._gate = limit if isinstance(limit, Gate) else None
        self._single = backend is None or is_async(fn) or timeout is not None
        self._continues = return_exceptions or retry is not None or on_error is not None  # after a failed item
        seconds = LONGEST if chunk is None else inf
        self._fn = fn if self._single else partial(run_chunk, fn, self._continues, seconds)
        self._bounds = MapBounds(workers, backend is None, self._single, limit, chunk, buffer)
        self._chunking = self._bounds.chunking
        self._order = Order(ordered)
        self.ready = self._order.ready
        self._unfinished = 0  # items that are in flight, wait for the gate, or wait for their next attempt
        self._flights: set[TaskHandle[Any]] = set()
        self._queue: set[LoopWaiter] = set()
        self._timers: dict[Chunk, Timer] = {}
        self._waiting = WaitingConsumers(self._loop)
        self._cut_short = self._refilling = False
        self.source = source_of(items, self._context.copy(), scope)
        scope.attach(self)

    # -- reading

    def room(self) -> int:
        """How many more items may be read and sent now."""
        unfinished = self._unfinished + len(self.source.gathered)
        return self._bounds.room(unfinished, self._order.held + len(self.ready))

    def refill(self) -> None:
        """Read and send what the bounds allow."""
        if self._refilling or self.source.exhausted:
            return
        self._refilling = True
        try:
            self.source.pump(self, self._send_items)
        finally:
            self._refilling = False
        self.low = len(self.ready) // 2

    def chunk_size(self, left: int | None) -> int:
        return self._chunking.next_size(left, self._bounds.workers)

    @property
    def is_short_of_work(self) -> bool:
        return len(self._flights) < 2 * self._bounds.workers

    def source_ended(self, error: BaseException | None) -> None:
        """Send the last items; the consumer gets the source's error after their results."""
        if self.ended:
            return
        self.source.flush(self._send_items)
        if error is not None:
            self._order.finish_with(Stop(error))
        self.wake()

    # -- sending

    def _send_items(self, items: list[Any]) -> None:
        """Send items that were read, as a chunk."""
        chunk = Chunk(items)
        if self.stats is not None:
            self.stats.received += len(items)
        self._order.expect(chunk)
        self._unfinished += len(items)
        self._queue_chunk(chunk)

    def _queue_chunk(self, chunk: Chunk) -> None:
        """Send a chunk once the gate admits it, if there is one."""
        if self._gate is None:
            self._send(chunk, None)
            return
        waiter = LoopWaiter(self._loop, partial(self._admitted, chunk))
        waiter.outer = self._context.run(newest_permit.get)
        self._queue.add(waiter)
        if self._gate.acquire_nowait_or_enqueue(waiter):
            self._admitted(chunk, waiter)

    def _admitted(self, chunk: Chunk, waiter: LoopWaiter) -> None:
        self._queue.discard(waiter)
        self._send(chunk, waiter.permit)

    def _send(self, chunk: Chunk, permit: Permit | None) -> None:
        backend, workers = self._placement.choose()
        self._bounds.set_workers(workers)
        self.backend = "loop" if backend is None else backend.kind
        args = (chunk.items[0],) if self._single else (chunk.items,)
        handle: TaskHandle[Any] = TaskHandle(self.name, self._fn, args, self.backend, self._scope)
        handle.private = True
        handle.priority = self._priority
        handle.attempts = chunk.attempt
        if self.tracker is not None:
            handle.listener = self.tracker.on_item_report
        context = self._context.copy()
        context.run(enter, permit)
        try:
            context.run(self._placement.launch, handle, backend, self._timeout, len(chunk.items))
        except SerializationError as exc:
            self._release(permit)
            self._not_picklable(chunk, exc)
        except UnifiedExecError as exc:
            self._release(permit)
            self._finished(chunk, [ItemFailure(exc) for _ in chunk.items])
        else:
            self._flights.add(handle)
            if self.stats is not None:
                self.stats._task_sent(handle, len(chunk.items))
            handle.when_done(lambda: self._task_done(handle, backend, chunk, permit))

    def _release(self, permit: Permit | None) -> None:
        if permit is not None and self._gate is not None:
            self._gate.release(permit)

    def _not_picklable(self, chunk: Chunk, exc: SerializationError) -> None:
        """Send each item of the chunk alone, to find the one that cannot be pickled."""
        if len(chunk.items) == 1:
            self._finished(chunk, [ItemFailure(exc)])
            return
        chunk.results, chunk.missing = [PENDING] * len(chunk.items), len(chunk.items)
        for index in range(len(chunk.items)):
            self._queue_chunk(chunk.alone(index, chunk.attempt))

    # -- results

    def _task_done(self, handle: TaskHandle[Any], backend: Backend | None, chunk: Chunk, permit: Permit | None) -> None:
        outcome = handle.outcome
        assert outcome is not None
        self._flights.discard(handle)
        if self.stats is not None:
            self.stats._task_ended(handle, backend)
        self._release(permit)
        results = results_of(handle, outcome, chunk, self._single)
        if outcome.cancelled:
            self.source.exhausted = True  # its scope is ending: nothing more is read
        elif outcome.is_value and handle.started_at is not None and handle.finished_at is not None:
            self._chunking.measured(max(1, len(results)), handle.finished_at - handle.started_at)
        self._finished(chunk, results)

    def _finished(self, chunk: Chunk, results: list[Any]) -> None:
        if self.stats is not None:
            self.stats._results_arrived(results)
        if self.ended:
            return
        returned = chunk.mark_returned(results, self._continues)
        pending = len(returned)
        for index, result in enumerate(results):
            if type(result) is ItemFailure:
                results[index] = self._failed(chunk, index, result)
                pending += results[index] is PENDING
        self._unfinished -= len(chunk.items) - pending
        if self.tracker is not None:
            self.tracker.advance(len(results) - pending)
        before = len(self.ready)
        self._order.fill(chunk, results, pending)
        for index in returned:
            self._queue_chunk(chunk.alone(index, chunk.attempt))
        if self.source.gathered and self.is_short_of_work:
            self.source.flush(self._send_items)
        self.refill()
        if len(self.ready) != before or self._complete():
            self.wake()

    def _failed(self, chunk: Chunk, index: int, failure: ItemFailure) -> Any:
        """Return what takes the place of an item that failed."""
        retry = self._retry
        try:
            if retry is not None and retry.wants(failure.error, chunk.attempt):
                again = chunk.alone(index, chunk.attempt + 1)
                delay = self._context.copy().run(retry.delay, chunk.attempt)
                self._timers[again] = self._loop.call_later(delay, self._retry_item, again)
                if self.stats is not None:
                    self.stats._item_retried()
                return PENDING
            if self._on_error is not None:
                self._context.copy().run(self._on_error, chunk.items[index], failure.error)
                return SKIPPED
        except BaseException as exc:  # raised by the user's backoff or dead letter function, in a callback of the loop
            return Stop(exc)
        return failure

    def _retry_item(self, chunk: Chunk) -> None:
        del self._timers[chunk]
        self._queue_chunk(chunk)

    # -- the consumer

    async def more(self) -> None:
        """Wait for a result.

        Raises:
            StopAsyncIteration: all results have been taken.
            RuntimeError: the scope has ended before the map.
        """
        if self._loop.elsewhere():
            raise RuntimeError(wrong_loop(self.name))
        self.refill()
        while not self.ready:
            if self._complete():
                self._end()
            if self.ended:
                if self._cut_short:
                    raise RuntimeError(f"the scope of this {self.name} has ended: take its results inside the block")
                raise StopAsyncIteration
            await self._waiting.wait()

    def _complete(self) -> bool:
        """Tell whether every result has arrived."""
        return self.source.exhausted and not self._order.open and not self.source.gathered

    def wake(self) -> None:
        """Wake the consumers: there is a result, or the map has ended."""
        self._waiting.wake()

    def ends_with_failure(self, final: bool) -> bool:
        """Tell whether the consumer gets an error raised, not as a value; the map then ends with it."""
        if self._return_exceptions and not final:
            return False
        self.stop()
        self.ready.clear()
        return True

    # -- the end

    def _end(self) -> None:
        self.ended = True
        self._scope.detach(self)
        if self.tracker is not None:
            self.tracker.close()

    def stop(self) -> None:
        """End the map and cancel its tasks, without waiting for them."""
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
        self.source.stop(self.name)
        self.wake()

    def running(self) -> int:
        return sum(not handle.done() for handle in self._flights)

    def scope_ended(self) -> None:
        self._cut_short = not self._complete()
        self.stop()

    consumers_left = scope_ended

    def abandon(self) -> None:
        """Like `stop`, but called by the garbage collector, in any thread."""
        if not self._loop.ended():
            self._loop.call_threadsafe(self.stop)

    async def aclose(self) -> None:
        flights = list(self._flights)
        self.stop()
        self.ready.clear()
        for handle in flights:
            await handle.wait()
        await self.source.aclose(self.name)
