"""Raising `Cancelled` between two bytecodes of a task that runs in a thread of this process.

There are two ways: at a safe point (see `_safe_points`), or as the interpreter's asynchronous exception, which 3.11
and a process whose monitoring tools are all taken must do with. The race to win in the second: the raise must land in
the task, never in the pool's code or in the thread's next task. So each interruptible run has a *shot*, which can be
taken once: by the asker, who then fires, or by the finisher, after which nobody can fire any more. A finisher that
comes second waits, inside the `try` that catches it, until the shot is fired and has landed. It is never taken back:
of an asynchronous exception set to NULL 3.11 keeps the flag, with which a function that is traced spins for ever.

A raise waits until a call into C returns, but for the wait of an event loop that the task runs (see `inner_loops`).
"""

from __future__ import annotations

import sys
from _thread import allocate_lock, get_ident
from collections.abc import Callable
from functools import lru_cache, partial
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from ..._tasks import inner_loops
from ..._tasks.current import current
from ...errors import Cancelled
from . import safe_points

if TYPE_CHECKING:
    from .call import ThreadCall

T = TypeVar("T")

PATIENCE = 20
UNHEARD = 6  # tries after which code that keeps its event loop busy is hit itself
BETWEEN = 60  # tries, two seconds, after which code of an event loop's library that runs without the loop is hit
RETRY = 0.001  # seconds until the second look at a thread that could not be interrupted at once


class Interrupt(Cancelled):
    """`Cancelled` as the interpreter makes it: without arguments. Users see the class they know."""

    def __init__(self) -> None:
        task = current.get()
        super().__init__(None if task is None else task.reason)

    def __reduce__(self) -> tuple[type[Cancelled], tuple[str | None]]:
        return Cancelled, (self.reason,)


Interrupt.__name__, Interrupt.__qualname__, Interrupt.__module__ = (
    Cancelled.__name__,
    Cancelled.__qualname__,
    Cancelled.__module__,
)


class InterruptToken:
    """One chance to interrupt one run. Locks, as they are the atomic words Python has: neither is ever given back.

    Attributes:
        taken: acquired, without waiting, by the asker or the finisher: whoever gets it.
        fired: held until the asker has fired.
        over: the run was interrupted, or has ended.
        told: an event loop that the task runs was told to cancel its main task.
        tries: how often the asker has come before.
        watched: see `_safe_points`.
    """

    __slots__ = ("fired", "ident", "over", "reason", "taken", "told", "tries", "watched")

    def __init__(self, ident: int) -> None:
        self.ident = ident
        self.over = self.told = False
        self.tries = 0
        self.reason: str | None = None
        self.watched: set[CodeType] = set()
        self.taken = allocate_lock()
        self.fired = allocate_lock()
        self.fired.acquire()

    def fire(self) -> bool:
        """The asker's move: interrupt the thread unless the run has ended; tells whether it did."""
        if not self.taken.acquire(False):
            return False
        try:
            _interrupt(self.ident)
        finally:
            self.fired.release()
        return True

    def close(self) -> None:
        """The finisher's move: after it nothing lands any more.

        Raises:
            Interrupt: anywhere in here. Then the asker had the shot and has fired it: nothing is left to close.
        """
        if not self.taken.acquire(False):
            self.fired.acquire()  # behind a call the interpreter looks: what has not landed before lands here
        safe_points.end(self)


