"""What the agent of a Ray node keeps for the program until it is collected; Ray itself is not needed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from unified_exec.cluster import ray_agent

pytestmark = pytest.mark.asyncio


async def test_a_batch_is_collected_without_a_task_of_its_own() -> None:
    lane: Any = ray_agent._LaneAtAgent()
    collected = asyncio.create_task(lane.collect())
    await asyncio.sleep(0)
    tasks = len(asyncio.all_tasks())
    lane.send([(b"head", [memoryview(b"buffer")])])
    (frame,) = ray_agent.unpack(await collected)
    assert (frame[0], bytes(frame[1][0])) == (b"head", b"buffer")
    assert tasks == 2  # this one, and the one that collects


async def test_what_came_before_a_lane_was_given_up_is_still_collected() -> None:
    lane: Any = ray_agent._LaneAtAgent()
    lane.send([(b"last", ())])
    lane.end()
    assert await lane.collect() == [(b"last", [])]
    assert await lane.collect() is None
    assert await lane.collect() is None


async def test_an_agent_that_cannot_take_a_batch_in_gives_the_lane_up() -> None:
    """Nobody waits for the method that delivers it: its calls would never be answered."""

    def receive(batch: Any) -> None:
        raise OSError("no descriptor is left")

    told: list[str] = []
    agent: Any = ray_agent.RayAgent("address", 1)
    lane = agent._lanes["lane"] = ray_agent._LaneAtAgent()
    lane.connection = SimpleNamespace(slots=1, receive=receive, end=told.append)
    with pytest.raises(OSError, match="no descriptor is left"):
        await agent.deliver("lane", 0, [], 1)
    assert told == ["OSError: no descriptor is left"]
