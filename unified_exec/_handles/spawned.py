"""A task that was started from inside another one, and waiting for the answer of a scope. Light: workers import it."""

from __future__ import annotations

from functools import partial

from .._tasks.current import on_event_loop
from .._tasks.requests import CANCEL, WAIT, Pending
from ..errors import Cancelled

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Generic, TypeVar

    from .._tasks.current import CurrentTask

    T = TypeVar("T")
else:
    from .._tasks.light_typing import Generic

    T = object


class SpawnedTask(Generic[T]):
    """A task that `spawn` started from inside a task. It belongs to the task that spawned it, and cannot be pickled.

    Attributes:
        name: name of its function.
    """

    __slots__ = ("_number", "_task", "name")

    def __init__(self, task: CurrentTask, number: int, name: str) -> None:
        self._task = task
        self._number = number
        self.name = name

    def result(self) -> T:
        """Block until the task has ended and return its value.

        Raises:
            TaskCancelled: it was cancelled.
            Exception: the task's own exception.
        """
        refuse_on_loop("SpawnedTask.result", "await the task")
        return wait(self._task, Pending(WAIT, None, (self._number,)))  # type: ignore[no-any-return]

    def __await__(self) -> Generator[Any, Any, T]:
        """Wait for the end of the task, in a coroutine; raises as `result`."""
        return wait_async(self._task, WAIT, None, (self._number,)).__await__()

    def cancel(self, reason: str | None = None) -> None:
        """Request the task to stop; does not wait for its end."""
        self._task.send_request(Pending(CANCEL, None, (self._number,), reason))

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} belongs to the task that has spawned it: send its result instead")

    def __repr__(self) -> str:
        return f"<SpawnedTask {self.name!r}>"


def refuse_on_loop(call: str, instead: str) -> None:
    if on_event_loop():
        raise RuntimeError(f"{call}() would block the event loop; {instead}")


def wait(task: CurrentTask, pending: Pending) -> Any:
    try:
        task.send_request(pending)
        task.wait_for(pending)
    except BaseException:
        task.withdraw(pending)
        raise
    return _result(task, pending)


def start(
    task: CurrentTask, verb: int, fn: Any, args: tuple[Any, ...], options: dict[str, Any], name: str
) -> SpawnedTask[Any]:
    """Have the scope of a task start something. A coroutine, which cannot wait here, does not learn of a refusal.

    Args:
        task: the calling one.
        verb, fn, args, options: see `Pending`.
        name: of what is started.
    """
    if on_event_loop():
        pending = Pending(verb, fn, args, options, int)
        task.send_request(pending)
    else:
        pending = Pending(verb, fn, args, options)
        wait(task, pending)
    return SpawnedTask(task, pending.number, name)


async def wait_async(task: CurrentTask, verb: int, fn: Any, args: tuple[Any, ...]) -> Any:
    from .._loops.current import current_adapter

    adapter = current_adapter()
    waiter = adapter.waiter()
    pending = Pending(verb, fn, args, wake=partial(adapter.call_threadsafe, waiter.wake))
    try:
        task.send_request(pending)
        await waiter
    except BaseException:
        task.withdraw(pending)
        raise
    return _result(task, pending)


def _result(task: CurrentTask, pending: Pending) -> Any:
    assert pending.found is not None
    outcome = pending.found()
    pending.found = None
    try:
        if not outcome.cancelled:
            return outcome.unwrap()
        if task.is_cancelled():
            raise Cancelled(task.reason)
        from .cancelled import TaskCancelled

        raise TaskCancelled(getattr(pending.fn, "__qualname__", "from_task"), "its function was cancelled on the loop")
    finally:
        del outcome, pending, task  # no cycle from the error over its traceback to this frame
