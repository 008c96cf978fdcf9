"""`concurrent.futures` over a pool of processes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from .._pools.process.pool import ProcessPool
from .._rules.arguments import as_int
from ..abc import ProcessBackend
from ._arguments import check_alone, check_arguments
from ._worker_executor import WorkerExecutor

SIGNAL_AGAIN = 0.05
"""Seconds until it is seen whether calls have gone to workers that were not signalled."""


class ProcessExecutor(WorkerExecutor):
    """A `concurrent.futures.Executor` over a `ProcessPool`.

    Improvements over `concurrent.futures.ProcessPoolExecutor`: a crash of a worker fails only the future it ran;
    `cancel` stops a running call; functions that pickle cannot handle are pickled by value; no main guard is needed;
    large arrays are not copied through a pipe.

    Args:
        max_workers: how many worker processes at most; by default the cores this process may use.
        mp_context: accepted for compatibility if it starts processes by "spawn" or "forkserver"; it has no effect, as
            every worker is a fresh interpreter.
        initializer, initargs: called in each new worker before its first call.
        max_tasks_per_child, max_tasks_per_worker: replace a worker after this many calls (two names for one option).
        pool: use this pool, and leave it open at the end; the other arguments must then be given to the pool.
        options: further options of `ProcessPool` (`grace`, `env`, `idle_timeout`, `max_worker_memory`, `name`).

    Raises:
        TypeError, ValueError: an argument is out of its range, or does not fit another.

    Example:
        with ProcessExecutor(2) as executor:
            print(list(executor.map(crunch, parts)))
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_tasks_per_worker: int | None = None,
        pool: ProcessBackend | None = None,
        **options: Any,
    ) -> None:
        _check_context(mp_context)
        limit = _limit(max_tasks_per_child, max_tasks_per_worker)
        check_arguments(max_workers, initializer, initargs, pool, ProcessBackend, "ProcessPool")
        own = pool is None
        if pool is None:
            pool = ProcessPool(
                max_workers, initializer=initializer, initargs=initargs, max_tasks_per_worker=limit, **options
            )
        else:
            check_alone(max_workers, initializer, limit, options or None)
        super().__init__(pool, own)  # type: ignore[arg-type]  # a cluster's pool has what is used of a `WorkerPool`

    def terminate_workers(self) -> None:
        """Shut down without waiting, and send SIGTERM to the workers that run its calls.

        Waiting calls are cancelled; the running ones fail with an error that is a `BrokenProcessPool`, unless they
        handle the signal. Other users of the pool lose nothing but coroutines that run in the same worker. Also on
        Pythons whose `ProcessPoolExecutor` does not have it (before 3.14).
        """
        self._end_workers(signal.SIGTERM)

    def kill_workers(self) -> None:
        """Like `terminate_workers`, with SIGKILL, which no call can handle."""
        self._end_workers(signal.SIGKILL)

    def _end_workers(self, signum: int) -> None:
        self.shutdown(wait=False, cancel_futures=True)
        adapter = self._adapter
        if adapter is not None:
            adapter.call_threadsafe(self._signal_workers, signum, frozenset())

    def _signal_workers(self, signum: int, signalled: frozenset[int]) -> None:
        """Signal the workers that run calls. A call that its worker was about to begin goes to another one, hence again
        while there are calls."""
        if self._calls and self._lane is not None and self._adapter is not None:
            self._cancel_waiting()
            signalled |= self._lane.signal_workers(self._calls, signum, signalled)
            self._adapter.call_later(SIGNAL_AGAIN, self._signal_workers, signum, signalled)


def _check_context(context: Any) -> None:
    if context is None:
        return
    method = context if isinstance(context, str) else context.get_start_method()
    if method not in ("spawn", "forkserver"):
        raise ValueError(
            f"mp_context with start method {method!r}: workers of a ProcessExecutor are fresh interpreters, which "
            "inherit nothing; leave mp_context out and pass what they need as arguments or through initializer="
        )


def _limit(child: int | None, worker: int | None) -> int | None:
    limit = child if child is not None else worker
    if limit is None:
        return None
    if child is not None and worker is not None and child != worker:
        raise ValueError("max_tasks_per_child and max_tasks_per_worker are two names for one option: give one of them")
    number = as_int(limit)
    if number is None:
        raise TypeError(f"max_tasks_per_child must be an integer, got {limit!r}")
    if number <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    return number
