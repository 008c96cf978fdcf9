"""`Limit` and `Rate`: how much runs at once, how often something starts; for coroutines, threads and whole tasks."""

from __future__ import annotations

import time
from _thread import allocate_lock
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, Self

from .._loops.adapter import current_port
from .._loops.deadlines import on_event_loop
from .._tasks.current import current
from .waiters import Hold, LoopTicket, ThreadTicket, Ticket, entered, holds, live

if TYPE_CHECKING:
    from types import TracebackType

POLL = 0.02
"""Seconds between two looks of a waiting thread whether its task was cancelled."""


class Gate(ABC):
    """What work passes before it starts. Any thread may call every method; who comes first is let in first."""

    def __init__(self) -> None:
        self._lock = allocate_lock()  # guards the queue and everything that decides who may pass
        self._queue: deque[Ticket] = deque()

    @abstractmethod
    def ask(self, ticket: Ticket, *, wait: bool = True) -> bool:
        """Let the ticket in now if that is possible; else, with `wait`, tell it later."""

    @abstractmethod
    def withdraw(self, ticket: Ticket) -> None:
        """The ticket does not want in any more; if it was let in meanwhile, that is given back."""

    @abstractmethod
    def release(self, hold: Hold | None) -> None:
        """Give back what a ticket was given."""

    def _trim(self) -> None:
        """Drop those at the head of the queue that have left it. With the lock held."""
        while self._queue and self._queue[0].void:
            self._queue.popleft()

    async def __aenter__(self) -> Self:
        from anyio.lowlevel import checkpoint_if_cancelled

        await checkpoint_if_cancelled()
        port = current_port()
        port.guard(Gate, type(self))
        ticket = LoopTicket(port, _nothing)
        if not self.ask(ticket, wait=False):
            waiter = port.waiter()
            ticket.fn = lambda _: waiter.wake()
            try:
                if not self.ask(ticket):
                    await waiter
            except BaseException:
                self.withdraw(ticket)
                raise
        entered(ticket.hold)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._leave()

    def __enter__(self) -> Self:
        if on_event_loop():
            raise RuntimeError(
                f"`with` would block the event loop that runs in this thread; write `async with {self!r}:` here"
            )
        ticket = ThreadTicket()
        try:
            if not self.ask(ticket):
                self._wait_in_thread(ticket)
        except BaseException:
            self.withdraw(ticket)
            raise
        entered(ticket.hold)
        return self

    def _wait_in_thread(self, ticket: ThreadTicket) -> None:
        task = current.get()
        while not ticket.granted:
            if task is not None:
                task.check_cancelled()
            ticket.wait(POLL if task is not None else None)

    def __exit__(self, *exc: object) -> None:
        self._leave()

    @abstractmethod
    def _leave(self) -> None:
        """Give back what this context has entered last."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} lives in one process: give it to the work from outside, spawn(f, ..., limit=limit), "
            "instead of sending it along"
        )


class Limit(Gate):
    """At most `n` at once, wherever they run.

    One limit may be shared by scopes, pools, threads and event loops. Who waits first is let in first. Work that
    is started by a holder of the limit and needs it too never waits for that holder: if no other place is free it
    runs, one at a time, in the holder's own place, which is taken to wait for it.

    Args:
        n: how many, at least 1.

    Raises:
        TypeError, ValueError: `n` is no whole number of at least 1.

    Example:
        connections = Limit(10)

        async with connections: ...                       # in a coroutine
        with connections: ...                             # in a thread
        scope.spawn(fetch, url, limit=connections)        # waits before it starts, wherever it runs
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        if type(n) is not int:
            raise TypeError(f"Limit(n) needs a whole number, got {n!r}")
        if n < 1:
            raise ValueError(f"Limit(n) needs n >= 1, got {n}")
        self.n = n
        self._free = n

    @property
    def free(self) -> int:
        """How many places are free now."""
        return self._free

    def ask(self, ticket: Ticket, *, wait: bool = True) -> bool:
        with self._lock:
            self._trim()
            if self._free and not self._queue:
                self._free -= 1
                ticket.hold = Hold(self, ticket.below)
            else:
                holder = live(ticket.below, self)
                if holder is not None and holder.lent is None:
                    self._lend(holder, ticket)
            if ticket.hold is not None:
                ticket.granted = True
                return True
            if wait:
                self._queue.append(ticket)
            return False

    def withdraw(self, ticket: Ticket) -> None:
        with self._lock:
            hold, ticket.hold = ticket.hold, None
            ticket.void = True
        if hold is not None:
            self.release(hold)

    def release(self, hold: Hold | None) -> None:
        """Give a place back; the first in the queue gets it."""
        while hold is not None:
            with self._lock:
                ticket = self._give_back(hold) if hold.active else None
            # A loop that has ended meanwhile takes nothing: on to the next.
            hold = None if ticket is None or ticket.tell() else ticket.hold

    def _lend(self, holder: Hold, ticket: Ticket) -> None:
        ticket.hold = holder.lent = Hold(self, ticket.below)
        ticket.hold.lender = holder

    def _give_back(self, hold: Hold) -> Ticket | None:
        """End a hold, with the lock held; returns who is let in now."""
        hold.end()
        lender = hold.lender
        if hold.lent is not None:  # who borrowed the place keeps it
            hold.lent.lender = lender
            if lender is not None:
                lender.lent = hold.lent
            return None
        if lender is not None:
            lender.lent = None
            for ticket in self._queue:
                if not ticket.void and live(ticket.below, self) is lender:
                    self._queue.remove(ticket)
                    self._lend(lender, ticket)
                    ticket.granted = True
                    return ticket
            return None
        self._trim()
        if not self._queue:
            self._free += 1
            return None
        ticket = self._queue.popleft()
        ticket.hold = Hold(self, ticket.below)
        ticket.granted = True
        return ticket

    def _leave(self) -> None:
        hold = live(holds.get(), self)
        if hold is None:
            raise RuntimeError(f"{self!r} is left by a task that has not entered it")
        if holds.get() is hold:
            holds.set(hold.below)
        self.release(hold)

    def __repr__(self) -> str:
        return f"Limit({self.n})"


