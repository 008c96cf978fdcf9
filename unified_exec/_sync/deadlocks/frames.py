"""What the frames of a suspended coroutine, or of a thread, tell: which task of a scope it is, and what it awaits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from opcode import opmap
from os.path import dirname
from types import FrameType
from typing import Any, NamedTuple

from ..._stacks.lines import coroutine_parts, thread_frames
from ..._tasks.holders import ThreadHolder
from ..._tasks.parent import parent_pid
from .graph import ANY_TASK, PERMIT, REACH, TASKS, Key

_PACKAGE = dirname(dirname(dirname(__file__)))
_OPTIMIZED = 1  # CO_OPTIMIZED: the variables are not a dictionary
_GENERATOR = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_FOR_ITER = opmap["FOR_ITER"]
_HAVE_DICTS = sys.version_info < (3, 13)
_BORROW = sys.version_info >= (3, 14)
_LOOPS = frozenset({"Handle._run", "Runner.run", "BaseEventLoop.run_until_complete", "unrolled_run"})
_Variables = type((lambda: sys._getframe().f_locals)())
"""Of a frame whose variables can be borrowed from; the body of a class may have a mapping of the program."""

KNOWN = sys.version_info < (3, 16) and not (sys.version_info >= (3, 14) and sys._jit.is_enabled())
"""Whether it is known of this interpreter which variables of a running frame have a reference of their own."""


class Awaited(NamedTuple):
    """What a coroutine or thread waits for.

    Attributes:
        kind: `TASKS`, `ANY_TASK`, for a `Limit` `PERMIT`, and `REACH` for what anybody can end who has the object.
        handles: of the tasks.
        mark: changes with each wait.
        limit: the limit.
        sleeper: who waits for the object.
        target: id of the object, or of the scope whose tasks they are.
        words: what it waits for, and where.
        wait: names the wait to an object that is shared with other processes; see `SharedFormBase.has_come`.
    """

    kind: int
    handles: list[Any]
    mark: int
    limit: Any = None
    sleeper: Any = None
    target: int = 0
    words: str = ""
    wait: int = 0


def is_ours(frame: FrameType) -> bool:
    """Tell whether the code is this package's."""
    return frame.f_code.co_filename.startswith(_PACKAGE)


def key_of(holder: Any) -> Key:
    """Name a holder: by the process that spawned it and its id there, if it is the task of a scope."""
    if type(holder) is ThreadHolder:
        if holder.task is None:
            return os.getpid(), -id(holder)
        return parent_pid() if holder.is_process_task else os.getpid(), holder.task
    for frame in _frames(coroutine_of(holder)):
        found = key_of_frame(frame)
        if found is not None:
            return found
    return os.getpid(), -id(holder)


def key_of_caller(holder: Any) -> Key:
    """Name the holder that runs this code."""
    if type(holder) is not ThreadHolder:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_qualname not in _LOOPS:
            found = key_of_frame(frame)
            if found is not None:
                return found
            frame = frame.f_back
    return key_of(holder)


def key_of_frame(frame: FrameType) -> Key | None:
    """Name the task that this frame runs; ``None`` if it is not the one that runs a task of a scope."""
    name = frame.f_code.co_qualname
    if name == "run_coroutine" and is_ours(frame):
        return os.getpid(), frame.f_locals["handle"].id
    if name == "CoroutineRunner._run" and is_ours(frame):
        return parent_pid(), frame.f_locals["task"].id
    return None


def coroutine_of(holder: Any) -> Any:
    """The coroutine of a task of asyncio or trio, or of what spawned it; ``None`` if there is none."""
    if hasattr(holder, "get_coro"):
        return holder.get_coro()
    return getattr(holder, "coro", None) or getattr(holder, "_coro", None)


def _frames(made: Any) -> list[FrameType]:
    """The frames of a suspended coroutine, the outermost first; none while it runs."""
    if made is None or getattr(made, "cr_running", False):
        return []
    return [frame for _, frame in coroutine_parts(made) if frame is not None]


def awaits(holder: Any) -> Awaited | None:
    """Return what a holder or its coroutine waits for; ``None`` if that is not known."""
    if type(holder) is ThreadHolder:
        return awaited_in(reversed(thread_frames(sys._current_frames().get(holder.thread))))
    return awaited_in(_frames(coroutine_of(holder)))


def awaited_in(frames: Iterable[FrameType]) -> Awaited | None:
    """Return what these frames wait for, the outermost first."""
    outer: FrameType | None = None  # the last one of ours
    line = "an unknown line"
    for frame in frames:
        if not is_ours(frame):
            line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            continue
        read = _READERS.get(frame.f_code.co_qualname)
        if read is not None:
            return read(frame.f_locals, frame, outer, line)
        outer = frame
    return None


