"""A scope that is left in another task than it was entered in: its tasks end, and the error says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from .._handles.handle import TaskHandle

REASON = "its scope was left in another task"
_ENTERED = (
    "this scope was entered in one task and is left in another; a scope, as every task group and cancel scope, belongs "
    "to the task that entered it, so nothing that fails or is cancelled here reaches the right code. "
)
_FIXTURE = (
    "Enter and leave it in one function. In tests open the scope in the test itself: fixtures, asyncSetUp and "
    "enterAsyncContext run in other tasks; a ProcessPool or ThreadPool may live there. The documentation has a page "
    "about testing"
)
_GENERATOR = (
    "An async generator that yields inside of a scope was closed by another task, because its consumer went away. Let "
    "the consumer open the scope and iterate over scope.stream(generator_function), or iterate under "
    "contextlib.aclosing"
)


def wrong_task(kind: type[BaseException] | None) -> RuntimeError:
    """Return the error of a scope that is left in the wrong task.

    Args:
        kind: the class of what its body raised.
    """
    return RuntimeError(_ENTERED + (_GENERATOR if kind is GeneratorExit else _FIXTURE))


async def end_tasks(tasks: Callable[[], list[TaskHandle[Any]]], cancel: Callable[[str], object], at_once: bool) -> None:
    """Wait for the tasks of a scope whose task group cannot be left, as the task that entered it still runs. It is not
    cancelled: it may have nothing to do with the scope any more.

    Args:
        tasks: returns those that have not ended.
        cancel: cancels them, with a reason.
        at_once: cancel them before waiting; otherwise only if the waiting is cancelled.
    """
    if at_once:
        cancel(REASON)
    try:
        while left := tasks():
            await left[0].wait()
    finally:
        if tasks():
            cancel(REASON)
            with anyio.CancelScope(shield=True):
                while left := tasks():
                    await left[0].wait()
