"""The way back: code in a thread or process task calls functions on the event loop of the scope that it belongs to.

As in `anyio.from_thread`, ``run`` takes a coroutine function and ``run_sync`` a plain one; both block the calling
thread. The functions run in the scope of the task: in the process, in the thread and on the loop of the code that has
spawned it, where they may use everything that is there, and spawn more tasks. In a task of a nested scope that is the
nested scope. The event loop of a `SyncTaskScope` runs in a thread of its own, so the functions run in that thread.

Arguments and results are pickled on the way to and from a process. The exception of the function is raised by the call.
If the task is cancelled, or its deadline passes, the function is cancelled. A task may wait at the same time for a task
that its function has spawned: a pool whose workers all wait starts one more. 64 tasks may wait for each other so.

Example::

    import anyio
    from unified_exec import TaskScope, from_task

    prices = {"apple": 3}

    async def look_up(name):
        await anyio.sleep(0.01)  # asks a database, say
        return prices[name]

    def total(names):
        return sum(from_task.run(look_up, name) for name in names)

    async def main():
        async with TaskScope() as scope:
            print(await scope.spawn(total, ["apple", "apple"], on="process"))

    anyio.run(main)
"""

from __future__ import annotations

from ._handles.spawned import SpawnedTask, refuse_on_loop, start, wait, wait_async
from ._tasks.current import current
from ._tasks.requests import RUN, RUN_SYNC, SPAWN, Pending

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

    from ._scope.options import SpawnOptions
    from ._tasks.current import CurrentTask

    T = TypeVar("T")
    Ts = TypeVarTuple("Ts")
else:
    from ._tasks.light_typing import overload


__all__ = ["SpawnedTask", "run", "run_async", "run_sync", "spawn"]


def run(afn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts) -> T:
    """Call ``await afn(*args)`` on the event loop of the task's scope, wait for it and return its value.

    Args:
        afn: a coroutine function.
        args: its positional arguments.

    Raises:
        Exception: what `afn` raised.
        Cancelled: the task was requested to stop, and `afn` with it. A thread waits for its end, a process does not.
        SerializationError: `afn`, an argument or the value cannot travel between the processes.
        RecursionError: 64 tasks wait for each other in this way; the message names them.
        RuntimeError: outside of a thread or process task, on an event loop, or after the end of the task.
    """
    return _block("run", RUN, afn, args)  # type: ignore[no-any-return]


def run_sync(fn: Callable[[*Ts], T], /, *args: *Ts) -> T:
    """Call ``fn(*args)``, a plain function, on the event loop of the task's scope and return its value.

    It must not block. ``_sync`` is said of `fn` here, as in `anyio.from_thread`.

    Args:
        fn: a plain function.
        args: its positional arguments.

    Raises:
        TypeError: `fn` returned an awaitable: use `run`.
        Exception: as `run`.
    """
    return _block("run_sync", RUN_SYNC, fn, args)  # type: ignore[no-any-return]


async def run_async(afn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts) -> T:
    """Like `run`, for coroutines: those that run in a worker process, and those of a task's own event loop.

    On the event loop of the scope itself it awaits ``afn(*args)``. Cancelling the caller cancels `afn` and does not
    wait for its end.

    Raises:
        TaskCancelled: `afn` was cancelled and the task was not.
        Exception: as `run`.
    """
    task = _task("run_async")
    if task.backend == "loop":
        return await afn(*args)
    return await wait_async(task, RUN, afn, args)  # type: ignore[no-any-return]


@overload
def spawn(fn: Callable[[*Ts], Awaitable[T]], /, *args: *Ts, **options: Unpack[SpawnOptions]) -> SpawnedTask[T]: ...


@overload
def spawn(  # noqa: F811
    fn: Callable[[*Ts], T], /, *args: *Ts, **options: Unpack[SpawnOptions]
) -> SpawnedTask[T]: ...


def spawn(  # type: ignore[misc]  # noqa: F811  # mypy: *args: *Ts "may" be an option
    fn: Callable[..., Any], /, *args: Any, **options: Any
) -> SpawnedTask[Any]:
    """Spawn a task in the scope of this task, as `TaskScope.spawn` does; does not wait for it.

    The new task belongs to the scope: it may outlive the task that has spawned it, and the scope's policy sees how it
    ends.

    Args:
        fn: a coroutine function, or any callable.
        args: its positional arguments.
        options: those of `TaskScope.spawn`.

    Raises:
        Exception: as `TaskScope.spawn`. From a coroutine, which cannot wait for the scope here, what the scope refuses
            is raised by the returned task and fails the scope.
    """
    return start(_task("spawn"), SPAWN, fn, args, options, getattr(fn, "__qualname__", repr(fn)))


def _task(verb: str) -> CurrentTask:
    task = current.get()
    if task is None:
        raise RuntimeError(f"from_task.{verb}() works inside a task only: start this function with scope.spawn(...)")
    return task


def _block(verb: str, kind: int, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    task = _task(verb)
    refuse_on_loop(f"from_task.{verb}", "use `await from_task.run_async(...)` in a coroutine")
    return wait(task, Pending(kind, fn, args))
