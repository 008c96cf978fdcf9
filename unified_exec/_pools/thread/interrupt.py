"""Raising `Cancelled` between two bytecodes of a task that runs in a thread of this process.

There are two ways: at a safe point (see `safe_points`), or as the interpreter's asynchronous exception, which serves
3.11 and processes whose monitoring tools are all taken. The second has a race to win: the exception must land in the
task, never in the pool's code or in the thread's next task. So each interruptible run has a *token*, which can be taken
once: by the canceller, which then interrupts, or by the run when the function has ended, after which nobody can
interrupt any more. A run that comes second waits, inside the `try` that catches it, until the exception was sent and
has landed. It is never taken back: when an asynchronous exception is set to NULL, 3.11 keeps the flag for it, and a
function that is traced then spins for ever.

An exception waits until a call into C returns, except for the wait of an event loop that the task runs (see
`inner_loops`).
"""

from __future__ import annotations

import sys
from _thread import LockType, allocate_lock, get_ident
from collections.abc import Callable
from contextvars import Context
from functools import lru_cache, partial
from types import CodeType, FrameType
from typing import Any, Protocol, TypeVar

from ..._stacks import safe_points
from ..._tasks import inner_loops, shielded
from ..._tasks.current import current
from ...errors import Cancelled

T = TypeVar("T")

DEL_TRIES = 20
"""Tries after which code is interrupted although a `__del__` is running, which swallows the exception."""
LOOP_TRIES = 6
"""Tries after which the code of a busy event loop is interrupted itself: the cancellation of its main task had no
effect."""
LIBRARY_TRIES = 60
"""Tries (about two seconds) after which code of an event loop's library is interrupted although no loop runs."""
RETRY = 0.001
"""Seconds until the second try at a thread that could not be interrupted at once."""


class Interruptible(Protocol):
    """A call that may be interrupted.

    Attributes:
        context: what the function runs in.
        reason: why the call is cancelled.
        token: what a canceller may use while the function runs; read and replaced under `lock`.
        finishing: the function has returned: no new token may be made.
    """

    context: Context | None
    reason: str | None
    token: InterruptToken | None
    finishing: bool

    @property
    def lock(self) -> LockType: ...

    def check_cancelled(self) -> None: ...

    def request_interrupt(self) -> object:
        """Have the loop call `deliver` again."""


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
    """One chance to interrupt one run. Its two locks are never released again: they are the atomic flags of Python.

    Attributes:
        taken: acquired, without waiting, by whichever of canceller and run comes first.
        delivered: held until the canceller has interrupted.
        over: the run was interrupted, or has ended.
        loop_cancelled: an event loop that the task runs was asked to cancel its main task.
        tries: how often a canceller has tried before.
        watched: see `safe_points`.
    """

    __slots__ = ("delivered", "ident", "loop_cancelled", "over", "reason", "taken", "tries", "watched")

    def __init__(self, ident: int) -> None:
        self.ident = ident
        self.over = self.loop_cancelled = False
        self.tries = 0
        self.reason: str | None = None
        self.watched: set[CodeType] = set()
        self.taken = allocate_lock()
        self.delivered = allocate_lock()
        self.delivered.acquire()

    def interrupt(self) -> bool:
        """Interrupt the thread unless the run has ended; returns whether it did. For the canceller."""
        if not self.taken.acquire(False):
            return False
        try:
            _set_async_exception(self.ident)
        finally:
            self.delivered.release()
        return True

    def close(self) -> None:
        """Let nothing land after this. For the run.

        Raises:
            Interrupt: anywhere in here, if a canceller had taken the token: then nothing is left to close.
        """
        if not self.taken.acquire(False):
            self.delivered.acquire()  # after this call the interpreter checks: what has not landed lands here
        safe_points.disarm(self)


def run_interruptible(call: Interruptible, fn: Callable[..., T], args: tuple[Any, ...]) -> T:
    """Run the function so that it may be interrupted through `call.token`, and nothing else can be."""
    __tracebackhide__ = True
    assert call.context is not None
    # The cache stores the value in C: an interrupt that lands as the function returns cannot lose it.
    once = lru_cache(maxsize=None)(partial(call.context.run, fn, *args))
    failed: BaseException | None = None
    _running[get_ident()] = call
    try:
        try:
            arm(call)
            once()
        finally:
            disarm(call)
    except BaseException as exc:
        failed = exc
    _running.pop(get_ident(), None)
    if once.cache_info().currsize:
        failed = None  # a late interrupt: it has landed, and the value counts
        return once()
    assert failed is not None
    try:
        raise _true_error(failed)
    finally:
        del failed, once


def arm(call: Interruptible) -> None:
    """Allow interrupts from now on.

    Raises:
        Cancelled: the call was cancelled already, or is being interrupted.
    """
    token = InterruptToken(get_ident())
    with call.lock:
        call.token = token
    call.check_cancelled()


def disarm(call: Interruptible) -> None:
    """Allow no more interrupts. The last one may land in here."""
    call.finishing = True  # first: `_on_swallowed` runs in this thread too, and must make no token from here on
    if call.token is not None:
        call.token.close()


