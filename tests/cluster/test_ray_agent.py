"""What the agent of a Ray node keeps for the program until it is collected; Ray itself is not needed."""

from __future__ import annotations

import asyncio
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
