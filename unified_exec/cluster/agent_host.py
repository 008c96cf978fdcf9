"""The agent of one node: it serves every event loop of every program that has connected. Knows no engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from . import wire
from .agent import Connection
from .keeper import Keeper

POLL = 0.01
CLOSE_MARGIN = 0.5
"""Seconds a closing node gives its tasks after their grace."""


class AgentHost:
    """The connections of one node, and the keepers that watch this process. Make it on the event loop it lives on.

    Args:
        address: the engine's name of the node.
        threads: returns how many threads the engine has here.

    Attributes:
        connections: by the name of the lane.
    """

    def __init__(self, address: str, threads: Callable[[], int]) -> None:
        self._where = f"{address} (pid {os.getpid()})"
        self._threads = threads
        self.connections: dict[str, Connection] = {}
        self._ended: dict[Connection, asyncio.Event] = {}
        self._keepers: dict[float, Keeper] = {}
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            for keeper in list(self._keepers.values()):
                keeper.beat()
            await asyncio.sleep(wire.HEARTBEAT)

    def connect(self, send: Callable[[list[wire.Frame]], object], hello: dict[str, Any], slots: int) -> Connection:
        """Serve one more event loop, which has `slots` slots here for now."""
        lease = hello["lease"]
        keeper = self._keepers.get(lease)
        if keeper is None:
            keeper = self._keepers[lease] = Keeper(lease)
        connection = Connection(send, hello, keeper, self._where, self._threads(), dict(os.environ))
        self.connections[hello["lane"]] = connection
        ended = self._ended[connection] = asyncio.Event()
        connection.on_ended = ended.set
        connection.set_slots(slots)
        return connection

    async def disconnect(self, lane: str, connection: Connection) -> None:
        """Stop everything of a lane; returns when nothing of it runs here any more. Until then it is known here."""
        connection.end()
        await self._ended.pop(connection).wait()
        if self.connections.get(lane) is connection:
            del self.connections[lane]

    def pong(self, lane: str, ping: bytes) -> bytes | None:
        """Answer a PING; ``None`` if nothing of the lane is here."""
        connection = self.connections.get(lane)
        if connection is None:
            return None
        theirs, echo, _ = wire.unpack_times(ping)
        return connection.pong(theirs, echo)

    async def until_ended(self, lane: str) -> None:
        """Stop what a lane has here, whose connection broke; returns when nothing of it runs any more."""
        connection = self.connections.get(lane)
        if connection is not None:
            connection.end("its connection broke")
        while connection is not None and self.connections.get(lane) is connection:  # noqa: ASYNC110
            await asyncio.sleep(POLL)

    async def close(self, why: str) -> None:
        """Close this node: return what has not begun, let the rest finish for a while, then stop it."""
        connections = list(self.connections.values())
        for connection in connections:
            connection.drain()
        await _until_idle(connections, max((each.drain_time for each in connections), default=0.0))
        for connection in connections:
            connection.stop(why)
        await _until_idle(connections, max((each.grace for each in connections), default=0.0) + CLOSE_MARGIN)
        for connection in connections:
            connection.flush()
            connection.kill()
        self._beating.cancel()
        for keeper in self._keepers.values():
            keeper.close()


async def _until_idle(connections: Iterable[Connection], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while any(len(connection) for connection in connections) and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(POLL)