def run_interruptible(call: ThreadCall, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Run the function so that `ThreadCall.shot` may be fired at it, and only at it."""
    assert call.context is not None
    # The cache stores the value in C: a shot that lands as the function returns cannot lose it.
    once = lru_cache(maxsize=None)(partial(call.context.run, fn, *args))
    failed: BaseException | None = None
    _targets[get_ident()] = call
    try:
        try:
            call.arm(InterruptToken(get_ident()))
            once()
        finally:
            call.disarm()
    except BaseException as exc:
        failed = exc
    _targets.pop(get_ident(), None)
    if once.cache_info().currsize:
        failed = None  # a late shot: it has landed, and the value counts
        return once()
    assert failed is not None
    try:
        raise _true_error(failed, type(call).disarm.__code__)
    finally:
        del failed, once


def _true_error(exc: BaseException, finisher: CodeType) -> BaseException:
    """The task's own error where a late shot has covered it: it landed in the finisher while the error passed."""
    tb = exc.__traceback__
    if not isinstance(exc, Cancelled) or exc.__context__ is None or tb is None:
        return exc
    late = tb.tb_next is None or tb.tb_next.tb_frame.f_code is finisher
    return exc.__context__ if late else exc


# What may be fired at, by thread: the call that lost its interrupt in a `__del__` is found here. Each thread
# touches its own entry only.
_targets: dict[int, ThreadCall] = {}


def fire(shot: InterruptToken, reason: str | None, tries: int) -> bool:
    """Interrupt the run; ``False`` if the asker shall come again: now is a bad moment, or it has not landed yet."""
    import ctypes  # noqa: F401  # now: nothing may come between the look and the shot

    _watch_swallowed()
    shot.reason = reason
    shot.tries = tries
    if not _gil():
        return _fire_unseen(shot)
    # The thread cannot move until this one lets go of the GIL. If it does, no harm is done: the look was in vain.
    frame = sys._current_frames().get(shot.ident)
    if shot.over or frame is None:
        return True
    end = _reach(shot, frame)
    if end is None:
        return False
    if not safe_points.available():
        shot.fire()
        return True
    safe_points.aim(shot, frame, end)
    return shot.over


def _fire_unseen(shot: InterruptToken) -> bool:
    """Interrupt a thread whose stack cannot be read while it runs: it is hailed, and reads its own."""
    if not safe_points.available():
        shot.fire()
        return True
    if shot.over:
        return True
    safe_points.hail(shot, _reach)
    if not shot.told and shot.tries == UNHEARD:  # in C, perhaps in the selector of a loop of its own
        inner_loops.wake_all()
    return shot.over


def fire_again(shot: InterruptToken, reason: str | None, frame: FrameType) -> bool:
    """Interrupt `frame`, of this thread, after the finalizer it ran into; ``False`` if only the loop can."""
    shot.reason = reason
    shot.tries = PATIENCE
    end = _reach(shot, frame)
    if end is None or not safe_points.available():
        return False
    safe_points.aim(shot, frame, end)
    return True


def _reach(shot: InterruptToken, frame: FrameType) -> CodeType | None:
    """Out to which function those on the stack may be hit now; ``None``: this is a bad moment."""
    if _bad_moment(frame, shot.tries):
        return None
    loop = inner_loops.find(frame, run_interruptible.__code__)
    if loop is None:
        if shot.tries < BETWEEN and inner_loops.is_between(frame, run_interruptible.__code__):
            return None
        return run_interruptible.__code__
    if not shot.told:
        shot.told = True
        loop.cancel()
    return loop.above if shot.tries >= UNHEARD else None


def _gil() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return enabled is None or enabled()


def _bad_moment(frame: FrameType, tries: int) -> bool:
    at: FrameType | None = frame
    while at is not None and at.f_code is not run_interruptible.__code__:
        code = at.f_code
        if code.co_filename in own_files:
            return True  # about to begin, where the thread looks itself, or about to end
        if code.co_filename.startswith("<frozen importlib"):
            return True  # half an import leaves a broken module behind
        if code.co_name == "__del__" and tries < PATIENCE:
            return True  # it would be swallowed
        at = at.f_back
    return False


def _watch_swallowed() -> None:
    """Hear of exceptions that a `__del__` or a callback swallowed, whoever else has replaced the hook meanwhile."""
    previous = sys.unraisablehook
    if getattr(previous, "__code__", None) is _HOOK:
        return
    sys.unraisablehook = _make_hook(previous)


def _make_hook(previous: Callable[[sys.UnraisableHookArgs], Any]) -> Callable[[sys.UnraisableHookArgs], Any]:
    def unraisable_hook(unraisable: sys.UnraisableHookArgs) -> None:
        call = _targets.get(get_ident()) if issubclass(unraisable.exc_type, Cancelled) else None
        if call is None:
            previous(unraisable)
        else:
            call.swallowed(sys._getframe().f_back)

    return unraisable_hook


_HOOK = _make_hook(sys.unraisablehook).__code__
# Where code of this package runs between the function and `run_interruptible`, which nothing may hit.
own_files = {_HOOK.co_filename, safe_points.end.__code__.co_filename, inner_loops.find.__code__.co_filename}


def _interrupt(ident: int) -> None:
    import ctypes  # not at the top: few programs interrupt

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupt))