def _true_error(exc: BaseException) -> BaseException:
    """The task's own error where a late interrupt has covered it: it landed in `disarm` while the error passed."""
    tb = exc.__traceback__
    if not isinstance(exc, Cancelled) or exc.__context__ is None or tb is None:
        return exc
    late = tb.tb_next is None or tb.tb_next.tb_frame.f_code is disarm.__code__
    return exc.__context__ if late else exc


# The interruptible calls by thread, for a call whose interrupt was swallowed by a `__del__`. Each thread touches its
# own entry only.
_running: dict[int, Interruptible] = {}


def deliver(token: InterruptToken, reason: str | None, tries: int) -> bool:
    """Interrupt the run; ``False`` if the canceller must try again: now is a bad moment, or it has not landed yet."""
    import ctypes  # noqa: F401  # now: nothing may come between the look at the stack and the interrupt

    _watch_swallowed()
    token.reason = reason
    token.tries = tries
    if not _gil():
        return _deliver_unseen(token)
    # The thread cannot move until this one releases the GIL. If it does move, no harm is done: the look was in vain.
    frame = sys._current_frames().get(token.ident)
    if token.over or frame is None:
        return True
    end = _reach(token, frame)
    if end is None:
        return False
    if not safe_points.available():
        token.interrupt()
        return True
    safe_points.arm(token, frame, end)
    return token.over


def _deliver_unseen(token: InterruptToken) -> bool:
    """Interrupt a thread whose stack cannot be read while it runs: it is requested to read its own."""
    if not safe_points.available():
        token.interrupt()
        return True
    if token.over:
        return True
    safe_points.request(token, _reach)
    if not token.loop_cancelled and token.tries == LOOP_TRIES:  # in C, perhaps in the selector of a loop that it runs
        inner_loops.wake_all()
    return token.over


def _deliver_again(token: InterruptToken, reason: str | None, frame: FrameType) -> bool:
    """Interrupt `frame`, of this thread, after the finalizer it ran into; ``False`` if only the loop can."""
    token.reason = reason
    token.tries = DEL_TRIES
    end = _reach(token, frame)
    if end is None or not safe_points.available():
        return False
    safe_points.arm(token, frame, end)
    return True


def _reach(token: InterruptToken, frame: FrameType) -> CodeType | None:
    """Return the code object up to which the functions on the stack may be interrupted now; ``None``: none may."""
    if _bad_moment(frame, token.tries):
        return None
    loop = inner_loops.find(frame, run_interruptible.__code__)
    if loop is None:
        if token.tries < LIBRARY_TRIES and inner_loops.is_between(frame, run_interruptible.__code__):
            return None
        return run_interruptible.__code__
    if not token.loop_cancelled:
        token.loop_cancelled = True
        loop.cancel()
    return loop.above if token.tries >= LOOP_TRIES else None


def _gil() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return enabled is None or enabled()


def _bad_moment(frame: FrameType, tries: int) -> bool:
    if shielded.in_primitive(frame):
        return True  # an item may be in its hands; if it sleeps, the request has woken it
    at: FrameType | None = frame
    while at is not None and at.f_code is not run_interruptible.__code__:
        code = at.f_code
        if code.co_filename in _OWN_FILES:
            return True  # `arm`, which checks by itself, `disarm`, or what they call
        if code.co_filename.startswith("<frozen importlib"):
            return True  # an import that ends half-way leaves a broken module
        if code.co_name == "__del__" and tries < DEL_TRIES:
            return True  # it would be swallowed
        at = at.f_back
    return False


_OWN_FILES = {code.co_filename for code in (disarm.__code__, safe_points.disarm.__code__, inner_loops.find.__code__)}
"""What of this package runs between the function and `run_interruptible`, which nothing may interrupt."""


def _watch_swallowed() -> None:
    """Learn of exceptions that a `__del__` or a callback swallowed, also if others have replaced the hook meanwhile."""
    previous = sys.unraisablehook
    if getattr(previous, "__code__", None) is _HOOK:
        return
    sys.unraisablehook = _make_hook(previous)


def _make_hook(previous: Callable[[sys.UnraisableHookArgs], Any]) -> Callable[[sys.UnraisableHookArgs], Any]:
    def unraisable_hook(unraisable: sys.UnraisableHookArgs) -> None:
        call = _running.get(get_ident()) if issubclass(unraisable.exc_type, Cancelled) else None
        if call is None:
            previous(unraisable)
        else:
            _on_swallowed(call, sys._getframe().f_back)

    return unraisable_hook


_HOOK = _make_hook(sys.unraisablehook).__code__


def _on_swallowed(call: Interruptible, frame: FrameType | None) -> None:
    """Interrupt again: a finalizer that `frame` ran into swallowed the exception. Called in the task's thread."""
    if not call.finishing:
        token = call.token = InterruptToken(get_ident())
        if frame is None or not _deliver_again(token, call.reason, frame):
            call.request_interrupt()


def _set_async_exception(ident: int) -> None:
    import ctypes  # not at the top: few programs interrupt

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupt))
