"""The steps of a shared channel: each moves numbers between the pipes, and returns at once.

The order is what keeps every number in one place: busy, then the gate, then a pipe; the slot, then its number. Reads
and writes of a pipe are whole numbers and atomic.
"""

from __future__ import annotations

import os
from _thread import RLock, get_ident
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

from ..._wire.pickling.c_pickle import PROTOCOL, dumps, loads
from ..._wire.pickling.codec import ATOMS
from ..._wire.pickling.shared_refs import pickled_here
from ..shared import seats
from ..shared.gate import PATIENCE, Gated
from ..shared.pipes import BATCH, number_in, numbers_in, waiting
from ..shared.seats import DUE, GATE, IN_USE, OWN, STATE
from . import audit
from .local_form import NOTHING
from .memory import (
    CLOSED,
    EMPTY,
    FULL,
    HEADERS,
    LENGTH,
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
from .packing import PackedItem, free_pages, pack, spill, unpack, unspill
from .send_ends import close_ends_of_dead, none_is_open

_KEEP_SLOT, _KEEP = 1 << 20, 64 << 20
"""Bytes of the spill region that a slot, and a channel, keep for the next large item."""
_GRANULE = 4096
_PLAIN = ATOMS | {dict, list, tuple}
_NAMES = b"\x93"
_NAME = 0x93
"""The opcode of every name in a pickle. One without it needs nothing of the program, and brings nothing."""


class Slots(Gated):
    """A shared channel as this process uses it."""

    __slots__ = (
        "__weakref__",
        "_keep",
        "_lock",
        "_own",
        "_owner",
        "_rest",
        "_state",
        "_thread",
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
        self._lock = RLock()
        self.seat = seats.take_seat(self.memory)
        self._state, self._own = self.seat + STATE, self.seat + OWN
        self._thread = 0  # the one that needs no lock
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
            if len(data) <= self.memory.slot and (_NAME not in data or type(item) in ATOMS):
                return self._put_small(data)
            pickled_here().clear()
        return self.try_put(pack(item))

    def _put_small(self, data: bytes) -> bool:
        """Send one item that fits into a slot, if one is free; without the lock if the calling thread needs none."""
        words, own = self.words, self._own
        if get_ident() != self._thread or words[own]:
            if not self._thread:
                self._claim()
            return bool(self._in_turn(self._put_one, data))
        words[own] = IN_USE  # first, as in `_in_turn`
        try:
            if words[GATE]:
                self._wait_for_gate(own, 0)
            return self._put_one(data)
        except BaseException:
            words[DUE] = 1
            raise
        finally:
            words[own] = 0

    def _put_one(self, data: bytes) -> bool:
        """`_put_many`, without the loops."""
        memory, words = self.memory, self.words
        try:
            record = os.read(memory.fds[0], 4)
        except BlockingIOError:
            return False
        if words[CLOSED]:
            os.write(memory.fds[1], record)
            return False
        (number,) = number_in(record)
        at, header, size = memory.slots_at + number * memory.slot, HEADERS + 2 * number, len(data)
        memory.map[at : at + size] = data
        words[header + 1] = size
        words[header] = monotonic_ns() << 2 | FULL
        os.write(memory.fds[3], record)
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
        """Return the oldest item, `NOTHING` if there is none; without the lock if the calling thread needs none."""
        memory, words, own = self.memory, self.words, self._own
        if get_ident() != self._thread or words[own]:
            if not self._thread:
                self._claim()
            return (self.try_receive_many(1) or [NOTHING])[0]
        words[own] = IN_USE  # first, as in `_in_turn`
        try:
            if words[GATE]:
                self._wait_for_gate(own, 0)
            try:
                record = os.read(memory.fds[2], 4)
            except BlockingIOError:
                return NOTHING
            (number,) = number_in(record)
            header = HEADERS + 2 * number
            stamp = words[header]
            kind = stamp & STATES
            words[own] = stamp - kind + IN_USE
            data: bytes | bytearray
            if kind == FULL:
                at = memory.slots_at + number * memory.slot
                data = memory.map[at : at + (words[header + 1] & LENGTH)]
            else:
                data = self._read_spilled(number, record)
            words[header] = EMPTY
            os.write(memory.fds[1], record)
            words[own] = stamp - kind
            return loads(data) if kind == FULL and _NAME not in data else unpack(data, kind)
        except BaseException:
            if words[own] & IN_USE:
                words[DUE] = 1
            raise
        finally:
            words[own] = 0

    def _read_spilled(self, number: int, record: bytes) -> bytes | bytearray:
        try:
            return self._read_slot(number)[0]
        except BaseException:  # no memory for a large item
            os.write(self.memory.fds[3], record)
            raise

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
            words[HEADERS + 2 * number + 1] = words[HEADERS + 2 * number + 1] & LENGTH | self._owner
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
        size = words[header + 1] & LENGTH
        state = words[header] & STATES
        if state == FULL:
            at = memory.slots_at + number * memory.slot
            return memory.map[at : at + size], state
        at = memory.spill_at + number * SPILL_STRIDE
        data = unspill(memory.fds[4], at, size)
        if size > self._keep:
            free_pages(memory.fds[4], at + self._keep, size - self._keep)
        return data, state

    def _give(self, count: int) -> None:
        with self._lock:
            self._rest -= count << TAKEN
            self.words[self._state] = self._rest

    # -- the gate

    def _claim(self) -> None:
        """Have the calling thread do without the lock from now on, unless another one does."""
        with self._lock:
            self._thread = self._thread or get_ident()

    def _give_back(self, dead: list[int]) -> None:
        audit.give_back(self.memory, dead)

    def look_for_dead(self, patience: float = PATIENCE) -> bool:
        """Give back what dead processes held, if any did; ``False`` if that must be tried again."""
        close_ends_of_dead(self.memory)
        if not self.closed and none_is_open(self.memory):
            self.close()
        return self._audit(patience)
