"""`concurrent.futures` over a pool of interpreters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._arguments import check_alone, check_arguments
from ._worker_executor import WorkerExecutor

if TYPE_CHECKING:
    from .._pools.interpreter.pool import InterpreterPool


class InterpreterExecutor(WorkerExecutor):
    """A `concurrent.futures.Executor` over an `InterpreterPool` (CPython 3.14 on).

    Improvements over `concurrent.futures.InterpreterPoolExecutor`: `cancel` stops a running call at its next line of
    Python code, and its ``finally`` blocks run; functions of the main file and lambdas are passed by value, and the
    file is not run again; an extension that cannot be loaded fails with a note that says what to use.

    Args:
        max_workers: how many workers at most; by default the cores this process may use.
        initializer, initargs: called in each new worker before its first call.
        pool: use this pool, and leave it open at the end; the other arguments must then be given to the pool.
        name: of the pool that is made otherwise.

    Raises:
        WorkerStartError: this Python is older than 3.14.
        TypeError, ValueError: an argument is out of its range, or does not fit another.

    Example:
        with InterpreterExecutor(2) as executor:
            print(list(executor.map(crunch, parts)))
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        pool: InterpreterPool | None = None,
        name: str | None = None,
    ) -> None:
        from .._pools.interpreter.pool import InterpreterPool  # loaded with the first of them

        check_arguments(max_workers, initializer, initargs, pool, InterpreterPool, "InterpreterPool")
        own = pool is None
        if pool is None:
            pool = InterpreterPool(max_workers, initializer=initializer, initargs=initargs, name=name)
        else:
            check_alone(max_workers, initializer, name)
        super().__init__(pool, own)
