"""Writing Perfetto's trace format: protocol buffers by hand, as they are few and the encoder must be fast.

Names are sent once and then by number, times as the distance from the one before, and the whole is deflated. The field
numbers are those of ``protos/perfetto/trace`` in https://github.com/google/perfetto.
"""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Any

# TracePacket
_CLOCK_SNAPSHOT, _TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _INTERNED, _FLAGS = 6, 8, 10, 11, 12, 13
_COMPRESSED, _CLOCK_ID, _DEFAULTS, _TRACK_DESCRIPTOR = 50, 58, 59, 60
# TrackDescriptor
_UUID, _NAME, _PROCESS, _PARENT, _COUNTER, _ORDERING, _RANK = 1, 2, 3, 5, 8, 11, 12
_EXPLICIT = 3
# TrackEvent
_NOTE, _TYPE, _NAME_ID, _TRACK, _COUNTER_VALUE, _FLOW, _FLOW_END = 4, 9, 10, 11, 44, 47, 48
_BEGIN, _END, _INSTANT, _COUNTS = 1, 2, 3, 4
# Clocks: time stamps are distances on a clock of our own, which counts from the one that traces are shown in.
_TRACE_CLOCK, _OUR_CLOCK = 6, 64
_CLEARED, _NEEDS_STATE = 1, 2

NOTES_KEPT = 10_000
"""Encoded notes that are kept, as most values come again."""

_DOUBLE = Struct("<d")
_FIXED = Struct("<Q")
_KNOWN = 1 << 14
_SMALL = [bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7]) for n in range(_KNOWN)]


def varint(number: int) -> bytes:
    """Encode a whole number of 64 bits."""
    if 0 <= number < _KNOWN:
        return _SMALL[number]
    if 0 < number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: int, number: int) -> bytes:
    return varint(tag << 3) + varint(number)


def blob(tag: int, data: bytes) -> bytes:
    """A field that is text, or a message."""
    return varint(tag << 3 | 2) + varint(len(data)) + data


_ONE = field(_SEQUENCE, 1)
_TAIL = field(_FLAGS, _NEEDS_STATE) + _ONE
_FLOW_KEY, _FLOW_END_KEY = varint(_FLOW << 3 | 1), varint(_FLOW_END << 3 | 1)
_VALUE_KEY = varint(_COUNTER_VALUE << 3 | 1)
_EVENT_KEY = varint(_TRACK_EVENT << 3 | 2)
DEFLATION = 5
"""Level 6 takes twice the time, for 2 % less."""


