"""The connections to one agent, with an engine that is not there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from unified_exec.cluster import wire
from unified_exec.cluster.link import AgentLink
from unified_exec.cluster.node import Node

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]


class Adapter:
    def call_threadsafe(self, fn: Any, *args: Any) -> bool:
        fn(*args)
        return True


class Lane:
    """As much of a lane as a link needs."""

    name = "lane"

    def __init__(self) -> None:
        self.adapter = Adapter()
        self.why: list[str] = []

    def received(self, node: Node, batch: list[wire.Frame]) -> None:
        pass

    def lost(self, node: Node, why: str) -> None:
        self.why.append(why)


class Control:
    """A connection to an agent that answers."""

    def __init__(self) -> None:
        self.batches: asyncio.Queue[list[wire.Frame]] = asyncio.Queue()
        self.batches.put_nowait([(wire.pack_times(wire.WELCOME, 0.0, time.monotonic(), "agent"), ())])
        self.pings = 0

    async def read(self) -> list[wire.Frame]:
        return await self.batches.get()

    def write(self, batch: list[wire.Frame]) -> None:
        for head, _ in batch:
            if wire.kind_of(head) == wire.PING:
                self.pings += 1
                theirs, _, _ = wire.unpack_times(head)
                self.batches.put_nowait([(wire.pack_times(wire.PONG, theirs, time.monotonic()), ())])

    def write_release(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Engine:
    """Connects at once, but for the hearts, which take too long."""

    def __init__(self) -> None:
        self.control = Control()

    async def open(self, address: str, first: dict[str, Any]) -> Any:
        if "heart" in first:
            raise TimeoutError
        return self.control


async def test_the_lease_goes_on_while_the_heart_takes_long_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a program connects to a hundred nodes at once."""
    monkeypatch.setattr(wire, "HEARTBEAT", 0.01)
    lane, engine, node = Lane(), Engine(), Node("agent")
    untyped: Any = AgentLink
    link = untyped(engine, lane, node, {"hello": {}}, 60.0, print, id)
    try:
        while engine.control.pings < 20:
            await asyncio.sleep(0.01)
    finally:
        link.let_go(True)
    assert not lane.why
