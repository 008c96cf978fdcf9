"""What the frames of a suspended coroutine, or of a thread, tell: which task of a scope it is, and what it awaits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from os.path import dirname
from types import FrameType
from typing import Any, NamedTuple

from ..._tasks.holders import ThreadHolder
from .graph import ANY_TASK, PERMIT, TASKS, Key

__all__ = ["Awaited", "awaits", "coroutine_of", "key_of", "key_of_caller"]

_PACKAGE = dirname(dirname(dirname(__file__)))
_LOOPS = frozenset({"Handle._run", "Runner.run", "BaseEventLoop.run_until_complete", "unrolled_run"})


class Awaited(NamedTuple):
    """What a coroutine or thread waits for.

    Attributes:
        kind: `TASKS`, `ANY_TASK` or, for a `Limit`, `PERMIT`.
        handles: of the tasks.
        mark: changes with each wait.
        limit: the limit.
    """

    kind: int
    handles: list[Any]
    mark: int
    limit: Any = None


def key_of(holder: Any) -> Key:
    """Name a holder: by the process that spawned it and its id there, if it is the task of a scope."""
    if type(holder) is ThreadHolder:
        if holder.task is None:
            return os.getpid(), -id(holder)
        return os.getppid() if holder.is_process_task else os.getpid(), holder.task
    for frame in _ours(coroutine_of(holder)):
        found = _task_of_frame(frame)
        if found is not None:
            return found
    return os.getpid(), -id(holder)


def key_of_caller(holder: Any) -> Key:
    """Name the holder that runs this code."""
    if type(holder) is not ThreadHolder:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_qualname not in _LOOPS:
            found = _task_of_frame(frame) if frame.f_code.co_filename.startswith(_PACKAGE) else None
            if found is not None:
                return found
            frame = frame.f_back
    return key_of(holder)


def _task_of_frame(frame: FrameType) -> Key | None:
    name = frame.f_code.co_qualname
    if name == "run_coroutine":
        return os.getpid(), frame.f_locals["handle"].id
    if name == "CoroutineRunner._run":
        return os.getppid(), frame.f_locals["task"].id
    return None


def coroutine_of(holder: Any) -> Any:
    """The coroutine of a task of asyncio or trio, or of what spawned it; ``None`` if there is none."""
    if hasattr(holder, "get_coro"):
        return holder.get_coro()
    return getattr(holder, "coro", None) or getattr(holder, "_coro", None)


def _ours(made: Any) -> Iterator[FrameType]:
    """The frames of this package in which a coroutine is suspended, the outermost first; none while it runs."""
    while made is not None:
        frame = getattr(made, "cr_frame", None) or getattr(made, "gi_frame", None)
        if frame is None or getattr(made, "cr_running", False):
            return
        if frame.f_code.co_filename.startswith(_PACKAGE):
            yield frame
        made = getattr(made, "cr_await", None) or getattr(made, "gi_yieldfrom", None)


def awaits(holder: Any) -> Awaited | None:
    """Return the tasks, or the limit, that a holder or its coroutine waits for; ``None`` if that is not known."""
    if type(holder) is ThreadHolder:
        return _thread_awaits(sys._current_frames().get(holder.thread))
    for frame in _ours(coroutine_of(holder)):
        name, names = frame.f_code.co_qualname, frame.f_locals
        if name in ("TaskHandle.__await__", "TaskHandle.wait"):
            handle = names.get("self")
            return None if handle is None else Awaited(TASKS, [handle], id(names.get("waiter")))
        if name == "ScopeEngine.close":
            return Awaited(ANY_TASK, names["self"].tasks(), id(names["self"]))
        if name == "Gate.__aenter__":
            return _limit(names)
    return None


def _thread_awaits(frame: FrameType | None) -> Awaited | None:
    while frame is not None:
        code, names = frame.f_code, frame.f_locals
        if code.co_qualname == "SyncTaskHandle.wait" and code.co_filename.startswith(_PACKAGE):
            return Awaited(TASKS, [names["self"]], id(frame)) if names["timeout"] is None else None
        if code.co_qualname == "Gate._wait_in_thread" and code.co_filename.startswith(_PACKAGE):
            return _limit(names)
        frame = frame.f_back
    return None


def _limit(names: dict[str, Any]) -> Awaited | None:
    gate, waiter = names["self"], names["waiter"]
    return None if waiter.granted or not hasattr(gate, "n") else Awaited(PERMIT, [], id(waiter), gate)
