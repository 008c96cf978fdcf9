"""Raising in running code at a point where no `with` or `finally` is lost, by `sys.monitoring` (CPython 3.12 on).

An asynchronous exception lands where the interpreter checks for one. Since 3.12 the back jump of a `while` is such a
place, and lies outside of the `try` around it (cpython#130279). So the functions on the thread's stack are watched
instruction by instruction from the cancellation on, and the exception is raised at the first *safe point*: after a
call, at the start of a function, or at the target of a back jump. No other function is watched, so none of the pool's
own can be hit.

Without a GIL only the thread itself can read its stack. There the interrupt is *requested*: all threads are watched
line by line until the one that is meant runs a line.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FrameType

from ..errors import Cancelled

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeVar

    class Target(Protocol):
        """A run that may be interrupted; all but `ident` is guarded by the lock of this module.

        Attributes:
            ident: its thread.
            over: it was interrupted, or has ended.
            reason: for the `Cancelled` that is raised.
            watched: the functions that are watched because of it.
        """

        ident: int
        over: bool
        reason: str | None
        watched: set[CodeType]

    T = TypeVar("T", bound=Target)

_monitoring: Any = getattr(sys, "monitoring", None)
_tool: int | None = None
_lock = allocate_lock()
_targets: dict[int, Target] = {}  # by thread
_watchers: dict[CodeType, int] = {}
_requested: dict[int, tuple[Any, Callable[[Any, FrameType], CodeType | None]]] = {}  # by thread
_calls: dict[int, Callable[[FrameType], object]] = {}  # by thread


def available() -> bool:
    """Tell whether this way of raising can be used: the interpreter has it, and a tool id is free."""
    global _tool
    if _monitoring is None:
        return False
    if _tool is None:
        for id in (4, 3):  # those without a meaning of their own
            try:
                _monitoring.use_tool_id(id, "unified_exec")
            except ValueError:
                continue
            events = _monitoring.events
            _monitoring.register_callback(id, events.INSTRUCTION, _on_instruction)
            for event in (events.LINE, events.JUMP, events.PY_START, events.PY_RESUME):
                _monitoring.register_callback(id, event, _on_line)
            _tool = id
            break
    return _tool is not None


def arm(target: Target, frame: FrameType, end: CodeType) -> None:
    """Have `Cancelled` raised in the functions from `frame` up to, but without, `end`."""
    with _lock:
        if target.over:
            return
        _targets[target.ident] = target
        at: FrameType | None = frame
        while at is not None and at.f_code is not end:
            code = at.f_code
            if code not in target.watched:
                target.watched.add(code)
                _watchers[code] = _watchers.get(code, 0) + 1
                if _watchers[code] == 1:
                    _monitoring.set_local_events(_tool, code, _monitoring.events.INSTRUCTION)
            at = at.f_back


def request(target: T, reach: Callable[[T, FrameType], CodeType | None]) -> None:
    """Have `Cancelled` raised in another thread, which reads its own stack for it.

    Args:
        target: the run.
        reach: called with the innermost frame of the thread, in that thread; returns what `arm` calls `end`, or
            ``None`` if it is to be asked again at the next line.
    """
    with _lock:
        if target.over or target.ident in _targets:
            return
        _requested[target.ident] = target, reach
        _watch_lines()


def call_soon(ident: int, fn: Callable[[FrameType], object]) -> None:
    """Have `fn` called in another thread at the next line that it runs, with its innermost frame."""
    with _lock:
        _calls[ident] = fn
        _watch_lines()


def _watch_lines() -> None:
    """Watch the lines of all threads while an interrupt or a call is requested. With the lock held."""
    events = _monitoring.events
    wanted = events.LINE | events.JUMP | events.PY_START | events.PY_RESUME if _requested or _calls else 0
    if _monitoring.get_events(_tool) != wanted:
        _monitoring.set_events(_tool, wanted)


def _on_line(code: CodeType, *where: int) -> None:
    ident = get_ident()
    if ident in _calls:
        _call(ident, sys._getframe(1))
        return
    requested = _requested.get(ident)
    if requested is None:
        return
    target, reach = requested
    frame = sys._getframe(1)
    end = reach(target, frame)
    if end is not None:
        with _lock:
            _requested.pop(target.ident, None)
            _watch_lines()
        arm(target, frame, end)


def _call(ident: int, frame: FrameType) -> None:
    if not _lock.acquire(False):
        return  # this thread may be in `disarm`: at its next line
    fn = _calls.pop(ident)
    _watch_lines()
    _lock.release()
    fn(frame)


def disarm(target: Target) -> None:
    """Raise no more for this target. Called in its own thread: nothing is raised while this runs, or later."""
    target.over = True  # before the lock: a finalizer that runs in here must not be hit
    with _lock:
        if _targets.get(target.ident) is target:
            del _targets[target.ident]
        if target.ident in _requested:
            del _requested[target.ident]
            _watch_lines()
        for code in target.watched:
            _watchers[code] -= 1
            if not _watchers[code]:
                del _watchers[code]
                _monitoring.set_local_events(_tool, code, 0)
        target.watched.clear()


def _on_instruction(code: CodeType, offset: int) -> None:
    target = _targets.get(get_ident())
    if target is None or target.over or code not in target.watched or offset not in _safe_points(code):
        return
    disarm(target)
    raise Cancelled(target.reason)


@lru_cache(maxsize=256)
def _safe_points(code: CodeType) -> frozenset[int]:
    import dis

    points, called = set(), False
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if called or name == "RESUME":
            points.add(instruction.offset)
        if name == "JUMP_BACKWARD":
            points.add(instruction.argval)
        called = name.startswith("CALL") and not name.startswith("CALL_INTRINSIC")
    return frozenset(points)