class Writer:
    """Collects the events of a trace; `finish` returns the file.

    Tracks are numbers. Instants are whole nanoseconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self._tracks: list[bytes] = []
        self._ranks: dict[int, int] = {}
        self._events: list[tuple[int, int, int, bytes]] = []  # instant, order at that instant, number, body
        self._names: dict[str, int] = {}
        self._notes: dict[str, int] = {}
        self._new_names = bytearray()
        self._heads: dict[tuple[int, str], bytes] = {}
        self._int_heads: dict[str, list[bytes]] = {}
        self._ends: dict[int, bytes] = {}
        self._packed_notes: dict[tuple[str, Any], bytes] = {}

    def process(self, pid: int, name: str) -> int:
        """Add a process; returns its track."""
        return self._track(blob(_PROCESS, field(1, pid) + blob(6, name.encode("utf-8", "replace"))), 0)

    def track(self, name: str, parent: int) -> int:
        """Add a track below another; tracks of one parent stay in the order in which they were added."""
        return self._track(blob(_NAME, name.encode("utf-8", "replace")), parent)

    def counter(self, name: str, parent: int) -> int:
        """Add the track of a counter."""
        return self._track(blob(_NAME, name.encode("utf-8", "replace")) + blob(_COUNTER, b""), parent)

    def _track(self, body: bytes, parent: int) -> int:
        uuid = len(self._tracks) + 1
        rank = self._ranks[parent] = self._ranks.get(parent, 0) + 1
        body = field(_UUID, uuid) + body + field(_ORDERING, _EXPLICIT) + field(_RANK, rank)
        if parent:
            body += field(_PARENT, parent)
        self._tracks.append(blob(1, blob(_TRACK_DESCRIPTOR, body) + _TAIL))
        return uuid

    def slice(
        self, track: int, begin: int, end: int, name: str, notes: dict[str, Any], flow: int = 0, flow_end: int = 0
    ) -> None:
        """Add something that lasted from `begin` to `end`.

        Args:
            track: where.
            begin, end: when; an `end` that is not after `begin` is moved.
            name: what; equal names have equal colours.
            notes: shown when it is selected.
            flow: number of an arrow that begins or goes on here.
            flow_end: number of one that ends here.
        """
        if end <= begin:
            end = begin + 1
        body = self._head(_BEGIN, track, name) + self._packed(notes)
        if flow:
            body += _FLOW_KEY + _FIXED.pack(flow)
        if flow_end:
            body += _FLOW_END_KEY + _FIXED.pack(flow_end)
        events = self._events
        # At one instant an end comes before a begin; of two begins the longer is the outer one.
        events.append(
            (begin, 1, -end, _EVENT_KEY + (_SMALL[len(body)] if len(body) < _KNOWN else varint(len(body))) + body)
        )
        events.append((end, 0, -begin, self._ends.get(track) or self._end(track)))

    def _end(self, track: int) -> bytes:
        end = self._ends[track] = blob(_TRACK_EVENT, self._head(_END, track, ""))
        return end

    def instant(self, track: int, at: int, name: str, notes: dict[str, Any], flow: int = 0) -> None:
        """Add something that happened at one moment."""
        body = self._head(_INSTANT, track, name) + self._packed(notes)
        if flow:
            body += _FLOW_KEY + _FIXED.pack(flow)
        self._events.append((at, 2, 0, blob(_TRACK_EVENT, body)))

    def count(self, track: int, at: int, value: float) -> None:
        body = self._head(_COUNTS, track, "") + _VALUE_KEY + _DOUBLE.pack(value)
        self._events.append((at, 2, 0, blob(_TRACK_EVENT, body)))

    def _head(self, kind: int, track: int, name: str) -> bytes:
        key = track * 8 + kind, name
        head = self._heads.get(key)
        if head is None:
            head = field(_TYPE, kind) + field(_TRACK, track)
            if name:
                head += field(_NAME_ID, self._number(self._names, name, 2))
            self._heads[key] = head
        return head

    def _packed(self, notes: dict[str, Any]) -> bytes:
        out = b""
        packed, small = self._packed_notes, _SMALL
        for note in notes.items():
            name, value = note
            if type(value) is int:
                number = small[value] if 0 <= value < _KNOWN else varint(value)
                out += (self._int_heads.get(name) or self._int_head(name))[len(number)] + number
                continue
            known = packed.get(note)
            if known is None:
                body = b"\x08" + _SMALL[self._number(self._notes, name, 3)]
                if type(value) is float:
                    body += b"\x29" + _DOUBLE.pack(value)
                else:
                    body += blob(6, str(value).encode("utf-8", "replace"))
                known = b"\x22" + varint(len(body)) + body
                if len(packed) < NOTES_KEPT:
                    packed[note] = known
            out += known
        return out

    def _int_head(self, name: str) -> list[bytes]:
        """What comes before a number, by the bytes that it takes."""
        head = b"\x08" + _SMALL[self._number(self._notes, name, 3)] + b"\x20"
        heads = self._int_heads[name] = [b"\x22" + _SMALL[len(head) + size] + head for size in range(11)]
        return heads

    def _number(self, known: dict[str, int], name: str, tag: int) -> int:
        number = known.get(name)
        if number is None:
            number = known[name] = len(known) + 1
            self._new_names += blob(tag, field(1, number) + blob(2, name.encode("utf-8", "replace")))
        return number

    def finish(self) -> bytes:
        events = sorted(self._events)
        last = events[0][0] if events else 0
        clocks = blob(1, field(1, _TRACE_CLOCK) + field(2, last))
        clocks += blob(1, field(1, _OUR_CLOCK) + field(2, last) + field(3, 1))
        first = blob(_CLOCK_SNAPSHOT, clocks) + blob(_INTERNED, bytes(self._new_names))
        first += blob(_DEFAULTS, field(_CLOCK_ID, _OUR_CLOCK)) + field(_FLAGS, _CLEARED) + _ONE
        out = [blob(1, first), *self._tracks]
        small, rest, tail = _SMALL, 1 + len(_TAIL), _TAIL + b"\x0a"
        add = out.append
        add(b"\x0a")
        for at, _, _, body in events:
            gap = small[at - last] if at - last < _KNOWN else varint(at - last)
            size, last = rest + len(gap) + len(body), at
            add(b"%b\x40%b%b%b" % (small[size] if size < _KNOWN else varint(size), gap, body, tail))
        return blob(1, blob(_COMPRESSED, zlib.compress(b"".join(out)[:-1], DEFLATION)))
