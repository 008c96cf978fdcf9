"""Who waits before a limit, and what was let in: the small change of `Limit` and `Rate`."""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar

from .._loops.adapter import LoopAdapter


class Hold:
    """A place in a limit, from when it is given until it is given back.

    Attributes:
        gate: the limit.
        below: the hold that was the newest in the context where this one was asked for.
        lender: the hold whose place this one uses, ``None`` for a place of its own.
        lent: the hold that uses this one's place.
    """

    __slots__ = ("active", "below", "gate", "lender", "lent")

    def __init__(self, gate: object, below: Hold | None) -> None:
        self.gate = gate
        self.below = live(below)
        self.lender: Hold | None = None
        self.lent: Hold | None = None
        self.active = True

    def end(self) -> None:
        self.active = False
        self.below = live(self.below)  # what has ended is let go of: a chain of tasks may be endless


holds: ContextVar[Hold | None] = ContextVar("unified_exec_holds", default=None)
"""The newest hold of the calling context; a task inherits its starter's."""


def live(hold: Hold | None, gate: object = None) -> Hold | None:
    """The newest hold from `hold` down that has not ended, of `gate` if one is given."""
    while hold is not None and not (hold.active and (gate is None or hold.gate is gate)):
        hold = hold.below
    return hold


def entered(hold: Hold | None) -> None:
    """Note in the calling context that it holds a place."""
    if hold is not None:
        holds.set(hold)


class Ticket(ABC):
    """One who asks to be let in.

    Attributes:
        below: the newest hold of the context that asks.
        hold: what it was given, where there is something to give back.
        granted: it was let in.
        told: `tell` was or will be called.
        void: it does not wait any more.
        armed: it was asked to look again later.
    """

    __slots__ = ("armed", "below", "granted", "hold", "told", "void")

    def __init__(self) -> None:
        self.below = holds.get()
        self.hold: Hold | None = None
        self.granted = self.told = self.void = self.armed = False

    @abstractmethod
    def tell(self) -> bool:
        """It was let in; ``False`` if nobody is there to hear it. From any thread."""

    @abstractmethod
    def later(self, seconds: float, look: Callable[[Ticket], object]) -> bool:
        """Call ``look(self)`` in some seconds; ``False`` if nobody will. From any thread."""


class LoopTicket(Ticket):
    """Calls `fn(ticket)` in its loop's thread once it was let in, unless it has withdrawn by then."""

    __slots__ = ("_port", "_thread", "fn")

    def __init__(self, port: LoopAdapter, fn: Callable[[LoopTicket], object]) -> None:
        super().__init__()
        self._port = port
        self._thread = get_ident()
        self.fn = fn

    def tell(self) -> bool:
        return self._call(self._told)

    def _told(self) -> None:
        if not self.void:
            self.fn(self)

    def later(self, seconds: float, look: Callable[[Ticket], object]) -> bool:
        return self._call(lambda: self._port.call_later(seconds, look, self))

    def _call(self, fn: Callable[[], object]) -> bool:
        if self._port.ended():
            return False
        if get_ident() == self._thread:
            self._port.call_soon(fn)
            return True
        return self._port.call_threadsafe(fn)


class ThreadTicket(Ticket):
    """Waits in a thread."""

    __slots__ = ("_bell", "_look", "_seconds")

    def __init__(self) -> None:
        super().__init__()
        self._bell = allocate_lock()
        self._bell.acquire()
        self._look: Callable[[Ticket], object] | None = None
        self._seconds = 0.0

    def tell(self) -> bool:
        self._ring()
        return True

    def later(self, seconds: float, look: Callable[[Ticket], object]) -> bool:
        self._seconds, self._look = seconds, look
        self._ring()
        return True

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it rings already

    def wait(self, most: float | None) -> None:
        """Wait for what comes first: that it was let in, that it shall look, or `most` seconds."""
        look = self._look
        if look is None:
            self._bell.acquire(True, -1 if most is None else most)
            return
        seconds = self._seconds if most is None else min(most, self._seconds)
        rung = self._bell.acquire(True, max(0.0, seconds))
        if rung:
            return
        self._seconds -= seconds
        if self._seconds <= 0:
            self._look = None
            look(self)
