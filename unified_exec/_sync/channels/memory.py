"""What all processes of a shared channel see: two pipes of slot numbers, a descriptor that tells of the close, memory.

    free      pipe of the numbers of free slots, 4 bytes each; at the start all of them
    filled    pipe of the numbers of filled slots, in the order in which they were filled
    closed    readable for ever once the channel is closed
    memory    gate, closed, capacity, slot size, lost, ends made; seats; send ends; headers; slots; spill region

A *seat* belongs to one process: state, pid, start time. Its state is one word, so that one store changes all of it:
busy or not; the items that the operation under way has taken out; those that were taken out before and have not been
returned to the caller yet. A *header* belongs to one slot: state and the instant at
which it was filled; length and, while a receiver holds the slot, its seat.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from mmap import mmap

from ..._platform import posix
from ...errors import SerializationError

GATE, CLOSED, CAPACITY, SLOT, LOST, ENDS_MADE = range(6)
SEATS = 16
SEATS_MAX = 256
STATE, PID, START = range(3)
SEAT_SIZE = 4
IN_USE, DEAD = 1, 2
USE = 3
"""The bits of a seat's state that say whether its process is in an operation, or died in one."""
TAKING, TAKEN = 8, 32
"""The bits from which on it counts what the operation has taken out, and what was taken out before."""
COUNT = (1 << 24) - 1
ENDS = SEATS + SEAT_SIZE * SEATS_MAX
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
SPILL_STRIDE = 1 << (30 if posix.PLAIN or not hasattr(os, "memfd_create") else 36)
BATCH = select.PIPE_BUF // 4
"""The most numbers that one read or write of a pipe moves atomically."""

_PAGE_NUMBERS = 1024
_PIPE_DEFAULT = 65536
_PLAIN_MAX = 4096
_SLOT = 1024
_SLOTS_MAX = 8 << 20
_HAS_PIPE_SIZE = hasattr(fcntl, "F_SETPIPE_SZ") and not posix.PLAIN
_HAS_EVENTFD = hasattr(os, "eventfd") and not posix.PLAIN


class ChannelMemory:
    """The descriptors and the mapping of one shared channel in this process.

    Attributes:
        fds: free read, free write, filled read, filled write, memory, closed read, closed write.
        words: gate, seats and headers.
        map: the slots.
        slots_at: where the first slot begins.
        spill_at: where the spill region begins.
    """

    __slots__ = ("__weakref__", "capacity", "fds", "map", "slot", "slots_at", "spill_at", "words")

    def __init__(self, fds: tuple[int, ...]) -> None:
        self.fds = fds
        self.map = mmap(fds[4], 0, **posix.UNTRACKED)
        head = memoryview(self.map)[: SEATS * 8].cast("Q")
        self.capacity, self.slot = head[CAPACITY], head[SLOT]
        self.slots_at, self.spill_at = _layout(self.capacity, self.slot)
        self.words = memoryview(self.map)[: self.slots_at].cast("Q")

    def on_wire(self) -> tuple[int, ...]:
        """The descriptors that another process needs; `ChannelMemory` there is made of `whole` of them."""
        return self.fds if self.fds[5] != self.fds[6] else self.fds[:6]

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
            fds += _pipe()
            _make_room(fds[-1], capacity)
        fds.append(posix.anonymous_memory())
        if _HAS_EVENTFD:
            closed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            fds += [closed, closed]
        else:
            fds += _pipe()
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


def _pipe() -> list[int]:
    ends = list(os.pipe())
    for end in ends:
        os.set_blocking(end, False)
    return ends


def _make_room(fd: int, capacity: int) -> None:
    """Make a pipe so large that a write of numbers always finds room.

    A page is freed when it has been read to its end, and a write that does not fit into the last page begins another
    one: the pages that the numbers just fill are not enough.
    """
    size = 4096 * (2 * -(-capacity // _PAGE_NUMBERS) + 2)
    if not _HAS_PIPE_SIZE:
        enough = capacity <= _PLAIN_MAX
    else:
        if size > fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ):
            try:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
            except OSError:
                pass  # above the limit of the system, or of the user
        enough = size <= fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    if not enough:
        raise SerializationError(
            f"a channel of capacity {capacity}",
            "the pipes of this system are too small for so many items",
            "choose a smaller capacity",
        )


def record(number: int) -> bytes:
    return number.to_bytes(4, "little")


def numbers_in(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def waiting(fd: int) -> int:
    """How many numbers lie in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]) // 4


def drain(fd: int) -> list[int]:
    """Read a pipe to its end."""
    found: list[int] = []
    while True:
        try:
            found += numbers_in(os.read(fd, 4 * BATCH))
        except BlockingIOError:
            return found


def fill(fd: int, numbers: list[int]) -> None:
    for at in range(0, len(numbers), BATCH):
        os.write(fd, b"".join(map(record, numbers[at : at + BATCH])))
