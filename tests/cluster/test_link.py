"""The connections to one agent, with an engine that is not there."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from unified_exec.cluster import link as link_module
from unified_exec.cluster import wire
from unified_exec.cluster.link import HELD_MAX, AgentLink, Holding
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
        self.written: list[list[bytes]] = []

    async def read(self) -> list[wire.Frame]:
        return await self.batches.get()

    def write(self, batch: list[wire.Frame]) -> None:
        if wire.kind_of(batch[0][0]) != wire.PING:
            self.written.append([head for head, _ in batch])
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


def opened(engine: Engine, lane: Lane) -> Any:
    untyped: Any = AgentLink
    holding = Holding(asyncio.get_running_loop())
    return untyped(engine, lane, Node("agent"), holding, {"hello": {}}, 60.0, print, id)


async def test_the_lease_goes_on_while_the_heart_takes_long_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a program connects to a hundred nodes at once."""
    monkeypatch.setattr(wire, "HEARTBEAT", 0.01)
    lane, engine = Lane(), Engine()
    link = opened(engine, lane)
    try:
        while engine.control.pings < 20:
            await asyncio.sleep(0.01)
    finally:
        link.let_go(True)
    assert not lane.why


def held(n: int, link: Any) -> list[bytes]:
    """Send so many tasks ahead; returns their frames."""
    frames = [bytes((wire.TASK, number)) for number in range(n)]
    for frame in frames:
        link.send((frame, ()), True)
    return frames


async def test_an_error_of_one_link_does_not_keep_what_another_one_holds() -> None:
    flushed: list[str] = []

    class Broken:
        def flush(self) -> None:
            flushed.append("broken")
            raise MemoryError

    class Sound:
        def flush(self) -> None:
            flushed.append("sound")

    holding: Any = Holding(loop := asyncio.get_running_loop())
    loop.set_exception_handler(lambda *_: None)
    for link in (Broken(), Sound(), Broken()):
        holding.add(link)
    while len(flushed) < 3:
        await asyncio.sleep(0.001)
    assert "sound" in flushed


@pytest.mark.parametrize("hold", [0.0, 3600.0])
async def test_tasks_that_are_sent_ahead_share_a_message(monkeypatch: pytest.MonkeyPatch, hold: float) -> None:
    """They leave after a moment, when there are enough of them, or together with a frame that cannot wait."""
    monkeypatch.setattr(link_module, "HOLD", hold)
    engine = Engine()
    control, link = engine.control, opened(engine, Lane())
    try:
        while not control.pings:
            await asyncio.sleep(0)
        if hold:
            enough = held(HELD_MAX, link)
            few = held(2, link)
            link.send((b"now", ()))
            expected = [[*enough, *few, b"now"]]
        else:
            expected = [held(3, link)]
        while not control.written:
            await asyncio.sleep(0)
        assert control.written == expected
        assert held(1, link) == [bytes((wire.TASK, 0))]
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(control.written) == 1 + (hold == 0.0)
    finally:
        link.let_go(True)
