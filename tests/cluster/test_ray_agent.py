"""Calls of the agent of a Ray node: each brings a batch and waits for one. Ray itself is not needed."""

from __future__ import annotations

import asyncio
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from unified_exec.cluster import ray_agent, wire
from unified_exec.cluster.ray_agent import Buffer, Call, pack, pack_call, unpack

pytestmark = pytest.mark.asyncio


def through_ray(data: bytes, buffers: list[Buffer]) -> tuple[bytes, list[memoryview]]:
    memory: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps((data, buffers), 5, buffer_callback=memory.append)
    arrived: tuple[bytes, list[memoryview]] = pickle.loads(pickled, buffers=[bytes(each) for each in memory])
    return arrived


class Program:
    """A lane at an agent, and the calls that a program makes there."""

    def __init__(self) -> None:
        self.agent: Any = ray_agent.RayAgent("address", 1)
        self.lane: Any = ray_agent._LaneAtAgent(7)
        self.agent._lanes["lane"] = self.lane
        self.received: list[wire.Frame] = []
        self.ended: list[str] = []
        self.lane.connection = SimpleNamespace(slots=1, receive=self.received.extend, end=self.end)

    def end(self, why: str) -> None:
        self.ended.append(why)
        self.lane.end()

    def call(
        self, number: int, *heads: bytes, buffer: bytes = b"", read: int = 0, connection: int = 7
    ) -> asyncio.Task[Any]:
        batch = [(head, [memoryview(buffer)] if buffer else []) for head in heads]
        data, buffers = through_ray(*pack_call(Call("lane", connection, number, read, 1), batch))
        return asyncio.create_task(self.agent.deliver(data, buffers))

    def say(self, head: bytes) -> None:
        self.lane.send([(head, ())])

    def heads(self) -> list[bytes]:
        return [head for head, _ in self.received]


async def pause() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_call_is_answered_with_the_next_batch_and_none_waits_in_vain() -> None:
    program = Program()
    calls = [program.call(0), program.call(1, b"task", b"other")]
    await pause()
    assert program.heads() == [b"task", b"other"]
    assert not any(call.done() for call in calls)
    program.say(b"done")
    assert unpack(await calls[0]) == [(b"done", [])]
    more = [program.call(number) for number in (2, 3)]
    assert unpack(await calls[1]) == []  # two are enough
    assert not any(call.done() for call in more)
    program.lane.send([(b"large", [memoryview(b"buffer")]), (b"small", ())])
    (large, buffers), small = unpack(*through_ray(*await more[0]))
    assert (large, bytes(buffers[0])) == (b"large", b"buffer")
    assert small == (b"small", [])
    program.lane.end()
    assert await more[1] is None


async def test_batches_are_taken_in_and_answered_in_the_order_of_the_calls() -> None:
    program = Program()
    late, early = program.call(1, b"second"), program.call(2, b"third")
    await pause()
    assert program.heads() == []
    program.say(b"an answer")
    first = program.call(0, b"first")
    assert unpack(await first) == [(b"an answer", [])]
    assert program.heads() == [b"first", b"second", b"third"]
    program.say(b"another one")
    assert unpack(await late) == [(b"another one", [])]
    assert not early.done()
    program.lane.end()
    await early


async def test_a_repeated_call_is_taken_in_once_and_has_the_same_answer() -> None:
    """Ray repeats a call although it was made, if its answer was lost."""
    program = Program()
    held = program.call(0, b"task")
    await pause()
    again = program.call(0, b"task")
    await pause()
    program.say(b"done")
    program.say(b"more")
    assert unpack(await held) == unpack(await again) == unpack(await program.call(0, b"task")) == [(b"done", [])]
    assert unpack(await program.call(1, read=1)) == [(b"more", [])]
    assert await program.call(0, b"task") is None  # its answer was read
    assert program.heads() == [b"task"]
    assert list(program.lane._answers) == [1]


async def test_a_call_that_brought_large_data_does_not_wait() -> None:
    """Ray keeps what came with a call until it is answered."""
    program = Program()
    calls = [program.call(0), program.call(1, b"array", buffer=b"buffer")]
    assert [unpack(await call) for call in calls] == [[], []]
    assert unpack(await program.call(2, bytes(wire.LARGE + 1))) == []
    assert program.heads() == [b"array", bytes(wire.LARGE + 1)]


async def test_a_call_of_an_earlier_connection_is_not_taken_in() -> None:
    program = Program()
    assert await program.call(0, b"task", connection=6) is None
    assert program.heads() == []


async def test_when_a_lane_is_given_up_its_last_words_are_sent_and_no_call_waits() -> None:
    program = Program()
    program.say(b"last")
    program.lane.end()
    assert unpack(await program.call(0)) == [(b"last", [])]
    assert await program.call(1) is None
    program = Program()
    after_a_gap = program.call(1, b"task")
    await pause()
    program.lane.end()
    assert await after_a_gap is None
    assert await program.call(0, b"task") is None
    assert program.heads() == []


async def test_an_agent_that_cannot_take_a_batch_in_gives_the_lane_up() -> None:
    """Otherwise the calls that it brought would never be answered."""

    def receive(batch: Any) -> None:
        raise OSError("no descriptor is left")

    program = Program()
    held = program.call(0)
    await pause()
    program.lane.connection.receive = receive
    with pytest.raises(OSError, match="no descriptor is left"):
        await program.call(1, b"task")
    assert program.ended == ["OSError: no descriptor is left"]
    assert await held is None


async def test_an_answer_that_waits_for_its_call_exports_no_view() -> None:
    """CPython before 3.12.7 crashes when it collects a ring with a view that still has exports: an agent's lane."""
    view = memoryview(bytearray(b"buffer"))
    data, buffers = pack([(b"head", [view])])
    ((head, (arrived,)),) = unpack(*through_ray(data, buffers))
    assert (head, bytes(arrived)) == (b"head", b"buffer")
    view.release()  # refused while it has exports
