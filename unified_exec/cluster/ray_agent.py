"""What runs on a node of a Ray cluster: an actor that is the agent. Batches of frames are the arguments and results of
its methods."""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from pickle import PickleBuffer
from typing import Any, NamedTuple, SupportsIndex

from . import wire
from .agent import Connection
from .agent_host import AgentHost

HELD_MAX = 2
"""Calls of one lane that wait for something to answer: the one before, and the one that brings a task."""

_NUMBERS = struct.Struct("<QQQIH")
_SIZES = struct.Struct("<II")


class Buffer:
    """Memory that Ray does not copy. It arrives as a memoryview.

    It is an export of the view only while it is pickled: CPython before 3.12.7 crashes when it collects a view that
    still has exports (gh-77894).
    """

    __slots__ = ("_view",)

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[type[memoryview], tuple[PickleBuffer]]:
        return memoryview, (PickleBuffer(self._view),)


Packed = tuple[bytes, list[Buffer]]
"""A batch as Ray carries it: heads as bytes, which Ray does not pickle, and large buffers."""


class Call(NamedTuple):
    """What comes with the batch of a call.

    Attributes:
        lane, connection: whose it is; a lane may connect again.
        number: of this call.
        read: the answers of the calls below this number have come.
        seats: that the lane has here.
    """

    lane: str
    connection: int
    number: int
    read: int
    seats: int


def pack(batch: Iterable[wire.Frame]) -> Packed:
    parts = []
    packed = []
    for head, buffers in batch:
        parts += [_SIZES.pack(len(head), len(buffers)), head]
        packed += [Buffer(buffer) for buffer in buffers]
    return b"".join(parts), packed


def unpack(data: bytes, buffers: Sequence[memoryview] = (), at: int = 0) -> list[wire.Frame]:
    batch: list[wire.Frame] = []
    rest = iter(buffers)
    while at < len(data):
        size, n = _SIZES.unpack_from(data, at)
        at += _SIZES.size
        batch.append((data[at : at + size], [next(rest) for _ in range(n)]))
        at += size
    return batch


def pack_call(call: Call, batch: Iterable[wire.Frame]) -> Packed:
    lane, *numbers = call
    name = lane.encode()
    data, buffers = pack(batch)
    return _NUMBERS.pack(*numbers, len(name)) + name + data, buffers


def unpack_call(data: bytes, buffers: Sequence[memoryview]) -> tuple[Call, list[wire.Frame]]:
    *numbers, size = _NUMBERS.unpack_from(data)
    at = _NUMBERS.size + size
    return Call(data[_NUMBERS.size : at].decode(), *numbers), unpack(data, buffers, at)


def writable(buffer: memoryview) -> memoryview:
    """Return the buffer, or a copy of one that is read-only."""
    return memoryview(bytearray(buffer)) if buffer.readonly else buffer


class RayAgent:
    """An asynchronous actor without CPUs of its own: the seats of its lanes are placement groups."""

    def __init__(self, address: str, threads: int) -> None:
        self._address = address
        self._threads = threads
        self._host: AgentHost | None = None
        self._lanes: dict[str, _LaneAtAgent] = {}

    async def connect(self, hello: dict[str, Any], seats: int, connection: int) -> None:
        """Serve an event loop of the program."""
        if self._host is None:
            self._host = AgentHost(self._address, lambda: self._threads)
        lane = _LaneAtAgent(connection)
        self._lanes[hello["lane"]] = lane
        lane.connection = self._host.connect(lane.send, hello, seats)
        lane.connection.on_over = lane.end

    async def deliver(self, data: bytes, buffers: Sequence[memoryview] = ()) -> bytes | Packed | None:
        """Take in a batch and wait for one for the program; ``None`` if the lane was given up here.

        Ray may repeat a call, and does not promise to keep their order.
        """
        call, batch = unpack_call(data, buffers)
        lane = self._lanes.get(call.lane)
        if lane is None or lane.number != call.connection:
            return None
        return await lane.deliver(call, batch)

    async def ping(self, name: str, ping: bytes) -> bytes | None:
        return None if self._host is None else self._host.pong(name, ping)

    async def let_go(self, name: str) -> None:
        """Stop everything of a lane; returns when nothing of it runs here any more."""
        lane = self._lanes.pop(name, None)
        if self._host is None:
            return
        if lane is not None:
            lane.end()
            await self._host.disconnect(name, lane.connection)
        else:  # asked again, because the first answer was lost
            await self._host.until_ended(name)


class _LaneAtAgent:
    """The calls for one event loop of the program: they are taken in and answered in the order of their numbers.

    Args:
        number: of the connection.
    """

    def __init__(self, number: int) -> None:
        self.connection: Connection
        self.number = number
        self._early: dict[int, tuple[Call, list[wire.Frame]]] = {}
        self._next = 0  # is taken in next
        self._held: deque[int] = deque()
        self._answers: dict[int, asyncio.Future[bytes | Packed | None]] = {}  # until the program has read them
        self._read = 0
        self._out: list[wire.Frame] = []
        self._over = False

    async def deliver(self, call: Call, batch: list[wire.Frame]) -> bytes | Packed | None:
        """Take in what has come up to this call, and wait until it is answered."""
        for number in range(self._read, call.read):
            self._answers.pop(number, None)
        self._read = max(self._read, call.read)
        if call.number < self._read:
            return None  # it was repeated, and nobody waits for it any more
        if call.number not in self._answers:
            self._answers[call.number] = asyncio.get_running_loop().create_future()
            self._early[call.number] = call, batch
            try:
                self._take_in()
            except Exception as exc:  # the program must not wait for its calls
                self.connection.end(f"{type(exc).__name__}: {exc}")
                raise
        return await self._answers[call.number]

    def send(self, batch: list[wire.Frame]) -> None:
        self._out += batch
        self._answer()

    def end(self) -> None:
        """Note that the lane was given up: what is here is still sent to the program."""
        self._over = True
        self._take_in()

    def _take_in(self) -> None:
        while self._early and (self._over or self._next in self._early):
            number = min(self._early)
            call, batch = self._early.pop(number)
            self._next = number + 1
            self._held.append(number)
            if not self._over:
                if call.seats != self.connection.slots:
                    self.connection.set_slots(call.seats)
                self.connection.receive(batch)
                if any(buffers or len(head) > wire.LARGE for head, buffers in batch):
                    # Ray keeps what came with a call until it is answered.
                    self._answer(0)
        self._answer()

    def _answer(self, held_max: int = HELD_MAX) -> None:
        """Answer the first call if there is something to say, and those that need not wait any more."""
        while self._held and (self._out or self._over or len(self._held) > held_max):
            self._answers[self._held.popleft()].set_result(self._pack())

    def _pack(self) -> bytes | Packed | None:
        if self._over and not self._out:
            return None
        data, buffers = pack(self._out)
        self._out = []
        return (data, buffers) if buffers else data