def _handle(names: dict[str, Any], *_: Any) -> Awaited | None:
    handle = names.get("self")
    return None if handle is None else Awaited(TASKS, [handle], id(names.get("waiter")))


def _sync_handle(names: dict[str, Any], frame: FrameType, *_: Any) -> Awaited | None:
    return Awaited(TASKS, [names["self"]], id(frame)) if names["timeout"] is None else None


def _scope(names: dict[str, Any], *_: Any) -> Awaited:
    scope = names["self"]
    return Awaited(ANY_TASK, scope.tasks(), id(scope), target=id(scope))


def _limit(names: dict[str, Any], *_: Any) -> Awaited | None:
    gate, waiter = names["self"], names["waiter"]
    return None if waiter.granted or not hasattr(gate, "n") else Awaited(PERMIT, [], id(waiter), gate, waiter)


def _channel(names: dict[str, Any], _: Any, outer: FrameType | None, line: str) -> Awaited | None:
    return _of_channel(names.get("sleeper"), names, outer, line)


def _side(names: dict[str, Any], _: Any, outer: FrameType | None, line: str) -> Awaited | None:
    return _of_channel(names["self"].long_waits.get(names.get("waiter")), names, outer, line)


def _of_channel(sleeper: Any, names: dict[str, Any], outer: FrameType | None, line: str) -> Awaited | None:
    channel = None if outer is None else outer.f_locals.get("self")
    if sleeper is None or sleeper.woken or channel is None or names.get("deadline") is not None:
        return None
    sending = names["sending"]
    words = f"waits for {'room in' if sending else 'an item of'} {channel!r} at {line}"
    return Awaited(REACH, [], id(sleeper), None, sleeper, id(channel), words, sending)


def _meeting(names: dict[str, Any], _: FrameType, __: FrameType | None, line: str) -> Awaited | None:
    meeting, ticket = names["self"], names["ticket"]
    if ticket.told or ticket.error or (ticket.woken and ticket.row < 0) or names["timeout"] is not None:
        return None
    words = f"waits for {meeting!r} at {line}"
    return Awaited(REACH, [], id(ticket), None, ticket, id(meeting), words, ticket.row)


_READERS = {
    "TaskHandle.__await__": _handle,
    "TaskHandle.wait": _handle,
    "SyncTaskHandle.wait": _sync_handle,
    "ScopeEngine.close": _scope,
    "Gate.__aenter__": _limit,
    "Gate._wait_in_thread": _limit,
    "LocalForm.wait": _channel,
    "LocalForm.wait_sync": _channel,
    "LoopSide.wait": _side,
    "SharedForm.wait_sync": _channel,
    "Meeting._wait": _meeting,
    "Meeting._wait_sync": _meeting,
}
"""What the frame of a function that waits tells, by the name of the function."""


def references(frames: list[FrameType]) -> list[Any]:
    """What the variables of a thread's frames, the innermost first, refer to, once for each reference that must count.

    From CPython 3.14 on, a variable may borrow the reference of another one farther out, over any number of calls. It
    is left out then, also where it has one of its own: to find too few references means only that nothing is said.
    The variables of generators borrow none.
    """
    if _BORROW and (not KNOWN or (frames and frames[-1].f_back is not None)):
        return []
    found: list[Any] = []
    outside: set[int] = set()
    caller: FrameType | None = None
    for frame in reversed(frames):
        names = frame.f_locals
        is_generator = bool(frame.f_code.co_flags & _GENERATOR)
        found += [each for each in _values(frame, names) if is_generator or id(each) not in outside]
        if _is_exit(frame) and (not _BORROW or id(names["self"]) in outside):
            found.append(names["self"])  # what the `with` has of it, or its variable, which borrows nothing
        if caller is not None and _iterates(caller, frame):
            found += [names["self"]] * (1 + (id(names["self"]) in outside))  # what the loop has, and the variable
        if _BORROW and type(names) is _Variables:
            outside.update(map(id, names.values()))
        caller = frame
    return found


def _values(frame: FrameType, names: Mapping[str, Any]) -> list[Any]:
    code = frame.f_code
    if not code.co_flags & _OPTIMIZED:
        return []
    cells = {*code.co_cellvars, *code.co_freevars}
    found = [names[name] for name in code.co_varnames if name in names and name not in cells]
    return found + list(names.values()) if _HAVE_DICTS else found


def _is_exit(frame: FrameType) -> bool:
    return frame.f_code.co_qualname == "SyncTaskScope.__exit__" and is_ours(frame)


def _iterates(frame: FrameType, inner: FrameType) -> bool:
    """Tell whether `frame` is in a ``for`` loop over the object whose `__next__` is `inner`."""
    is_next = inner.f_code.co_name == "__next__" and is_ours(inner)
    return is_next and frame.f_code.co_code[frame.f_lasti] == _FOR_ITER
