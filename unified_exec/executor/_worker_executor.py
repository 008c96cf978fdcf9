"""What the executors over pools of workers have in common: futures that the reactor's thread completes."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .._rules.dispatch import call_name
from .._tasks import events
from .._tasks.types import Outcome
from ..errors import PoolClosed
from . import _atexit, _map, reactor
from ._process_future import ProcessCall, ProcessFuture

if TYPE_CHECKING:
    from .._pools.process.lane import ProcessLane
    from .._pools.process.worker_pool import WorkerPool

P = ParamSpec("P")
T = TypeVar("T")


class WorkerExecutor(Executor):
    """A `concurrent.futures.Executor` over a pool of workers.

    Args:
        pool: runs the calls.
        own: the executor ends it.
    """

    def __init__(self, pool: WorkerPool, own: bool) -> None:
        self._own = own
        self._pool = pool
        self._max_workers = pool.max_workers  # Dask asks for it by this name
        self._start_over()
        _atexit.join_at_exit(self)

    def _start_over(self) -> None:
        self._lock = threading.RLock()  # reentrant: a finalizer may come in while its own thread is inside
        self._shut = False
        self._gone = threading.Event()
        self._adapter: reactor.ReactorAdapter | None = None
        self._lane: ProcessLane | None = None
        self._calls: set[ProcessCall] = set()  # those that have not ended
        self._leaving = False
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ProcessFuture[T]:
        """Start ``fn(*args, **kwargs)`` in a worker and return its future.

        The call is pickled at once; if that fails, the error is the future's. A coroutine function runs on an event
        loop in a worker.

        Raises:
            RuntimeError: after `shutdown`, or while the interpreter shuts down.
        """
        return self._submit(call_name(fn), partial(fn, **kwargs) if kwargs else fn, args)

    def _submit(self, name: str, fn: Callable[..., T], args: tuple[Any, ...]) -> ProcessFuture[T]:
        call = ProcessCall(name, fn, args, self._pool.kind, self)
        call.queued = False
        future: ProcessFuture[T] = ProcessFuture()
        call.future = future
        future._task = call
        lane = None
        try:
            with self._lock:
                _atexit.check_open(self._shut)
                lane = self._lane or self._start()
                self._calls.add(call)
            try:
                if events.rows is None:
                    call.backend_data = lane.prepare(call)
                else:
                    from .watched_calls import prepare

                    prepare(call, fn, args, lane)
            except PoolClosed:
                raise
            except Exception as error:
                call.settle(Outcome(error=_map.named(fn, args, error)))
            else:
                lane.adapter.call_threadsafe(self._enqueue, call)
        except BaseException as error:
            if lane is not None:  # the call may be queued, if a signal handler has raised
                future.cancel()
                lane.adapter.call_threadsafe(self._enqueue, call)
            if isinstance(error, PoolClosed):
                raise RuntimeError(f"cannot schedule new futures: {error}") from error
            raise
        return future

    def map(  # type: ignore[override, unused-ignore]
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Like `map(fn, *iterables)`, with the calls made in workers, ahead of the iteration.

        Args:
            timeout: seconds from now within which every value must have arrived.
            chunksize: how many calls are sent together; more than one pays off for calls below 50 microseconds.
            buffersize: how many calls (chunks) may be ahead of the iteration, and so how far `iterables` are consumed
                ahead; ``None`` for all at once.

        Raises:
            TimeoutError: from the iterator, when `timeout` is over.

        Closing the iterator, dropping it half-way, a timeout and a failure cancel the remaining calls, including the
        running ones.
        """
        chunksize, buffersize = _map.check(chunksize, buffersize)
        calls = zip(*iterables)  # noqa: B905 -- as the standard library's
        if chunksize == 1:
            return _map.Results(partial(self.submit, fn), calls, timeout, buffersize)
        from .._worker.run_chunk import run_star_chunk

        def submit(chunk: list[tuple[Any, ...]]) -> ProcessFuture[Any]:
            return self._submit(call_name(fn), run_star_chunk, (fn, chunk))

        chunks = _map.Results(submit, _map.in_chunks(calls, chunksize), timeout, buffersize)
        return _map.Chained(chunks, self._pool.kind)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; submitted ones still run to their end.

        Args:
            wait: return when the last call has ended and the workers have exited.
            cancel_futures: cancel the calls that have not begun, except those a worker is about to begin.

        Raises:
            RuntimeError: `wait` in a done-callback, which would wait for itself.
        """
        with self._lock:
            self._shut = True
            adapter = self._adapter
            if adapter is None and not self._leaving:  # nothing was ever submitted
                if self._own:
                    self._pool.refuse_work()
                self._gone.set()
                self._leaving = True
        if adapter is not None:
            adapter.call_threadsafe(self._leave, cancel_futures)
        if wait:
            if adapter is not None and adapter.is_here():
                raise RuntimeError("shutdown(wait=True) in a done-callback would wait for itself; use wait=False")
            self._gone.wait()
            if adapter is not None and adapter.ending:
                adapter.join()

    @property
    def closed(self) -> bool:
        """It was shut down, or its pool was closed."""
        return self._shut or self._pool.closed

    def in_reactor(self) -> bool:
        """Tell whether the caller is the thread that completes the futures."""
        adapter = self._adapter
        return adapter is not None and adapter.is_here()

    # -- in the reactor's thread, unless stated otherwise

    def _start(self) -> ProcessLane:
        """In any thread, with the lock held."""
        adapter = reactor.acquire()
        try:
            lane = self._pool.lane(adapter)
            # Calls that have not ended keep the executor alive, so one that is dropped without `shutdown` has none.
            retire = partial(adapter.call_threadsafe, _retire, adapter, self._pool, self._own, None)
            finalizer = weakref.finalize(self, retire)
        except BaseException as error:
            reactor.release(adapter)
            if isinstance(error, PoolClosed):
                raise RuntimeError(f"cannot schedule new futures: {error}") from error
            raise
        finalizer.atexit = False
        self._adapter, self._finalizer, self._lane = adapter, finalizer, lane
        return lane

    def _enqueue(self, call: ProcessCall) -> None:
        future = call.future
        if call.queued or call.outcome is not None:  # `submit` was interrupted, and asks for this to be sure
            if call.outcome is not None:
                self._forget(call)
            return
        if future is None or future.cancelled():
            call.settle_cancelled()
            return
        call.queued = True
        assert self._lane is not None
        try:
            self._lane.enqueue(call, call.backend_data)
        except Exception as error:
            if call.outcome is None:
                call.settle(Outcome(error=error))

    def stop(self, call: ProcessCall) -> None:
        """Stop a call whose future was cancelled. In any thread."""
        adapter = self._adapter
        if adapter is not None:
            adapter.call_threadsafe(self._stop, call)

    def _stop(self, call: ProcessCall) -> None:
        if call.queued and self._lane is not None:
            self._lane.cancel((call,), "its future was cancelled")

    def ended(self, call: ProcessCall) -> None:
        """Count out a call that has ended. In any thread."""
        self._forget(call)

    def _forget(self, call: ProcessCall) -> None:
        self._calls.discard(call)
        if self._shut and not self._calls and self._adapter is not None:
            self._adapter.call_threadsafe(self._leave_if_done)

    def _leave(self, cancel_futures: bool) -> None:
        if cancel_futures and self._adapter is not None:
            self._adapter.call_soon(self._cancel_waiting)  # after the calls that were submitted just before are queued
        self._leave_if_done()

    def _cancel_waiting(self) -> None:
        waiting = list(self._calls)
        for call in waiting:
            if not call.queued and call.future is not None:
                call.future.cancel()
        if self._lane is not None:
            self._lane.cancel([call for call in waiting if call.queued], "the executor was shut down", running=False)

    def _leave_if_done(self) -> None:
        if self._calls or self._leaving or self._adapter is None:
            return
        self._leaving = True
        if self._finalizer is not None:
            self._finalizer.detach()
        adapter, self._adapter, self._lane = self._adapter, None, None
        _retire(adapter, self._pool, self._own, self._gone)

    def after_fork(self) -> None:
        """Start over in a forked child: what was submitted belongs to the parent, and never ends here."""
        if self._finalizer is not None:
            self._finalizer.detach()
        shut = self._shut
        self._start_over()
        self._shut = shut
        if shut:
            self._gone.set()


def _retire(adapter: reactor.ReactorAdapter, pool: WorkerPool, own: bool, gone: threading.Event | None) -> None:
    """Close the pool if it is the executor's own, and release the reactor."""

    def release() -> None:
        reactor.release(adapter)
        if gone is not None:
            gone.set()

    if own:
        pool.end(adapter, release)
    else:
        release()
