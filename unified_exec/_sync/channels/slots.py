"""The steps of a shared channel: each moves numbers between the pipes, and returns at once.

The order is what keeps every number in one place: busy, then the gate, then a pipe; the slot, then its number. Reads
and writes of a pipe are whole numbers and atomic.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from mmap import mmap
from time import monotonic_ns
from typing import Any

from ..._wire.pickling.c_pickle import PROTOCOL, dumps, loads
from ..._wire.pickling.codec import ATOMS
from ..._wire.pickling.shared_refs import pickled_here
from ..shared.pipes import BATCH, record
from ..shared.seats import IN_USE
from .kept import KeptNumbers
from .local_form import NOTHING
from .memory import (
    CLOSED,
    EMPTY,
    FULL,
    HEADERS,
    KEPT_FREE,
    LOST,
    OWNER,
    PARTS,
    SCARCE,
    SPILL_STRIDE,
    SPILLED,
    STATES,
    TAKEN,
    TAKING,
    ChannelMemory,
)
from .packing import PackedItem, pack, spill, unpack, unspill

_KEEP_SLOT, _KEEP = 1 << 20, 64 << 20
"""Bytes of the spill region that a slot, and a channel, keep for the next large item."""
_GRANULE = 4096
_PLAIN = ATOMS | {dict, list, tuple}
_NAMES = 0x93
"""The opcode of every name in a pickle. One without it needs nothing of the program, and brings nothing."""
_UNKNOWN = bytes([_NAMES])


class Slots(KeptNumbers):
    """A shared channel as this process uses it."""

    __slots__ = ("_keep_bytes", "receives", "sends")

    moved = False

    def __init__(self, memory: ChannelMemory) -> None:
        self.sends = self.receives = 0
        self._keep_bytes = max(_GRANULE, min(_KEEP_SLOT, _KEEP // memory.capacity) // _GRANULE * _GRANULE)
        super().__init__(memory)

    # -- for everybody

    @property
    def lost(self) -> int:
        self.look_for_dead(0.0)
        return int(self.words[LOST])

    # -- sending

    def pack(self, item: object) -> PackedItem:
        return pack(item)

    def try_send(self, item: object) -> bool:
        """Send an item if a slot is free."""
        if type(item) in _PLAIN:
            try:
                data = dumps(item, PROTOCOL)
            except Exception:
                data = _UNKNOWN  # `pack` raises the error that says why
            if len(data) <= self.memory.slot and (_NAMES not in data or type(item) in ATOMS):
                sent: bool = self._busy(self._put_small, data)
                return sent
            pickled_here().clear()
        return bool(self.try_put_many((pack(item),)))

    def _put_small(self, data: bytes) -> bool:
        """Send one item that fits into a slot, if one is free: `_put_many`, without the loops."""
        words, memory, free = self.words, self.memory, self._free
        if words[CLOSED] or not (free or self._find_free(1)):
            return False
        number = free[-1]
        at, header, size = memory.slots_at + number * memory.slot, HEADERS + 2 * number, len(data)
        memory.map[at : at + size] = data
        words[header + 1] = size
        words[header] = monotonic_ns() << 2 | FULL
        os.write(memory.fds[3], record(free.pop()))
        return True

    def try_put_many(self, packed: Sequence[PackedItem]) -> int:
        """Send as many of the items as there are free slots, and return their number."""
        count = 0
        try:
            count = int(self._busy(self._put_many, packed))
            return count
        finally:
            for unsent in packed[count:]:
                if unsent.brings:
                    unsent.unsent()

    def _put_many(self, packed: Sequence[PackedItem]) -> int:
        words, free = self.words, self._free
        count = min(len(packed), BATCH)
        if words[CLOSED] or not (len(free) >= count or self._find_free(count)):
            return 0
        numbers = free[:count]
        try:
            for at, number in enumerate(numbers):
                self._fill_slot(number, packed[at])
        except BaseException:  # no memory for a large item: no number was passed on, so nothing was sent
            for number in numbers:
                words[HEADERS + 2 * number] = EMPTY
            raise
        del free[:count]
        os.write(self.memory.fds[3], b"".join(map(record, numbers)))
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
        """Return the oldest item, `NOTHING` if there is none."""
        if not self.receives_here and not self._become_receiver():
            return NOTHING
        found = self._busy(self._take_one)
        if type(found) is not Taken:
            return found
        try:
            return unpack(*found)
        finally:
            self._give(1)

    def _take_one(self) -> Any:
        """Take an item out: `_take_many`, without the loops. Plain data is unpickled here."""
        words, memory, filled = self.words, self.memory, self._filled
        if not filled and not self._find_filled(1):
            return NOTHING
        number = filled[0]
        header = HEADERS + 2 * number
        size = words[header + 1] & (1 << OWNER) - 1
        words[header + 1] = size | self._owner
        words[self._state] = self._rest | (IN_USE | 1 << TAKING)
        found: Any
        if words[header] & STATES == FULL:
            at = memory.slots_at + number * memory.slot
            data = memory.map[at : at + size]
            found = Taken((data, FULL)) if _NAMES in data else loads(data)
        else:
            found = Taken(self._read_slot(number))
        words[header] = EMPTY
        if type(found) is Taken:
            self._rest += 1 << TAKEN
        free = self._free
        free.append(filled.popleft())
        if len(free) >= self._free_max or self.waiters[True] or words[SCARCE]:
            self._return_free()
        kept = len(filled) | KEPT_FREE if free else len(filled)
        if kept != self._told:
            self._told = words[self._kept] = kept
        return found

    def try_receive_many(self, most: int) -> list[Any]:
        """Return up to `most` items."""
        if not self.receives_here and not self._become_receiver():
            return []
        found: list[Taken] = self._busy(self._take_many, min(most, BATCH))
        if not found:
            return []
        try:
            return [unpack(*each) for each in found]
        finally:
            self._give(len(found))

    def _take_many(self, most: int) -> list[Taken]:
        """Take the bytes of items out of their slots. They count as taken until `_give`."""
        words, filled = self.words, self._filled
        if len(filled) < most and not self._find_filled(most):
            return []
        numbers = [filled[at] for at in range(min(most, len(filled)))]
        for number in numbers:
            words[HEADERS + 2 * number + 1] |= self._owner
        words[self._state] = self._rest | (IN_USE | len(numbers) << TAKING)
        found = [Taken(self._read_slot(number)) for number in numbers]
        for number in numbers:
            words[HEADERS + 2 * number] = EMPTY
            self._free.append(filled.popleft())
        self._rest += len(numbers) << TAKEN
        self._return_free()
        self._tell_kept()
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
        if size > self._keep_bytes:
            _free_pages(memory.fds[4], at + self._keep_bytes, size - self._keep_bytes)
        return data, state

    def _give(self, count: int) -> None:
        with self._lock:
            self._rest -= count << TAKEN
            self.words[self._state] = self._rest


class Taken(tuple[Any, ...]):
    """The bytes of an item that was taken out, and the state that its slot had."""

    __slots__ = ()


def _free_pages(fd: int, at: int, size: int) -> None:
    """Give the memory of a large item back to the system, where that is possible."""
    import mmap as module

    if hasattr(module, "MADV_REMOVE"):
        try:
            with mmap(fd, size, offset=at) as pages:
                pages.madvise(module.MADV_REMOVE)
        except (OSError, ValueError):
            pass  # a file system without holes
