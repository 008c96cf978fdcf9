"""The steps of a shared channel: each moves numbers between the pipes, and returns at once.

The order is what keeps every number in one place: busy, then the gate, then a pipe; the slot, then its number. Reads
and writes of a pipe are whole numbers and atomic.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Sequence
from mmap import mmap
from time import monotonic_ns
from typing import Any

from ..._wire.pickling.c_pickle import PROTOCOL, dumps
from ..._wire.pickling.codec import ATOMS
from ..._wire.pickling.shared_refs import pickled_here
from ..shared import seats
from ..shared.gate import PATIENCE, Gated
from ..shared.pipes import BATCH, numbers_in, waiting
from ..shared.seats import IN_USE, STATE
from . import audit
from .local_form import NOTHING
from .memory import (
    CLOSED,
    EMPTY,
    FULL,
    HEADERS,
    LOST,
    OWNER,
    PARTS,
    SPILL_STRIDE,
    SPILLED,
    STATES,
    TAKEN,
    TAKING,
    ChannelMemory,
)
from .packing import PackedItem, pack, spill, unpack, unspill
from .send_ends import close_ends_of_dead, none_is_open

_KEEP_SLOT, _KEEP = 1 << 20, 64 << 20
"""Bytes of the spill region that a slot, and a channel, keep for the next large item."""
_GRANULE = 4096
_PLAIN = ATOMS | {dict, list, tuple}
_NAMES = b"\x93"
"""The opcode of every name in a pickle. One without it needs nothing of the program, and brings nothing."""


class Slots(Gated):
    """A shared channel as this process uses it."""

    __slots__ = (
        "__weakref__",
        "_keep",
        "_lock",
        "_owner",
        "_rest",
        "_state",
        "capacity",
        "memory",
        "receives",
        "seat",
        "sends",
        "words",
    )
    memory: ChannelMemory

    moved = False

    def __init__(self, memory: ChannelMemory) -> None:
        self.memory = memory
        self.words = memory.words
        self.capacity = memory.capacity
        self.sends = self.receives = 0
        self._keep = max(_GRANULE, min(_KEEP_SLOT, _KEEP // memory.capacity) // _GRANULE * _GRANULE)
        self.sit_down()

    def sit_down(self) -> None:
        """Take a seat; a forked child takes one of its own, with a lock that no other thread can hold.

        Raises:
            SerializationError: there is none.
        """
        self._lock = allocate_lock()
        self.seat = seats.take_seat(self.memory)
        self._state = self.seat + STATE
        self._rest = 0  # the state between operations: what was taken out before, and not returned yet
        self._owner = self.seat + 1 << OWNER

    # -- for everybody

    @property
    def closed(self) -> bool:
        return bool(self.words[CLOSED])

    @property
    def lost(self) -> int:
        self.look_for_dead(0.0)
        return int(self.words[LOST])

    def __len__(self) -> int:
        return waiting(self.memory.fds[2])

    def close(self) -> None:
        if not self.words[CLOSED]:
            self.words[CLOSED] = 1
            self.memory.tell_closed()

    def drained(self) -> bool:
        """Tell whether it is closed, nobody is about to send, and nothing is left; looked at in this order."""
        if not self.words[CLOSED]:
            return False
        return bool(self._in_turn(self._is_empty, None))  # nobody of this process sends, and no audit has the numbers

    def _is_empty(self, _: object) -> bool:
        return not seats.someone_is_busy(self.memory, self.seat) and not len(self)

    # -- sending

    def pack(self, item: object) -> PackedItem:
        return pack(item)

    def try_send(self, item: object) -> bool:
        """Send an item if a slot is free."""
        if type(item) in _PLAIN:
            try:
                data = dumps(item, PROTOCOL)
            except Exception:
                data = _NAMES  # `pack` raises the error that says why
            if len(data) <= self.memory.slot and (_NAMES not in data or type(item) in ATOMS):
                return bool(self._in_turn(self._put_small, data))
            pickled_here().clear()
        return self.try_put(pack(item))

    def _put_small(self, data: bytes) -> bool:
        """Send one item that fits into a slot, if one is free: `_put_many`, without the loops."""
        memory, words = self.memory, self.words
        fds = memory.fds
        try:
            record = os.read(fds[0], 4)
        except BlockingIOError:
            return False
        if words[CLOSED]:
            os.write(fds[1], record)
            return False
        number = int.from_bytes(record, "little")
        at, header, size = memory.slots_at + number * memory.slot, HEADERS + 2 * number, len(data)
        memory.map[at : at + size] = data
        words[header + 1] = size
        words[header] = monotonic_ns() << 2 | FULL
        os.write(fds[3], record)
        return True

    def try_put(self, packed: PackedItem) -> bool:
        """Send an item if a slot is free."""
        return bool(self.try_put_many((packed,)))

    def try_put_many(self, packed: Sequence[PackedItem]) -> int:
        """Send as many of the items as there are free slots, and return their number."""
        count: int = 0
        try:
            sent: int = self._in_turn(self._put_many, packed)
            count = sent
            return sent
        finally:
            for unsent in packed[count:]:
                if unsent.brings:
                    unsent.unsent()

    def _put_many(self, packed: Sequence[PackedItem]) -> int:
        fds, words = self.memory.fds, self.words
        try:
            records = os.read(fds[0], 4 * min(len(packed), BATCH))
        except BlockingIOError:
            return 0
        if words[CLOSED]:
            os.write(fds[1], records)
            return 0
        numbers = numbers_in(records)
        try:
            for at, number in enumerate(numbers):
                self._fill_slot(number, packed[at])
        except BaseException:  # no memory for a large item: no number was passed on, so nothing was sent
            for number in numbers:
                words[HEADERS + 2 * number] = EMPTY
            os.write(fds[1], records)
            raise
        os.write(fds[3], records)
        return len(numbers)

    def _fill_slot(self, number: int, packed: PackedItem) -> None:
        memory, words, header = self.memory, self.words, HEADERS + 2 * number
        data = packed.data
        size = len(data)
        if not packed.parts and size <= memory.slot:
            at = memory.slots_at + number * memory.slot
            memory.map[at : at + size] = data
            words[header + 1] = size
            words[header] = monotonic_ns() << 2 | FULL
        else:
            words[header + 1] = spill(memory.fds[4], memory.spill_at + number * SPILL_STRIDE, packed)
            words[header] = monotonic_ns() << 2 | (PARTS if packed.parts else SPILLED)

    # -- receiving

    def try_receive(self) -> Any:
        """Return the oldest item, `NOTHING` if there is none: `try_receive_many`, without the loops."""
        taken = self._in_turn(self._take_one, None)
        if taken is NOTHING:
            return NOTHING
        try:
            return unpack(*taken)
        finally:
            self._give(1)

    def _take_one(self, _: object) -> Any:
        memory, words = self.memory, self.words
        fds = memory.fds
        try:
            record = os.read(fds[2], 4)
        except BlockingIOError:
            return NOTHING
        number = int.from_bytes(record, "little")
        header = HEADERS + 2 * number
        words[header + 1] |= self._owner
        words[self._state] = self._rest + (IN_USE | 1 << TAKING)
        try:
            taken = self._read_slot(number)
        except BaseException:  # no memory for a large item
            words[self._state] = self._rest + IN_USE
            os.write(fds[3], record)
            raise
        words[header] = EMPTY
        os.write(fds[1], record)
        self._rest += 1 << TAKEN
        return taken

    def try_receive_many(self, most: int) -> list[Any]:
        """Return up to `most` items."""
        found = self._in_turn(self._take, most)
        if not found:
            return []
        try:
            return [unpack(data, state) for data, state in found]
        finally:
            self._give(len(found))

    def _take(self, most: int) -> list[tuple[bytes | bytearray, int]]:
        """Take the bytes of items out of their slots. They count as taken until `_give`."""
        fds, words = self.memory.fds, self.words
        try:
            records = os.read(fds[2], 4 * min(most, BATCH))
        except BlockingIOError:
            return []
        numbers = numbers_in(records)
        for number in numbers:
            words[HEADERS + 2 * number + 1] |= self._owner
        words[self._state] = self._rest + (IN_USE | len(numbers) << TAKING)
        try:
            found = [self._read_slot(number) for number in numbers]
        except BaseException:  # no memory for a large item
            words[self._state] = self._rest + IN_USE
            os.write(fds[3], records)
            raise
        for number in numbers:
            words[HEADERS + 2 * number] = EMPTY
        os.write(fds[1], records)
        self._rest += len(numbers) << TAKEN
        return found

    def _read_slot(self, number: int) -> tuple[bytes | bytearray, int]:
        memory, words, header = self.memory, self.words, HEADERS + 2 * number
        size = words[header + 1] & (1 << OWNER) - 1
        state = words[header] & STATES
        if state == FULL:
            at = memory.slots_at + number * memory.slot
            return memory.map[at : at + size], state
        at = memory.spill_at + number * SPILL_STRIDE
        data = unspill(memory.fds[4], at, size)
        if size > self._keep:
            _free_pages(memory.fds[4], at + self._keep, size - self._keep)
        return data, state

    def _give(self, count: int) -> None:
        with self._lock:
            self._rest -= count << TAKEN
            self.words[self._state] = self._rest

    # -- the gate

    def _give_back(self, dead: list[int]) -> None:
        audit.give_back(self.memory, dead)

    def look_for_dead(self, patience: float = PATIENCE) -> bool:
        """Give back what dead processes held, if any did; ``False`` if that must be tried again."""
        close_ends_of_dead(self.memory)
        if not self.closed and none_is_open(self.memory):
            self.close()
        return self._audit(patience)


def _free_pages(fd: int, at: int, size: int) -> None:
    """Give the memory of a large item back to the system, where that is possible."""
    import mmap as module

    if hasattr(module, "MADV_REMOVE"):
        try:
            with mmap(fd, size, offset=at) as pages:
                pages.madvise(module.MADV_REMOVE)
        except (OSError, ValueError):
            pass  # a file system without holes
