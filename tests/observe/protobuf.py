"""Reads a trace back, knowing nothing of the writer: protocol buffers by their wire format."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message: number, and value or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        shift = number = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
        elif kind == 1:
            at += 8
            yield key >> 3, data[at - 8 : at]
        else:
            assert kind == 2, kind
            size = varint()
            at += size
            yield key >> 3, data[at - size : at]


class Trace:
    """What is in a trace.

    Attributes:
        tracks: name of each track by its number, with that of its parent.
        slices: name of each slice, with its track, begin, end and notes; in the order of their ends.
        instants: names of instants, counted.
        counters: values by the name of the counter.
        flows: how often each arrow is touched.
    """

    def __init__(self, file: bytes) -> None:
        self.tracks: dict[int, tuple[str, int]] = {}
        self.slices: list[tuple[str, int, int, int, dict[str, Any]]] = []
        self.instants: Counter[str] = Counter()
        self.counters: dict[str, list[float]] = {}
        self.flows: Counter[int] = Counter()
        self._names: dict[int, str] = {}
        self._notes: dict[int, str] = {}
        self._open: dict[int, list[tuple[str, int, dict[str, Any]]]] = {}
        self._now = 0
        for number, packet in fields(file):
            assert number == 1
            for tag, body in fields(packet):
                assert tag == 50
                for _, inner in fields(zlib.decompress(body)):
                    self._packet(dict(fields(inner)))
        assert not any(self._open.values()), "slices that do not end"

    def _packet(self, packet: dict[int, Any]) -> None:
        if 6 in packet:
            [clock] = [
                dict(fields(body)) for tag, body in fields(packet[6]) if tag == 1 and dict(fields(body))[1] == 64
            ]
            self._now = clock[2]
        for tag, body in fields(packet.get(12, b"")):
            entry = dict(fields(body))
            (self._names if tag == 2 else self._notes)[entry[1]] = entry[2].decode()
        if 60 in packet:
            track = dict(fields(packet[60]))
            name = track[2] if 2 in track else dict(fields(track[3]))[6]
            self.tracks[track[1]] = name.decode(), track.get(5, 0)
        if 11 in packet:
            assert packet[8] < 1 << 63, "time runs backwards"
            self._now += packet[8]
            self._event(packet[11])

    def _event(self, body: bytes) -> None:
        event: dict[int, Any] = {}
        notes: dict[str, Any] = {}
        for tag, value in fields(body):
            if tag == 4:
                note = dict(fields(value))
                notes[self._notes[note[1]]] = note[4] if 4 in note else note.get(6, note.get(5))
            elif tag in (47, 48):
                self.flows[struct.unpack("<Q", value)[0]] += 1
            else:
                event[tag] = value
        name, track = self._names.get(event.get(10, 0), ""), event[11]
        assert track in self.tracks
        if event[9] == 1:
            self._open.setdefault(track, []).append((name, self._now, notes))
        elif event[9] == 2:
            began = self._open[track].pop()
            self.slices.append((began[0], track, began[1], self._now, began[2]))
        elif event[9] == 3:
            self.instants[name] += 1
        else:
            self.counters.setdefault(self.tracks[track][0], []).append(struct.unpack("<d", event[44])[0])

    def parent(self, track: int) -> str:
        """The name of the outermost track around one."""
        while self.tracks[track][1]:
            track = self.tracks[track][1]
        return self.tracks[track][0]
