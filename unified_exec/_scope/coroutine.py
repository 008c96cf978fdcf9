"""Running one coroutine task of a scope on the event loop."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import copy_context
from functools import partial
from math import inf as INF
from types import CoroutineType
from typing import Any

import anyio

from .._handles.handle import TaskHandle
from .._rules.dispatch import not_awaitable
from .._tasks.current import CurrentTask, set_current
from .._tasks.holders import coroutine_holds, end_coroutine_holder, me
from .._tasks.requests import LocalRequest, Pending
from .._tasks.types import CANCELLED, Outcome
from ..errors import TaskTimeout

CANCELLED_BY_OTHERS = "something that it awaited was cancelled, or asyncio.Task.cancel() was called on it"


class LoopTask(CurrentTask):
    """What `current_task` returns on the loop. One is made for each coroutine, and few are used: attributes are
    computed when they are read."""

    __slots__ = ("_handle",)
    backend = "loop"
    cancel_requested = False
    reason = None
    id = property(lambda self: self._handle.id)
    name = property(lambda self: self._handle.name)
    asked_by = property(lambda self: self._handle.asked_by)
    deadline = property(lambda self: self._handle.deadline)
    nested = property(lambda self: self._handle.nested)
    priority = property(lambda self: self._handle.priority)

    def __init__(self, handle: TaskHandle[Any]) -> None:
        self._handle = handle

    def send_request(self, pending: Pending) -> None:
        handle = self._handle
        request, adapter = LocalRequest(pending, copy_context()), handle.owner.adapter
        if not adapter.elsewhere():
            handle.on_request(request)
        elif not adapter.call_threadsafe(handle.on_request, request):  # in a thread that the coroutine waits for
            raise RuntimeError(f"the event loop of task {handle.name!r} has ended")

    def withdraw(self, pending: Pending) -> None:
        if pending.found is None:
            self.send_request(pending.stop())

    def send(self, message: object) -> None:
        if self._handle.outcome is None:
            self._handle.on_message(message)


async def run_coroutine(handle: TaskHandle[Any]) -> None:
    """Run the coroutine function of `handle` and settle it with what really happened.

    Failures stay in the handle: its scope raises them. Anything that is not an `Exception` is raised, as in anyio.
    """
    __tracebackhide__ = True
    fn: Any = handle.fn
    args: Any = handle.args
    set_current(LoopTask(handle))
    try:
        if handle.plan is None and handle.timeout is None:
            handle.begin()
            made = fn(*args)
            if type(made) is not CoroutineType and not isinstance(made, Awaitable):
                raise TypeError(not_awaitable(fn, made))
            value = await made
        else:
            value = await _with_options(handle, fn, args)
    except anyio.get_cancelled_exc_class():
        if not handle.cancel_requested:
            if anyio.current_effective_deadline() != -INF:  # only on asyncio
                handle.stop_reason = CANCELLED_BY_OTHERS
                handle.settle(CANCELLED)
                return  # anyio would cancel all tasks of the scope, without an error
            handle.note_scope_cancel(handle.owner.reason())
        handle.settle(CANCELLED)
        raise
    except BaseExceptionGroup as group:
        cancelled = _settle_with_group(handle, group)
        if cancelled is not None:
            raise cancelled from None
    except Exception as exc:
        handle.settle(Outcome(error=exc))
    except BaseException as exc:
        handle.settle(Outcome(error=exc))
        raise
    else:
        handle.settle(Outcome(value))
    finally:
        del handle, fn, args
        made = None  # it may be a future that has the exception
        if coroutine_holds:
            end_coroutine_holder(me())


async def _with_options(handle: TaskHandle[Any], fn: Any, args: tuple[Any, ...]) -> Any:
    call: Any = _awaitable
    if handle.plan is not None:
        from .retrying import run_attempts

        call = partial(run_attempts, handle, _awaitable)
    else:
        handle.begin()
    if handle.timeout is None:
        return await call(fn, args)
    with anyio.CancelScope(deadline=anyio.current_time() + handle.timeout):
        return await call(fn, args)
    raise TaskTimeout(f"task {handle.name!r}", handle.timeout)


def _awaitable(fn: Any, args: tuple[Any, ...]) -> Any:
    made = fn(*args)
    if type(made) is not CoroutineType and not isinstance(made, Awaitable):
        raise TypeError(not_awaitable(fn, made))
    return made


def _settle_with_group(handle: TaskHandle[Any], group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Keep the failures of a group in the handle; returns what must go on: trio's cancellations, which belong to an
    enclosing scope, and whatever is not an `Exception`."""
    cancelled, failed = group.split(anyio.get_cancelled_exc_class())
    if failed is None:
        handle.note_scope_cancel(handle.owner.reason())
        handle.settle(CANCELLED)
        return group
    handle.settle(Outcome(error=failed))
    return cancelled if isinstance(failed, Exception) else group
