"""Running one coroutine task of a scope on the event loop."""

from __future__ import annotations

from typing import Any

import anyio

from .handle import TaskHandle
from .._model.current import INF, CurrentTask, current
from .._model.outcome import CANCELLED, Outcome
from .._model.states import TaskState
from ..errors import TaskTimeout


async def run_coroutine(handle: TaskHandle[Any]) -> None:
    """Run the coroutine function of `handle` and settle it with what really happened.

    Failures stay in the handle: its scope raises them. What is no `Exception` goes on as in anyio.
    """
    __tracebackhide__ = True
    fn, args = handle.fn, handle.args
    assert fn is not None and args is not None
    current.set(CurrentTask(handle.id, handle.name, "loop", None))
    if handle.state is TaskState.QUEUED:
        handle.move(TaskState.RUNNING)
    handle.started_at = handle.queued_at
    try:
        if handle.timeout is None:
            value = await fn(*args)
        else:
            value = await _with_timeout(handle, fn, args)
    except anyio.get_cancelled_exc_class():
        if handle.stop_reason is None:
            handle.by_scope = handle.owner.cancel_scope.cancel_called
        handle.settle(CANCELLED)
        raise
    except Exception as exc:
        handle.settle(Outcome(error=exc))
    except BaseException as exc:
        handle.settle(Outcome(error=exc))
        raise
    else:
        handle.settle(Outcome(value))
    finally:
        del handle, fn, args


async def _with_timeout(handle: TaskHandle[Any], fn: Any, args: tuple[Any, ...]) -> Any:
    deadline = anyio.current_time() + handle.timeout if handle.timeout is not None else INF
    with anyio.CancelScope(deadline=deadline):
        return await fn(*args)
    raise TaskTimeout(f"task {handle.name!r}", handle.timeout or 0.0)
