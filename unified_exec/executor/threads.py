"""`concurrent.futures` over a pool of threads."""

from __future__ import annotations

import threading
import weakref
from _thread import start_new_thread
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, wait
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .._loops.adapter import LoopAdapter, Timer, Waiter
from .._platform.cpu_count import cpu_count
from .._pools.thread.pool import ThreadPool
from .._rules.dispatch import call_name
from .._tasks import events
from .._tasks.current import current
from .._tasks.task import Task
from ..errors import PoolClosed, WorkerStartError
from . import _atexit, _map
from ._arguments import check_arguments
from .thread_future import ThreadFuture

if TYPE_CHECKING:
    from .._pools.thread.lane import ThreadLane

P = ParamSpec("P")
T = TypeVar("T")

_numbers = count()


class _InlineAdapter(LoopAdapter):
    """Stands for an event loop: what a lane wants to have called is called at once, in the thread that ended a call."""

    def __init__(self, executor: ThreadExecutor) -> None:
        self._executor = weakref.ref(executor)

    def call_soon(self, fn: Callable[..., object], *args: Any) -> None:
        fn(*args)

    def call_threadsafe(self, fn: Callable[..., object], *args: Any) -> bool:
        fn(*args)
        return True

    def call_later(self, delay: float, fn: Callable[..., object], *args: Any) -> Timer:
        # Used only when the system cannot start another thread: the running ones take the queued calls.
        return _InlineTimer()

    def add_reader(self, fd: int, fn: Callable[[], object]) -> None:
        raise NotImplementedError

    def remove_reader(self, fd: int) -> None:
        raise NotImplementedError

    def ended(self) -> bool:
        executor = self._executor()
        return executor is None or executor.idle_for_good()

    def elsewhere(self) -> bool:
        return True

    def on_end(self, fn: Callable[[], object]) -> None:
        pass

    def waiter(self) -> Waiter:
        raise NotImplementedError


class _InlineTimer(Timer):
    def cancel(self) -> None:
        pass