class Rate(Gate):
    """At most `n` starts within any `per` seconds, wherever they happen.

    Counts starts, not what runs: leaving it gives nothing back. One rate may be shared as a `Limit` may. Work for a
    pool counts when it is sent.

    Args:
        n: how many starts, at least 1.
        per: seconds.

    Raises:
        TypeError, ValueError: an argument is out of its range.

    Example:
        async for page in scope.map(fetch, urls, limit=Rate(10, per=1.0)): ...
    """

    def __init__(self, n: int, per: float = 1.0) -> None:
        super().__init__()
        if type(n) is not int:
            raise TypeError(f"Rate(n) needs a whole number, got {n!r}")
        if n < 1 or not 0 < per < float("inf"):
            raise ValueError(f"Rate(n, per) needs n >= 1 and per > 0, got n={n}, per={per}")
        self.n = n
        self.per = per
        self._starts: deque[float] = deque(maxlen=n)
        self._clock = time.monotonic

    def ask(self, ticket: Ticket, *, wait: bool = True) -> bool:
        with self._lock:
            self._trim()
            if not self._queue and self._due() <= 0:
                self._starts.append(self._clock())
                ticket.granted = True
                return True
            if not wait:
                return False
            self._queue.append(ticket)
        self._look()
        return ticket.granted and not ticket.told

    def withdraw(self, ticket: Ticket) -> None:
        with self._lock:
            ticket.void = True
        self._look()

    def release(self, hold: Hold | None) -> None:
        pass  # a start is not taken back

    def _leave(self) -> None:
        pass

    def _due(self) -> float:
        """Seconds until one more may start. With the lock held."""
        if len(self._starts) < self.n:
            return 0.0
        return self._starts[0] + self.per - self._clock()

    def _look(self, rung: Ticket | None = None) -> None:
        """Let in who may; have the first of the others look again when it may. `rung`: whose clock has rung."""
        if rung is not None:
            rung.armed = False
        while True:
            with self._lock:
                self._trim()
                if not self._queue:
                    return
                ticket, due = self._queue[0], self._due()
                if due <= 0:
                    self._queue.popleft()
                    self._starts.append(self._clock())
                    ticket.granted = ticket.told = True
                elif ticket.armed:
                    return
                else:
                    ticket.armed = True
            if due <= 0:
                if not ticket.tell():
                    with self._lock:
                        self._starts.pop()
            elif ticket.later(due, self._look):
                return
            else:
                ticket.void = True  # its loop has ended

    def __repr__(self) -> str:
        return f"Rate({self.n}, per={self.per:g})"


def as_gate(limit: Any, what: str) -> Gate | None:
    """Check a ``limit=`` that is no number.

    Raises:
        TypeError: it is no limit.
    """
    if limit is None or isinstance(limit, Gate):
        return limit
    raise TypeError(f"{what} must be a number, a Limit or a Rate, got {limit!r}: write limit=Limit(10)")


def _nothing(ticket: Ticket) -> None:
    pass
