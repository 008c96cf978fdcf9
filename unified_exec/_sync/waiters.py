"""The queue entries and permits of `Limit` and `Rate`."""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic

from .._loops.adapter import LoopAdapter
from .._tasks.current import current


class Permit:
    """One unit of a limit, from when it is acquired until it is released.

    Attributes:
        gate: the limit.
        outer: the newest permit of the context in which this one was requested.
        lender: the permit whose unit this one shares, ``None`` if it has a unit to itself.
        borrower: the permit that shares this one's unit.
        task: id of the task that requested it, 0 if that was not a task.
    """

    __slots__ = ("active", "borrower", "gate", "lender", "outer", "task")

    def __init__(self, gate: object, outer: Permit | None, task: int = 0) -> None:
        self.task = task
        self.gate = gate
        self.outer = newest_active(outer)
        self.lender: Permit | None = None
        self.borrower: Permit | None = None
        self.active = True

    def end(self) -> None:
        self.active = False
        self.outer = newest_active(self.outer)  # drop ended permits: a chain of tasks may be endless


newest_permit: ContextVar[Permit | None] = ContextVar("unified_exec_newest_permit", default=None)
"""The newest permit of the calling context; a task inherits that of the code that started it."""


def newest_active(permit: Permit | None, gate: object = None) -> Permit | None:
    """Return the first active permit from `permit` outwards, of `gate` if one is given."""
    while permit is not None and not (permit.active and (gate is None or permit.gate is gate)):
        permit = permit.outer
    return permit


def enter(permit: Permit | None) -> None:
    """Make `permit` the newest of the calling context."""
    if permit is not None:
        newest_permit.set(permit)


class Waiter(ABC):
    """One request to pass a gate. It knows no gate and no event loop: subclasses say how it is notified.

    Attributes:
        outer: the newest permit of the requesting context.
        permit: what it was granted, if there is something to release.
        granted: the request was granted.
        notified: `notify` was or will be called.
        cancelled: it does not wait any more.
        task: id of the requesting task, 0 if that is not a task.
        timer_set: `call_later` was called and the call has not come yet.
        since, suspected, error: see `QueueSleeper`; set by `begin`.
        makes: the class of the permit that it is granted.
    """

    __slots__ = (
        "cancelled",
        "error",
        "granted",
        "notified",
        "outer",
        "permit",
        "since",
        "suspected",
        "task",
        "timer_set",
    )
    makes = Permit

    def __init__(self) -> None:
        task = current.get()
        self.task = 0 if task is None else task.id
        self.outer = newest_permit.get()
        self.permit: Permit | None = None
        self.granted = self.notified = self.cancelled = self.timer_set = False

    def begin(self) -> None:
        """It begins to wait, and may be part of a deadlock."""
        self.since = monotonic()
        self.suspected: object = None
        self.error: Exception | None = None

    def wake(self) -> bool:
        """Have the requester look at `error`. From any thread."""
        return self.notify()

    @abstractmethod
    def notify(self) -> bool:
        """Tell the requester that it may pass; ``False`` if it is gone. From any thread."""

    @abstractmethod
    def call_later(self, seconds: float, fn: Callable[[Waiter], object]) -> bool:
        """Call ``fn(self)`` after `seconds`; ``False`` if that is impossible. From any thread."""


class LoopWaiter(Waiter):
    """Calls ``on_granted(self)`` in the thread of its event loop, unless it has been cancelled by then."""

    __slots__ = ("_loop", "_thread", "on_granted")

    def __init__(self, loop: LoopAdapter, on_granted: Callable[[LoopWaiter], object]) -> None:
        super().__init__()
        self._loop = loop
        self._thread = get_ident()
        self.on_granted = on_granted

    def notify(self) -> bool:
        return self._call(self._granted)

    def _granted(self) -> None:
        if not self.cancelled:
            self.on_granted(self)

    def call_later(self, seconds: float, fn: Callable[[Waiter], object]) -> bool:
        return self._call(lambda: self._loop.call_later(seconds, fn, self))

    def _call(self, fn: Callable[[], object]) -> bool:
        if self._loop.ended():
            return False
        if get_ident() == self._thread:
            self._loop.call_soon(fn)
            return True
        return self._loop.call_threadsafe(fn)


class TaskPermit(Permit):
    """A unit that a task has from its start to its end."""

    __slots__ = ()


class TaskWaiter(LoopWaiter):
    """A task that waits before it starts.

    Attributes:
        name: of the task.
        has_deadline: the task ends by itself.
    """

    __slots__ = ("has_deadline", "name")
    name: str
    has_deadline: bool
    makes = TaskPermit


class ThreadWaiter(Waiter):
    """Blocks a thread until it is notified. Timed calls run in that thread, from `wait`."""

    __slots__ = ("_seconds", "_timed_call", "_wakeup")

    def __init__(self) -> None:
        super().__init__()
        self._wakeup = allocate_lock()
        self._wakeup.acquire()
        self._timed_call: Callable[[Waiter], object] | None = None
        self._seconds = 0.0

    def notify(self) -> bool:
        self._wake()
        return True

    def call_later(self, seconds: float, fn: Callable[[Waiter], object]) -> bool:
        self._seconds, self._timed_call = seconds, fn
        self._wake()
        return True

    def _wake(self) -> None:
        try:
            self._wakeup.release()
        except RuntimeError:
            pass  # it is released already

    def wait(self, timeout: float | None) -> None:
        """Block until the waiter is notified, a timed call is due, or `timeout` seconds have passed."""
        timed_call = self._timed_call
        if timed_call is None:
            self._wakeup.acquire(True, -1 if timeout is None else timeout)
            return
        seconds = self._seconds if timeout is None else min(timeout, self._seconds)
        woken = self._wakeup.acquire(True, max(0.0, seconds))
        if woken:
            return
        self._seconds -= seconds
        if self._seconds <= 0:
            self._timed_call = None
            timed_call(self)
