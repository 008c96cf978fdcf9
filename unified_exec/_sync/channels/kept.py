"""The numbers that a process keeps of a shared channel for its next operations: fewer reads and writes of pipes.

A few free slots are kept by who sends or receives, filled slots by the only process that receives. Others see from the
words `KEPT` of the seats that something is kept, and have it given back by an audit before they wait for it.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from functools import partial
from time import monotonic_ns

from ..shared import seats
from ..shared.gate import PATIENCE, Gated
from ..shared.pipes import fill, numbers_in, waiting
from ..shared.seats import GATE, KEPT, SEAT_SIZE, SEATS, STATE
from . import audit
from .memory import CLOSED, KEPT_FREE, OWNER, RECEIVER, SCARCE, SHARED, ChannelMemory
from .send_ends import close_ends_of_dead, none_is_open

__all__ = ["KeptNumbers"]

_KEPT_MAX, _KEEPERS = 32, 8
"""The most numbers that a process keeps for its next operations; of free slots at most one in so many of all."""
_SCARCE = 1_000_000_000
"""Nanoseconds for which nobody keeps free slots after somebody waited for one."""
_JOIN_PATIENCE = 0.005


class KeptNumbers(Gated):
    """A participant in a shared channel, with what it keeps.

    Attributes:
        memory: of the channel.
        capacity: of the channel.
        seat: of this process.
        waiters: how many of this process wait for items, and for room.
        receives_here: it is noted that this process receives.
    """

    __slots__ = (
        "__weakref__",
        "_alone",
        "_filled",
        "_free",
        "_free_max",
        "_gate",
        "_keep",
        "_kept",
        "_lock",
        "_owner",
        "_rest",
        "_state",
        "_told",
        "capacity",
        "memory",
        "receives_here",
        "seat",
        "waiters",
        "words",
    )
    memory: ChannelMemory

    def __init__(self, memory: ChannelMemory) -> None:
        self.memory = memory
        self.words = memory.words
        self.capacity = memory.capacity
        self._keep = min(_KEPT_MAX, memory.capacity // _KEEPERS) if memory.capacity >= 2 * _KEEPERS else 0
        self._free_max = max(1, 2 * self._keep)
        self.sit_down()

    def sit_down(self) -> None:
        """Take a seat; a forked child takes one of its own, with a lock that no other thread can hold.

        Raises:
            SerializationError: there is none.
        """
        self._lock = allocate_lock()
        self.seat = seats.take_seat(self.memory)
        self._state = self.seat + STATE
        self._kept = self.seat + KEPT
        self._rest = 0  # the state between operations: what was taken out before, and not returned yet
        self._owner = self.seat + 1 << OWNER
        self._gate = 0
        self._free: list[int] = []  # numbers of free slots that are kept for the next sends
        self._filled: deque[int] = deque()  # numbers of filled slots that are kept for the next receives
        self._told = 0  # what our word `KEPT` says of both
        self.receives_here = self._alone = False
        self.waiters = [0, 0]  # of this process: for items, for room

    @property
    def closed(self) -> bool:
        return bool(self.words[CLOSED])

    def close(self) -> None:
        if not self.words[CLOSED]:
            self.words[CLOSED] = 1
            self.memory.tell_closed()

    def __len__(self) -> int:
        with self._lock:
            return min(self.capacity, waiting(self.memory.fds[2]) + self._kept_items())

    def _kept_items(self) -> int:
        return sum(word & KEPT_FREE - 1 for word in seats.kept_by_seat(self.memory))

    def drained(self) -> bool:
        """Tell whether it is closed, nobody is about to send, and nothing is left; looked at in this order.

        Who takes items out to keep them is busy meanwhile, and tells of them before it is not.
        """
        if not self.words[CLOSED]:
            return False
        memory = self.memory
        with self._lock:  # no thread of this process is in the midst of a send
            if seats.someone_is_busy(memory) or waiting(memory.fds[2]):
                return False
            return not seats.someone_is_busy(memory) and not self._kept_items()

    # -- what is kept

    def _find_free(self, count: int) -> bool:
        """Have the numbers of `count` free slots at hand, or as many as there are, and a few for later sends.

        None are kept while somebody waits for room.
        """
        free = self._free
        try:
            free += numbers_in(os.read(self.memory.fds[0], 4 * (max(count, self._most()) - len(free))))
        except BlockingIOError:
            pass
        if len(free) > count:
            self._tell_kept()
        return bool(free)

    def _find_filled(self, count: int) -> bool:
        """Have the numbers of `count` items at hand, or as many as there are, and a few for later receives.

        Those are kept if no other process receives, and nobody waits for items in this one.
        """
        filled = self._filled
        if self._alone and not self.waiters[False]:
            count = max(count, _KEPT_MAX)
        try:
            filled += numbers_in(os.read(self.memory.fds[2], 4 * (count - len(filled))))
        except BlockingIOError:
            pass
        return bool(filled)

    def _return_free(self) -> None:
        """Return the numbers of free slots that are too many to keep."""
        free = self._free
        number = max(0, len(free) - self._most())
        fill(self.memory.fds[1], free[:number])
        del free[:number]

    def _most(self) -> int:
        """How many free slots may be kept now: none while somebody waits for one."""
        scarce = self.words[SCARCE]
        if scarce and scarce < monotonic_ns():
            self.words[SCARCE] = scarce = 0
        return 0 if scarce or self.waiters[True] else self._keep

    def _return_all(self) -> None:
        fill(self.memory.fds[1], self._free)
        self._free.clear()
        self._tell_kept()

    def _tell_kept(self) -> None:
        """Tell the others what this process keeps."""
        kept = len(self._filled) | (KEPT_FREE if self._free else 0)
        if kept != self._told:
            self._told = self.words[self._kept] = kept

    def recall(self, patience: float = PATIENCE) -> bool:
        """Have other processes give back the free slots that they keep; ``False`` if none does.

        They keep none while this is called once a second.
        """
        self.words[SCARCE] = monotonic_ns() + _SCARCE
        kept = seats.kept_by_seat(self.memory)
        kept[(self.seat - SEATS) // SEAT_SIZE] = 0
        return any(word & KEPT_FREE for word in kept) and self.look_for_dead(patience, force=True)

    def begin_wait(self, sending: bool) -> bool:
        """Count somebody in who waits; ``False`` if there is something for them in this process."""
        with self._lock:
            self.waiters[sending] += 1
            waits = not (self._free if sending else self._filled) or self.words[GATE] != self._gate
        if self._free and not sending:
            self._busy(self._return_all)
        return waits

    def end_wait(self, sending: bool) -> None:
        with self._lock:
            self.waiters[sending] -= 1

    def _become_receiver(self) -> bool:
        """Note that this process receives; ``False`` if that must be tried again.

        If another process did so alone, it gives back the items that it keeps, and keeps none any more.
        """
        words, mine = self.words, self.seat + 1
        with seats.record_lock(self.memory.page_fd, True):
            only = words[RECEIVER]
            if not only or (only not in (mine, SHARED) and seats.has_gone(self.memory, only - 1)):
                words[RECEIVER] = mine
            elif only != mine:
                words[RECEIVER] = SHARED
        if only and not self.look_for_dead(_JOIN_PATIENCE, force=True):
            return False
        self.receives_here = True
        self._alone = words[RECEIVER] == mine
        return True

    # -- the gate

    def _passes(self) -> bool:
        if not super()._passes():
            return False
        self._free.clear()
        self._filled.clear()
        self._told = self.words[self._kept] = 0
        self._alone = self.receives_here and self.words[RECEIVER] == self.seat + 1
        return True

    def look_for_dead(self, patience: float = PATIENCE, force: bool = False) -> bool:
        """Give back what dead processes held, if any did; ``False`` if that must be tried again.

        Args:
            patience: seconds to wait for living processes that are busy.
            force: give back what living processes keep, too.
        """
        close_ends_of_dead(self.memory)
        if not self.closed and none_is_open(self.memory):
            self.close()
        return self._audit(patience, partial(audit.give_back, self.memory), force)
