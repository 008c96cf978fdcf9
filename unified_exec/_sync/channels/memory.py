"""What all processes of a shared channel see: two pipes of slot numbers, a descriptor that tells of the close, memory.

    free      pipe of the numbers of free slots, 4 bytes each; at the start all of them
    filled    pipe of the numbers of filled slots, in the order in which they were filled
    closed    readable for ever once the channel is closed
    memory    gate, closed, capacity, slot size, lost, ends made, passed; seats; send ends; headers; slots; spill region

A *seat* belongs to one process: state, pid, start time, own word. Its state is one word, so that one store changes all
of it: busy or not; the items that the operation under way has taken out; those that were taken out before and have not
been returned to the caller yet. The own word is for one thread, and one item at a time: busy or not; when the item was
sent that it has taken out. A *header* belongs to one slot: state and the instant at which it was filled; length and,
while a receiver that takes several holds the slot, its seat.
"""

from __future__ import annotations

import os
import struct
from mmap import mmap

from ..._platform import posix
from ..shared.pipes import fill, make_pipe, make_room
from ..shared.seats import SEATS, SEATS_END, Page

CLOSED, CAPACITY, SLOT, LOST, ENDS_MADE = range(1, 6)
"""Words of the page after the gate."""
TAKING, TAKEN = 8, 32
"""The bits from which on a seat counts what the operation has taken out, and what was taken out before."""
COUNT = (1 << 24) - 1
ENDS = SEATS_END
ENDS_MAX = 4096
OWNED = 16
"""The bit of the cell of a send end from which on it holds its number; below is the seat, plus one, of its opener."""
HEADERS = ENDS + ENDS_MAX
EMPTY, FULL, SPILLED, PARTS = range(4)
"""States of a slot: in the last two its item lies in the spill region, as a pickle or with its buffers."""
STATES = 3
"""The bits of a header that hold its state; above them is the instant."""
OWNER = 48
"""The bit of a header's second word from which on it holds the seat, plus one, of the receiver that has the slot."""
LENGTH = (1 << OWNER) - 1
SPILL_STRIDE = 1 << (30 if posix.PLAIN or not hasattr(os, "memfd_create") else 36)

_SLOT = 1024
_SLOTS_MAX = 8 << 20
_HAS_EVENTFD = hasattr(os, "eventfd") and not posix.PLAIN


class ChannelMemory(Page):
    """The descriptors and the mapping of one shared channel in this process.

    Attributes:
        fds: free read, free write, filled read, filled write, memory, closed read, closed write.
        words: gate, seats and headers.
        map: the slots.
        slots_at: where the first slot begins.
        spill_at: where the spill region begins.
    """

    __slots__ = ("capacity", "map", "slot", "slots_at", "spill_at")

    kind = "a channel"

    def __init__(self, fds: tuple[int, ...]) -> None:
        self.fds = fds
        self.page_fd = fds[4]
        self.map = mmap(fds[4], 0, **posix.UNTRACKED)
        head = memoryview(self.map)[: SEATS * 8].cast("Q")
        self.capacity, self.slot = head[CAPACITY], head[SLOT]
        self.slots_at, self.spill_at = _layout(self.capacity, self.slot)
        self.words = memoryview(self.map)[: self.slots_at].cast("Q")

    def on_wire(self) -> tuple[int, ...]:
        """The descriptors that another process needs; `ChannelMemory` there is made of `whole` of them."""
        return self.fds if self.fds[5] != self.fds[6] else self.fds[:6]

    def seat_freed(self, seat: int) -> None:
        """Close the send ends of the process that had the seat."""
        words = self.words
        if words[ENDS_MADE]:
            for cell in range(ENDS, ENDS + ENDS_MAX):
                if words[cell] and words[cell] & (1 << OWNED) - 1 == seat + 1:
                    words[cell] = 0

    def tell_closed(self) -> None:
        if self.fds[5] == self.fds[6]:
            os.eventfd_write(self.fds[6], 1)
        else:
            try:
                os.write(self.fds[6], b"x")
            except BlockingIOError:
                pass  # it is full: readable for ever


def whole(fds: list[int]) -> tuple[int, ...]:
    """The seven descriptors, of those that came from another process."""
    return tuple(fds if len(fds) == 7 else [*fds, fds[5]])


def create(capacity: int) -> ChannelMemory:
    """Make the pipes and the memory of a channel, with all slots free.

    Raises:
        OSError: no descriptor or no memory is left.
        SerializationError: the capacity is larger than a pipe can serve.
    """
    fds: list[int] = []
    try:
        for _ in range(2):
            fds += make_pipe()
            make_room(fds[-1], capacity, f"a channel of capacity {capacity}")
        fds.append(posix.anonymous_memory())
        if _HAS_EVENTFD:
            closed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            fds += [closed, closed]
        else:
            fds += make_pipe()
        slot = _SLOT if capacity * _SLOT <= _SLOTS_MAX else max(64, _SLOTS_MAX // capacity // 64 * 64)
        size = _layout(capacity, slot)[1]
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fds[4], 0, size)  # a store into memory that cannot be had would kill the process
        else:
            os.ftruncate(fds[4], size)
        head = bytearray(SEATS * 8)
        struct.pack_into("=5Q", head, 0, 0, 0, capacity, slot, 0)
        posix.write_at(fds[4], memoryview(head), 0)
        fill(fds[1], list(range(capacity)))
        return ChannelMemory(tuple(fds))
    except BaseException:
        for fd in set(fds):
            os.close(fd)
        raise


def _layout(capacity: int, slot: int) -> tuple[int, int]:
    slots_at = (HEADERS + 2 * capacity) * 8 + 63 & ~63
    return slots_at, slots_at + capacity * slot + 4095 & ~4095
