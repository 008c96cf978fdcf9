"""What events, conditions and barriers are made of: tickets of those who wait, and a word to each of them.

A ticket is told once: that it may go on, or that its barrier is broken. In the shared form each has a row in the page,
and keeps its place in the order.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from ..._tasks.current import CurrentTask, current, sleepers
from .. import waits
from ..deadlocks import patrol
from ..shared.calls import end_of, timed_out, within
from ..shared.sleepers import sleep
from ..shared.travel import Traveller
from .tickets import CoroutineTicket, ThreadTicket, Ticket, tell_first

if TYPE_CHECKING:
    from .shared_meeting import SharedMeeting


class Meeting(Traveller):
    """Tickets, in the order in which they came.

    Attributes:
        flag: the event is set, or the barrier is broken.
        known: it is known that somebody waits, or has waited lately.
    """

    __slots__ = ("_guard", "_late", "_tickets", "flag", "known")

    _shared: SharedMeeting | None

    def __init__(self, name: str | None) -> None:
        super().__init__(name)
        self.flag = self.known = False
        self._guard = allocate_lock()
        self._tickets: deque[Ticket] = deque()
        self._late: list[Ticket] = []

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{kind}()" if self._name is None else f"{kind}(name={self._name!r})"

    # -- at once

    def _join(self, ticket: Ticket) -> int:
        """Queue up unless there is nothing to wait for, which a kind of meeting decides; returns the number of those
        who waited already, -1 if it did not join."""
        shared = self._shared
        if shared is None:
            with self._guard:
                shared = self._shared
                if shared is None:
                    place = self._may_join(len(self._tickets), self.flag)
                    if place:
                        self._tickets.append(ticket)
                    else:
                        self._passed(self._tickets)
                    found = len(self._tickets) - 1 if place else -1
            if shared is None:
                self._do_late()
                if place and not self.known:
                    patrol.note(self)
                return found
        return shared.join(ticket, self._may_join)

    @abstractmethod
    def _may_join(self, waiting: int, flag: bool) -> bool:
        """Tell whether a newcomer has to wait."""

    def _passed(self, tickets: deque[Ticket]) -> None:
        """A newcomer did not have to wait. With the guard held."""

    def _tell(self, count: int, told: int, flag: bool | None = None) -> int:
        """Tell the first `count` tickets; set the flag first if one is given. Returns how many were told."""
        shared = self._shared
        if shared is None:
            with self._guard:
                shared = self._shared
                if shared is None:
                    if flag is not None:
                        self.flag = flag
                    done = tell_first(self._tickets, count, told)
            if shared is None:
                self._do_late()
                return done
        return shared.tell(count, told, flag)

    def _is_flagged(self) -> bool:
        shared = self._shared
        return self.flag if shared is None else shared.flag

    def _waiting(self) -> int:
        shared = self._shared
        return len(self._tickets) if shared is None else shared.waiting()

    def asleep(self) -> list[Ticket]:
        return list(self._tickets) if self._shared is None else list(self._shared.tickets)

    def _leave(self, ticket: Ticket) -> int:
        """Leave before the time; returns what the ticket had been told, 0 if nothing."""
        with self._guard:
            row = ticket.row
            if row < 0:
                try:
                    self._tickets.remove(ticket)
                except ValueError:
                    pass
        self._do_late()
        if row >= 0 and self._shared is not None:
            ticket.told = self._shared.leave(row)
            ticket.row = -1
        return ticket.told

    # -- waiting

    def _wait_sync(self, ticket: ThreadTicket, timeout: float | None) -> None:
        """Wait in a thread until the ticket is told.

        Raises:
            Cancelled: the task was requested to stop.
            TimeoutError: nothing came within `timeout`.
        """
        task = current.get()
        end = end_of(timeout)
        told = self._begin_wait() if waits.is_told() else None
        if task is not None:
            sleepers[ticket] = task
        try:
            while not ticket.told:
                if ticket.row >= 0 and self._shared is not None:
                    patrol.note_shared(self)
                    self._shared.wait_sync(ticket, task, end)
                else:
                    self._sleep(ticket, task, end)
        except TimeoutError:
            if end is None:
                raise
            raise timed_out(end.timeout, *self._missed()) from None
        finally:
            sleepers.pop(ticket, None)
            if told is not None:
                told.end()

    def _sleep(self, ticket: ThreadTicket, task: CurrentTask | None, end: float | None) -> None:
        while not sleep(ticket, task, end, patrol.watch_from(ticket.since)):
            pass
        if ticket.error is not None:
            raise ticket.error

    async def _wait(self, ticket: CoroutineTicket, timeout: float | None) -> None:
        """Wait in a coroutine until the ticket is told.

        Raises:
            TimeoutError: nothing came within `timeout`.
        """
        if timeout is not None:
            with within(timeout, self._missed):
                return await self._wait(ticket, None)
        told = self._begin_wait() if waits.is_told() else None
        try:
            while not ticket.told:
                if ticket.row >= 0 and self._shared is not None:
                    patrol.note_shared(self, ticket.adapter)
                    await self._shared.wait(ticket)
                else:
                    if not ticket.adapter.watched:
                        patrol.begin(ticket.adapter)
                    await ticket.waiter
                if ticket.error is not None and not ticket.told:
                    raise ticket.error
                if not ticket.told:
                    ticket.renew()
        except GeneratorExit:  # perhaps the collector has ended the coroutine
            self._late.append(ticket)
            self._do_late()
            raise
        finally:
            if told is not None:
                told.end()
        return None

    @abstractmethod
    def _missed(self) -> tuple[str, str]:
        """Say what did not happen within a timeout, and why."""

    def _begin_wait(self) -> waits.ToldWait:
        return waits.begin(self.kind.partition(" ")[2], repr(self))

    def _do_late(self) -> None:
        """Let those leave whom the collector has ended while the guard was held."""
        while self._late and self._guard.acquire(False):
            self._guard.release()
            try:
                ticket = self._late.pop()
            except IndexError:
                return
            self._gone(ticket)

    def _gone(self, ticket: Ticket) -> None:
        """The collector has ended who waited."""
        self._leave(ticket)

    # -- between processes

    def share(self) -> None:
        from .shared_meeting import SharedMeeting

        with self._guard:
            if self._shared is not None:
                return
            form = SharedMeeting.create(self.kind, self._parties_or_none())
            form.begin(self.flag, self._tickets)
            self.become(os.urandom(16), form)
            for ticket in self._tickets:
                ticket.wake()
            self._tickets.clear()
        self._do_late()

    def _parties_or_none(self) -> int:
        """How many a barrier waits for, 0 if this is none."""
        return 0

    @classmethod
    def from_descriptors(cls, name: str | None, fds: list[int]) -> tuple[Meeting, SharedMeeting]:
        from .page import LockPage
        from .shared_meeting import SharedMeeting

        form = SharedMeeting(LockPage(fds, cls.kind))
        return cls._of_parties(form.parties, name), form

    @classmethod
    @abstractmethod
    def _of_parties(cls, parties: int, name: str | None) -> Meeting: ...