class ThreadExecutor(Executor):
    """A `concurrent.futures.Executor` over a `ThreadPool`.

    A future is completed in the thread that ran its call, right after it. Calls see the context variables of their
    submitter. Idle threads exit after ten seconds.

    Args:
        max_workers: how many calls run at the same time; the standard library's default if not given.
        thread_name_prefix: the threads are named after it, with "_0", "_1", ... appended.
        initializer, initargs: called in each thread before its first call.
        pool: use this pool, and leave it open at the end.

    Raises:
        TypeError, ValueError: an argument is out of its range, or does not fit another.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        pool: ThreadPool | None = None,
    ) -> None:
        check_arguments(max_workers, initializer, initargs, pool, ThreadPool, "ThreadPool")
        if pool is not None and (max_workers is not None or thread_name_prefix):
            raise ValueError("pool= brings its own threads: leave out max_workers and thread_name_prefix")
        self._prefix = thread_name_prefix or f"ThreadExecutor-{next(_numbers)}"
        self._initializer = initializer
        self._initargs = initargs
        self._own = pool is None
        self._pool = ThreadPool(max_workers or min(32, cpu_count() + 4), name=self._prefix) if pool is None else pool
        self._max_workers = self._pool.max_workers  # Dask asks for it by this name
        self._start_over()
        if self._own:
            weakref.finalize(self, _close_in_a_thread, self._pool).atexit = False
        _atexit.join_at_exit(self)

    def _start_over(self) -> None:
        self._lock = threading.RLock()  # reentrant: a finalizer may come in while its own thread is inside
        self._shut = False
        self._pending: set[ThreadFuture[Any]] = set()  # those whose calls have not ended
        self._entered = threading.local()
        self._thread_numbers = count()
        self._submitted = 0
        self._failed: tuple[int, BaseException] | None = (
            None  # calls up to this number fail with this error of the initializer
        )
        self._lane: ThreadLane | None = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ThreadFuture[T]:
        """Start ``fn(*args, **kwargs)`` in a thread and return its future.

        Raises:
            RuntimeError: after `shutdown`, while the interpreter shuts down, or if the system cannot start a thread.
        """
        future: ThreadFuture[T] = ThreadFuture()
        future._work = fn, args, kwargs
        future._executor = self
        made = call_name(fn), _run, ([future],), self._pool.kind, self
        watched: Any = None
        if events.rows is not None:
            from . import watched_calls as watched
        task = Task(*made) if watched is None else watched.WatchedCall(*made)
        try:
            with self._lock:
                _atexit.check_open(self._shut)
                lane = self._lane or self._start()
                self._submitted = future._number = self._submitted + 1
                self._pending.add(future)
            if watched is None:
                lane.submit(task)
            else:
                watched.start(task, fn, args, partial(lane.submit, task))
        except (PoolClosed, WorkerStartError) as error:
            self._pending.discard(future)
            raise RuntimeError(f"cannot schedule new futures: {error}") from error
        except BaseException:  # of a signal handler: the call may be queued
            if future.cancel():
                self._pending.discard(future)
            raise
        return future

    def _start(self) -> ThreadLane:
        try:
            lane = self._lane = self._pool.lane(_InlineAdapter(self))
        except PoolClosed as error:
            raise RuntimeError(f"cannot schedule new futures: {error}") from error
        lane.link = None  # `anyio.from_thread` is not for the loop that happens to run here
        lane.names_threads = False  # they have the names that the standard library gives
        return lane

    def map(  # type: ignore[override, unused-ignore]
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Like `map(fn, *iterables)`, with the calls made in threads, ahead of the iteration.

        Args:
            timeout: seconds from now within which every value must have arrived.
            chunksize: without effect, as in the standard library.
            buffersize: how many calls may be ahead of the iteration, and so how far `iterables` are consumed ahead;
                ``None`` for all at once.

        Raises:
            TimeoutError: from the iterator, when `timeout` is over.

        Closing the iterator, dropping it half-way, a timeout and a failure cancel the calls that are still queued.
        """
        _map.check(max(1, chunksize), buffersize)
        calls = zip(*iterables)  # noqa: B905 -- as the standard library's
        return _map.Results(partial(self.submit, fn), calls, timeout, buffersize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls; submitted ones still run to their end.

        Args:
            wait: return when the last call has ended and the threads have exited.
            cancel_futures: cancel the calls that are still queued.

        Raises:
            RuntimeError: `wait` in one of its own calls, which would wait for itself.
        """
        with self._lock:
            self._shut = True
        if cancel_futures:
            self._cancel_queued()
        if self._own:
            self._pool.close(wait=False)
        if not wait:
            return
        if getattr(self._entered, "calls", 0) and current.get() is not None:
            raise RuntimeError("shutdown(wait=True) in a call of this executor would wait for itself; use wait=False")
        if self._own:
            self._pool.close()
        else:
            wait_for(self._pending)

    def _cancel_queued(self) -> None:
        """Cancel the queued calls. If none is running, the oldest counts as running: its thread is on the way."""
        pending = sorted(self._pending, key=lambda future: future._number)
        if self._own and not any(future.running() for future in pending):
            del pending[:1]
        for future in reversed(pending):
            future.cancel()

    def give_place(self) -> None:
        """Let a queued call run although the code that calls this occupies a thread of the pool."""
        lane = self._lane
        if lane is not None:
            lane.give_place()

    def idle_for_good(self) -> bool:
        """Tell whether nothing runs here and nothing ever will."""
        return self._shut and not self._pending

    # -- in the threads of the pool

    def enter(self) -> None:
        """Prepare the calling thread, before its first call."""
        self._entered.calls = 0
        if self._own:
            threading.current_thread().name = f"{self._prefix}_{next(self._thread_numbers)}"

    def run(self, future: ThreadFuture[Any]) -> None:
        """Run the call of a future and complete it."""
        # An exception keeps its traceback, that the frames, and they their callers: no frame may keep the future.
        entered = self._entered
        if not hasattr(entered, "calls"):
            self.enter()
        entered.calls += 1
        try:
            if future.set_running_or_notify_cancel():
                work, future._work = future._work, None
                self._call(future, work)
        finally:
            entered.calls -= 1
            future._executor = None
            self._pending.discard(future)
            del self, future

    def _call(self, future: ThreadFuture[Any], work: Any) -> None:
        if self._initializer is not None and not hasattr(self._entered, "ready"):
            error = self._initialize(future)
            if error is not None:
                future.set_exception(error)
                return
        fn, args, kwargs = work
        del work
        try:
            value = fn(*args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
            del self, future  # no cycle from the exception through its traceback to this frame
        else:
            future.set_result(value)

    def _initialize(self, future: ThreadFuture[Any]) -> BaseException | None:
        from .errors import thread_not_started

        failed = self._failed
        if failed is not None and future._number <= failed[0]:
            return thread_not_started(failed[1])
        assert self._initializer is not None
        try:
            self._initializer(*self._initargs)
        except BaseException as error:
            self._failed = self._submitted, error
            return thread_not_started(error)
        self._entered.ready = True
        return None

    def after_fork(self) -> None:
        """Start over in a forked child: what was submitted belongs to the parent, and never ends here."""
        shut = self._shut
        self._start_over()
        self._shut = shut


def _run(box: list[ThreadFuture[Any]]) -> None:
    executor = box[0]._executor
    if executor is not None:
        try:
            executor.run(box.pop())
        finally:
            del executor


def wait_for(pending: set[ThreadFuture[Any]]) -> None:
    """Wait until nothing is pending."""
    while pending:
        wait(list(pending))


def _close_in_a_thread(pool: ThreadPool) -> None:
    # The collector may run this inside the pool, with its lock held.
    try:
        start_new_thread(lambda: pool.close(wait=False), ())
    except RuntimeError:
        pass  # the interpreter is shutting down, and its daemon threads with it
