"""The pools that scopes share when none is given: made at the first use, warm until `shutdown_default_pools`."""

from __future__ import annotations

from _thread import allocate_lock
from typing import TYPE_CHECKING

from .._rules.arguments import whole
from .._tasks.fork_lock import in_forked_child
from .._tasks.loaded import in_worker, loaded
from ..errors import WorkerStartError

if TYPE_CHECKING:
    from .interpreter.pool import InterpreterPool
    from .process.pool import ProcessPool
    from .thread.pool import ThreadPool

_lock = allocate_lock()
_processes: ProcessPool | None = None
_threads: ThreadPool | None = None
_cores: ThreadPool | None = None
_interpreters: InterpreterPool | None = None


def default_processes() -> ProcessPool:
    global _processes
    if _processes is None or _processes.closed:
        if loaded("unified_exec._pools.process.worker_registry") is None:
            try:
                _start_ahead(1)  # the worker's interpreter starts on another core while this one loads the pool
            except WorkerStartError:
                pass  # the pool tries again, and tells the task
        from .process.pool import ProcessPool

        with _lock:
            if _processes is None or _processes.closed:
                _processes = ProcessPool(name="default")
    return _processes


def _start_ahead(workers: int) -> None:
    """Start processes for a default pool that does not exist yet, without loading what it consists of.

    Raises:
        WorkerStartError: a process could not be started.
    """
    from .._platform import cpu_count
    from .process import prestart, start_worker

    cores = cpu_count.cpu_count()
    prestart.start_ahead(min(workers, cores), start_worker.environment_now(cores, cores))


def default_threads() -> ThreadPool:
    global _threads
    if _threads is None or _threads.closed:
        from .thread.pool import ThreadPool

        with _lock:
            if _threads is None or _threads.closed:
                _threads = ThreadPool(name="default")
    return _threads


def default_cores() -> ThreadPool:
    """The threads that take CPU work where there is no GIL: one for each core, interrupted when they are cancelled."""
    global _cores
    if _cores is None or _cores.closed:
        from .._platform.cpu_count import cpu_count
        from .thread.pool import ThreadPool

        with _lock:
            if _cores is None or _cores.closed:
                _cores = ThreadPool(cpu_count(), name="cpu", interruptible=True)
    return _cores


def default_interpreters() -> InterpreterPool:
    """The interpreters of ``on="interpreter"``.

    Raises:
        WorkerStartError: this Python cannot have them.
    """
    global _interpreters
    if _interpreters is None or _interpreters.closed:
        from .interpreter.pool import InterpreterPool

        with _lock:
            if _interpreters is None or _interpreters.closed:
                _interpreters = InterpreterPool(name="default")
    return _interpreters


def prestart(workers: int = 1) -> None:
    """Start worker processes of the default process pool now, so that the first process tasks find them ready.

    A worker takes about as long to start as an interpreter. Call this at the top of a program, before its other
    imports (`TaskScope` among them): the workers start on other cores meanwhile. It returns at once and needs no event
    loop. Importing `unified_exec` alone starts nothing.

    The pool uses such a worker only if one that it starts itself would be no different: a worker started before the
    program changed its environment variables, its folder, its user, its limits or its signal masks is left unused.
    (Without ``/proc`` limits and masks are not compared.) A worker that is not used exits after a minute, or with the
    program. ``shutdown_default_pools`` ends it, too.

    Calling it again starts only what is missing, and nothing if the pool has that many workers already. After a fork
    the child calls it for itself. In a worker it does nothing, so it may stand in a module that workers import.

    Args:
        workers: how many workers the pool is to have. It never has more than the cores this process may use.

    Raises:
        TypeError: `workers` is not an int.
        ValueError: `workers` is less than 1.
        WorkerStartError: a process could not be started.

    Example::

        from unified_exec import prestart

        prestart()

        import anyio
        from unified_exec import TaskScope

        async def main():
            async with TaskScope() as scope:
                print(await scope.spawn(sum, range(1000), on="process"))

        anyio.run(main)
    """
    workers = whole("prestart(workers)", workers)
    if in_worker():
        return
    if _processes is not None and not _processes.closed:
        _processes.start_ahead(workers)
    else:
        _start_ahead(workers)


def shutdown_default_pools() -> None:
    """End the shared pools and wait for their workers. The next scope that needs one makes a new one.

    Raises:
        RuntimeError: a scope still runs tasks in them.
    """
    global _processes, _threads, _cores, _interpreters
    for pool in (_processes, _threads, _cores, _interpreters):
        if pool is not None and not pool.closed:
            pool.close()
    disband = loaded("unified_exec._pools.process.disband")
    if disband is not None:
        disband.reap_left()
    prestart = loaded("unified_exec._pools.process.prestart")
    if prestart is not None:
        prestart.discard()
    with _lock:
        _processes = _threads = _cores = _interpreters = None


@in_forked_child
def _after_fork() -> None:
    global _lock
    _lock = allocate_lock()
