"""What runs on a node of a Ray cluster: an actor that is the agent. Batches of frames are the arguments and results of
its methods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pickle import PickleBuffer
from typing import Any

from . import wire
from .agent import Connection
from .agent_host import AgentHost

Packed = list[tuple[bytes, list[PickleBuffer]]]
"""A batch as Ray carries it: large buffers are not copied into the pickle."""


def pack(batch: Iterable[wire.Frame]) -> Packed:
    return [(head, [PickleBuffer(buffer) for buffer in buffers]) for head, buffers in batch]


def unpack(batch: Iterable[tuple[bytes, Any]]) -> list[wire.Frame]:
    return [(head, [memoryview(buffer) for buffer in buffers]) for head, buffers in batch]


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

    async def connect(self, hello: dict[str, Any], seats: int) -> None:
        """Serve an event loop of the program."""
        if self._host is None:
            self._host = AgentHost(self._address, lambda: self._threads)
        lane = _LaneAtAgent()
        self._lanes[hello["lane"]] = lane
        lane.connection = self._host.connect(lane.send, hello, seats)
        lane.connection.on_over = lane.end

    async def deliver(self, name: str, number: int, batch: Packed, seats: int) -> None:
        """Take in a batch; the program numbers them, for Ray does not promise to keep their order."""
        lane = self._lanes.get(name)
        if lane is not None:
            lane.early[number] = (batch, seats)
            try:
                lane.take_in()
            except Exception as exc:  # nobody waits for this method: the program must not wait for its calls
                lane.connection.end(f"{type(exc).__name__}: {exc}")
                raise

    async def collect(self, name: str) -> Packed | None:
        """Wait until there is something for the program; ``None`` if the lane was given up here."""
        lane = self._lanes.get(name)
        return None if lane is None else await lane.collect()

    async def ping(self, name: str, ping: bytes) -> bytes | None:
        """Answer a PING."""
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
    """What has come for one event loop of the program, and what waits for it to be collected."""

    def __init__(self) -> None:
        self.connection: Connection
        self.early: dict[int, tuple[Packed, int]] = {}
        self._next = 0
        self._out: list[wire.Frame] = []
        self._news = asyncio.Event()  # stays set when the lane was given up
        self._over = False

    def send(self, batch: list[wire.Frame]) -> None:
        self._out += batch
        self._news.set()

    def end(self) -> None:
        """Note that the lane was given up: what is here may still be collected."""
        self._over = True
        self._news.set()

    def take_in(self) -> None:
        while (found := self.early.pop(self._next, None)) is not None:
            self._next += 1
            batch, seats = found
            if seats != self.connection.slots:
                self.connection.set_slots(seats)
            self.connection.receive(unpack(batch))

    async def collect(self) -> Packed | None:
        await self._news.wait()
        if not self._out:
            return None
        if not self._over:
            self._news.clear()
        out, self._out = self._out, []
        return pack(out)
