"""An event, condition or barrier that several processes share: a row in the page for each ticket, and a bell.

All changes happen under the record lock of the page, which the kernel releases if their process dies; a word in the
page takes one store, so the next one finds each row as it was or as it became. The bell is a pipe that is readable
while some ticket was told something that it has not seen.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..._loops.current import current_adapter
from ..._tasks.current import CurrentTask, sleepers
from ...errors import SerializationError
from ..deadlocks import patrol
from ..shared.bells import Bell, sleep, thread_bell
from ..shared.seats import record_lock
from .page import BODY, LockPage, SharedLockForm
from .queue import LOOK, LOOK_AGAIN

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter
    from .tickets import CoroutineTicket, ThreadTicket

FLAG, PARTIES, COUNTER = range(BODY, BODY + 3)
"""Words: the event is set or the barrier is broken; the parties of a barrier; the tickets given out so far."""
ROWS = BODY + 8
ROWS_MAX = 1024
SEAT, ORDER, TOLD = range(3)
"""Words of a row: the seat, plus one, of who waits, 0 for a free row; its place in the order; what it was told."""
ROW = 4
BROKEN = 2
_NOT_OURS = 0.001
"""Seconds to wait when the bell rings for others."""


class SharedMeeting(SharedLockForm):
    """Rows of those who wait.

    Attributes:
        tickets: of those of this process who wait.
    """

    __slots__ = ("_sides", "tickets")

    def __init__(self, page: LockPage) -> None:
        self._sides: dict[LoopAdapter, LoopWatch] = {}
        self.tickets: list[ThreadTicket | CoroutineTicket] = []
        super().__init__(page)

    @classmethod
    def create(cls, kind: str, parties: int) -> SharedMeeting:
        """Make one that nobody waits for.

        Raises:
            OSError: no descriptor or no memory is left.
        """
        page = LockPage.create(kind, ROWS - BODY + ROW * ROWS_MAX)
        page.words[PARTIES] = parties
        return cls(page)

    def begin(self, flag: bool, tickets: deque[Any]) -> None:
        """Take over the flag and the tickets of the local form."""
        self.words[FLAG] = flag
        with self._locked():
            for ticket in tickets:
                ticket.row = self._new_row()

    @property
    def parties(self) -> int:
        """How many a barrier waits for, 0 if this is none."""
        return int(self.words[PARTIES])

    @property
    def flag(self) -> bool:
        """The event is set, or the barrier is broken."""
        return bool(self.words[FLAG])

    def after_fork(self) -> None:
        self._sides = {}
        self.tickets = []
        super().after_fork()

    # -- under the record lock

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with record_lock(self.memory.page_fd, True):
            yield

    def _rows(self, told: bool = False) -> list[int]:
        """The rows of tickets that wait, in their order; or of those that were told and have not left."""
        words = self.words
        found = [
            row
            for row in range(ROWS, ROWS + ROW * ROWS_MAX, ROW)
            if words[row + SEAT] and bool(words[row + TOLD]) == told
        ]
        return sorted(found, key=lambda row: words[row + ORDER])

    def _new_row(self) -> int:
        words = self.words
        for row in range(ROWS, ROWS + ROW * ROWS_MAX, ROW):
            if not words[row + SEAT]:
                words[COUNTER] += 1
                words[row + ORDER] = words[COUNTER]
                words[row + TOLD] = 0
                words[row + SEAT] = self.seat + 1
                return row
        raise SerializationError(self.memory.kind, f"{ROWS_MAX} tasks wait for it", "have fewer wait at the same time")

    def _tell(self, count: int, told: int) -> int:
        rows = self._rows()[:count]
        for row in rows:
            self.words[row + TOLD] = told
        if rows:
            self._ring()
        return len(rows)

    def _ring(self) -> None:
        try:
            os.write(self.memory.fds[2], b"x")
        except BlockingIOError:
            pass  # it is full: it rings

    def _strike_out(self, row: int) -> None:
        """Free a row; the bell is silent once nobody is left to hear it."""
        self.words[row + SEAT] = 0
        if not self._rows(told=True):
            try:
                while os.read(self.memory.fds[1], 4096):
                    pass
            except BlockingIOError:
                pass

    # -- at once

    def join(self, ticket: Any, may_join: Callable[[int, bool], bool]) -> int:
        """Queue up unless there is nothing to wait for; see `Meeting._join`."""
        with self._locked():
            waiting = len(self._rows())
            if not may_join(waiting, self.flag):
                if self.words[PARTIES]:
                    self._tell(ROWS_MAX, 1)
                return -1
            ticket.row = self._new_row()
            return waiting

    def tell(self, count: int, told: int, flag: bool | None) -> int:
        """Tell the first `count` tickets; set the flag first if one is given."""
        with self._locked():
            if flag is not None:
                self.words[FLAG] = flag
            return self._tell(count, told)

    def waiting(self) -> int:
        with self._locked():
            return len(self._rows())

    def told(self, row: int) -> int:
        """What the ticket of a row was told, 0 if nothing."""
        return int(self.words[row + TOLD])

    def leave(self, row: int) -> int:
        """Free a row; returns what its ticket was told."""
        with self._locked():
            told = self.told(row)
            self._strike_out(row)
        return told

    def has_come(self, wait: int) -> bool:
        """Tell whether the ticket of this row was told something, or may be once the dead are struck out."""
        owners = {int(self.words[row + SEAT]) for row in range(ROWS, ROWS + ROW * ROWS_MAX, ROW)} - {0, self.seat + 1}
        return wait < 0 or bool(self.told(wait)) or any(self.is_dead(owner - 1) for owner in owners)

    def look_for_dead(self, patience: float = 1.0) -> bool:
        """Strike out the tickets of dead processes. A barrier is broken then, and a notification goes to the next."""
        words = self.words
        owners = {int(words[row + SEAT]) for row in range(ROWS, ROWS + ROW * ROWS_MAX, ROW)} - {0}
        dead = {owner for owner in owners if self.is_dead(owner - 1)}
        if dead:
            with self._locked():
                for row in self._rows() + self._rows(told=True):
                    if words[row + SEAT] in dead:
                        told = self.told(row)
                        if words[PARTIES] and not told:
                            words[FLAG] = 1
                        elif told == 1 and not words[PARTIES] and not words[FLAG]:
                            self._tell(1, told)
                        self._strike_out(row)
                if words[PARTIES] and words[FLAG]:
                    self._tell(ROWS_MAX, BROKEN)
        return True

    # -- waiting: each returns when the ticket was told something; it has left its row then

    def wait_sync(self, ticket: ThreadTicket, task: CurrentTask | None, deadline: float | None) -> None:
        """Wait in a thread.

        Raises:
            Cancelled: the task was requested to stop.
            TimeoutError: the deadline has passed.
        """
        row = ticket.row
        bell: Bell | None = None
        poll, alone = select.poll(), select.poll()
        poll.register(self.memory.fds[1], select.POLLIN)
        if task is not None:
            bell = thread_bell()
            poll.register(bell.fds[0], select.POLLIN)
            alone.register(bell.fds[0], select.POLLIN)
            sleepers[bell] = task
        self.tickets.append(ticket)
        try:
            pause = LOOK
            while not self.told(row):
                if sleep(poll, task, deadline, pause):
                    if not self.told(row):
                        sleep(alone, task, deadline, _NOT_OURS)
                else:
                    self.look_for_dead()
                    pause = LOOK_AGAIN
                    patrol.watch_by_the_way(ticket)
                    if ticket.error is not None and not self.told(row):
                        raise ticket.error
        finally:
            self.tickets.remove(ticket)
            if bell is not None:
                sleepers.pop(bell, None)
                bell.silence()
        ticket.told = self.leave(row)
        ticket.row = -1

    async def wait(self, ticket: CoroutineTicket) -> None:
        adapter = current_adapter()
        watch = self._sides.get(adapter)
        if watch is None:
            for other in [known for known in self._sides if known.ended()]:
                del self._sides[other]
            watch = self._sides[adapter] = LoopWatch(adapter, self)
        ticket.renew()
        watch.add(ticket)
        self.tickets.append(ticket)
        try:
            if not self.told(ticket.row):
                await ticket.waiter
        finally:
            self.tickets.remove(ticket)
            watch.remove(ticket)
        if self.told(ticket.row):
            ticket.told = self.leave(ticket.row)
            ticket.row = -1

    def stop_reading(self) -> None:
        for adapter, watch in list(self._sides.items()):
            if not adapter.ended():
                adapter.call_threadsafe(watch.stop)
        self._sides.clear()


class LoopWatch:
    """Listens to the bell for the coroutines of one event loop."""

    __slots__ = ("__weakref__", "_adapter", "_fd", "_form", "_reading", "_timer_set", "_waiting")

    def __init__(self, adapter: LoopAdapter, form: SharedMeeting) -> None:
        self._adapter = adapter
        self._form = form
        self._fd = form.memory.fds[1]
        self._waiting: list[CoroutineTicket] = []
        self._reading = self._timer_set = False

    def add(self, ticket: CoroutineTicket) -> None:
        self._waiting.append(ticket)
        self._read()
        if not self._timer_set:
            self._timer_set = True
            self._adapter.call_later(LOOK, _look, ref(self))

    def remove(self, ticket: CoroutineTicket) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        if not self._waiting:
            self.stop()

    def _read(self) -> None:
        if not self._reading and self._waiting:
            self._reading = True
            self._adapter.add_reader(self._fd, self._rung)

    def _rung(self) -> None:
        if not self._wake_told():  # it rings for others, and goes on until they have heard
            self.stop()
            self._adapter.call_later(_NOT_OURS, _read_again, ref(self))

    def _wake_told(self) -> bool:
        told = [ticket for ticket in self._waiting if self._form.told(ticket.row)]
        for ticket in told:
            self._waiting.remove(ticket)
            ticket.wake()
        return bool(told)

    def look(self) -> None:
        """Look for dead processes while somebody waits."""
        self._timer_set = bool(self._waiting)
        if self._timer_set:
            self._form.look_for_dead()
            self._wake_told()
            for ticket in self._waiting[:1]:
                patrol.tell(ticket)
            self._adapter.call_later(LOOK_AGAIN, _look, ref(self))

    def read_again(self) -> None:
        self._read()

    def stop(self) -> None:
        if self._reading:
            self._reading = False
            self._adapter.remove_reader(self._fd)


def _look(watch: ref[LoopWatch]) -> None:
    found = watch()
    if found is not None:  # a timer must not keep the form
        found.look()


def _read_again(watch: ref[LoopWatch]) -> None:
    found = watch()
    if found is not None:
        found.read_again()
