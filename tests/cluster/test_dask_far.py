"""A far node, over a line that loses segments, is cut, and breaks: a relay is between it and everybody else.

For the weekly run; the short form is in `test_dask_engine`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import installed
from tests.cluster.processes import DaskCluster, free_port
from tests.cluster.tasks import count_to, slow_square, spin, tick
from tests.cluster.tcp_relay import TcpRelay
from tests.waiting import until_async
from unified_exec import Collect, TaskScope, TaskTimeout, share, time_left
from unified_exec.cluster import DaskPool, NodeLost

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.asyncio, pytest.mark.soak, pytest.mark.timeout(300)]
LEASE, GRACE = 3.0, 0.2
DELAY, LOSS = 0.05, 0.02


class Far:
    """A scheduler and one Dask worker, which are reached through relays."""

    def __init__(self, delay: float, loss: float) -> None:
        port = free_port()
        self.cluster = DaskCluster(0)
        self.to_scheduler = TcpRelay(int(self.cluster.address.rpartition(":")[2]), delay, loss)
        self.to_worker = TcpRelay(port, delay, loss)
        self.cluster.add_worker(
            *("--no-nanny", "--listen-address", f"tcp://127.0.0.1:{port}"),
            *("--contact-address", f"tcp://127.0.0.1:{self.to_worker.port}"),
        )
        self.address = f"tcp://127.0.0.1:{self.to_scheduler.port}"

    def close(self) -> None:
        self.cluster.close()
        self.to_scheduler.close()
        self.to_worker.close()


def size_of_shared(shared: Any) -> int:
    return len(shared.value)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """The scheduler's connections to the worker come and go as it likes, through relays of this process."""


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    found = Far(DELAY, LOSS)
    found.cluster.wait_until_up()
    yield found
    found.close()


async def test_values_deadlines_and_cancellation_over_a_line_with_delay_and_loss(far: Far, tmp_path: Path) -> None:
    untyped: Any = TaskScope(policy=Collect())
    async with DaskPool(far.address) as pool, untyped as scope:
        assert [n async for n in scope.map(slow_square, range(50), on=pool)] == [n * n for n in range(50)]
        assert [n async for n in scope.stream(count_to, 300, on=pool)] == list(range(300))
        data = bytes(range(256)) * 4096
        assert await scope.spawn(bytes, bytearray(data), on=pool) == data
        assert await scope.spawn(size_of_shared, share(data), on=pool) == len(data)
        left = await scope.spawn(time_left, on=pool, timeout=600)
        assert 500 < left <= 600
        (node,) = pool.nodes()
        assert node.address == f"tcp://127.0.0.1:{far.to_worker.port}"
        assert node.rtt >= 2 * DELAY
        late = scope.spawn(spin, str(tmp_path), "late", on=pool, timeout=0.5)
        await late.wait()
        assert type(late.exception()) is TaskTimeout
        long = scope.spawn(spin, str(tmp_path), "long", on=pool)
        assert await until_async(lambda: (tmp_path / "long.begun").exists(), 60)
        long.cancel()
        await long.wait()
        assert long.cancelled()
        assert (tmp_path / "long.ended").exists()


async def test_a_short_cut_costs_nothing_and_a_long_one_ends_the_tasks_before_they_are_told_lost(
    far: Far, tmp_path: Path
) -> None:
    untyped: Any = TaskScope(policy=Collect())
    async with DaskPool(far.address, lease=LEASE, grace=GRACE) as pool, untyped as scope:
        short = scope.spawn(tick, str(tmp_path), "short", 1.5, on=pool)
        assert await until_async((tmp_path / "short.tick").exists, 60)
        far.to_worker.cut()
        time.sleep(0.5)  # also while the event loop is blocked
        far.to_worker.heal()
        assert await short == "short"
        lost = scope.spawn(tick, str(tmp_path), "lost", 600.0, on=pool)
        assert await until_async((tmp_path / "lost.tick").exists, 60)
        far.to_worker.cut()
        try:
            await lost.wait()
            settled = time.monotonic()
        finally:
            far.to_worker.heal()
        assert type(lost.exception()) is NodeLost
        assert float((tmp_path / "lost.tick").read_text() or 0) < settled
        assert await scope.spawn(abs, -3, on=pool) == 3  # the node is used again
    assert (tmp_path / "starts").read_text().split() == ["short", "lost"]


async def test_a_connection_that_breaks_costs_what_runs_there_and_the_node_is_used_again(
    far: Far, tmp_path: Path
) -> None:
    untyped: Any = TaskScope(policy=Collect())
    async with DaskPool(far.address, grace=GRACE) as pool, untyped as scope:
        lost = scope.spawn(tick, str(tmp_path), "lost", 600.0, on=pool)
        assert await until_async((tmp_path / "lost.tick").exists, 60)
        far.to_worker.reset()
        await lost.wait()
        settled = time.monotonic()
        assert type(lost.exception()) is NodeLost
        assert float((tmp_path / "lost.tick").read_text() or 0) < settled
        assert await scope.spawn(abs, -3, on=pool) == 3
    assert (tmp_path / "starts").read_text().split() == ["lost"]
