"""Pools, seats and connections that end before, or while, somebody needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests import installed
from tests.cluster.conftest import OpenPool
from tests.cluster.processes import DaskCluster
from tests.cluster.tasks import spin
from tests.waiting import until_async
from unified_exec import Collect, PoolClosed, TaskScope, UnifiedExecError, WorkerStartError, call, share
from unified_exec._loops.current import current_adapter
from unified_exec._tasks.types import CANCELLED
from unified_exec._wire import frames
from unified_exec.cluster import DaskPool, NodeLost, wire
from unified_exec.cluster import node as node_module
from unified_exec.cluster.agent import Connection
from unified_exec.cluster.hub import Hub, HubOptions
from unified_exec.cluster.lane import ClusterLane
from unified_exec.cluster.node import Node
from unified_exec.cluster.pool import ClusterPool

installed.needed("distributed", "DaskPool needs Dask: pip install distributed")
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60), pytest.mark.usefixtures("dask_cluster")]


async def test_every_task_of_a_pool_that_could_not_connect_fails_with_the_reason() -> None:
    pool = DaskPool("tcp://127.0.0.1:9", start_timeout=0.1)
    try:
        for _ in range(2):
            with pytest.raises(WorkerStartError, match=r"the cluster cannot be used: .*tcp://127.0.0.1:9"):
                await call(abs, -3, on=pool)
    finally:
        await pool.aclose()


async def test_a_pool_whose_closing_is_cancelled_leaves_no_task_waiting_and_none_running(
    open_pool: OpenPool, tmp_path: Path
) -> None:
    pool = open_pool(max_workers=1, grace=30)
    untyped: Any = TaskScope(policy=Collect())
    async with untyped as scope:
        running = scope.spawn(spin, str(tmp_path), "running", on=pool)
        waiting = [scope.spawn(abs, -n, on=pool) for n in range(3)]
        assert await until_async(lambda: (tmp_path / "running.begun").exists(), 60)

        async def close() -> None:
            with anyio.CancelScope() as closing:
                closing.cancel()
                await pool.aclose()

        scope.spawn(close)
        await running.wait()
        assert (tmp_path / "running.ended").exists()  # before it is told
    assert type(running.exception()) is NodeLost
    assert [type(handle.exception()) for handle in waiting] == [PoolClosed] * 3
    assert pool.nodes() == []


async def test_a_client_that_is_closed_before_its_pool_fails_what_waits_at_once(dask_cluster: DaskCluster) -> None:
    from distributed import Client

    client = await Client(dask_cluster.address, asynchronous=True, set_as_default=False)
    pool = DaskPool(client, start_timeout=None)
    try:
        with pytest.raises(RuntimeError, match="write `async with DaskPool"), pool:
            pass  # pragma: no cover
        async with pool:
            await client.close()
            with pytest.raises(WorkerStartError, match=r"no node took work .the Dask client is closed"):
                await call(abs, -3, on=pool)
            with pytest.raises(RuntimeError, match=r"await pool\.aclose"):
                pool.close()
    finally:
        await client.close()


async def test_a_shared_object_that_cannot_be_mapped_fails_its_task_only(
    pool: ClusterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table: Any = share(bytes(2 << 20))

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise OSError("too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(node_module, "mmap", SimpleNamespace(mmap=fails, ACCESS_READ=0))
        with pytest.raises(UnifiedExecError, match=r"could not be sent to a node: too many open files"):
            await call(len, table, on=pool)
    assert await call(type, table, on=pool) is type(table)


class Ended:
    """As much of a task as a lane needs."""

    priority = 0
    cancel_requested = False

    def __init__(self, id: int, then: Callable[[], object] = int) -> None:
        self.id = id
        self.name = "task"
        self.owner = self.event_id = self
        self.location: Any = None
        self.worker = self.started_at = self.outcome = None
        entry = SimpleNamespace(coroutine=False, stats=SimpleNamespace(cost=None))
        self.backend_data = SimpleNamespace(size=0, entry=entry)
        self._then = then

    def settle(self, outcome: Any) -> None:
        self.outcome = outcome
        self._then()

    def settle_cancelled(self) -> None:
        self.settle(CANCELLED)


async def test_a_task_that_comes_back_and_is_cancelled_by_the_next_frame_does_not_count_as_waiting() -> None:
    owner: Any = SimpleNamespace(want_seats=print, lane_ended=print)
    lane = ClusterLane(owner, current_adapter(), "lane")
    back: Any = Ended(1)
    failed: Any = Ended(2, lambda: lane.cancel([back], None))
    node = Node("node")
    node.tasks = {1: back, 2: failed}
    back.location = failed.location = node
    done = wire.pack_answer(wire.RelayAnswer(2, frames.STOPPED, b"", (), 0.0, 0.0, 0))
    lane.received(node, [(wire.pack_numbers(wire.RETURNED, [1]), ()), done])
    assert back.outcome is CANCELLED
    assert lane.waiting() == 0
    assert not lane.has_tasks()


async def test_a_call_that_comes_after_its_seat_was_given_back_is_returned() -> None:
    sent: list[wire.Frame] = []
    keeper: Any = SimpleNamespace(watch=print)
    hello = {"versions": wire.versions(), "lease": 8.0, "drain": 0.0, "options": {"grace": 30.0}}
    connection = Connection(sent.extend, hello, keeper, "node", 1, {})
    ended = anyio.Event()
    connection.on_ended = ended.set
    try:
        connection.set_slots(1)
        connection.pong(0.0, anyio.current_time())
        connection.set_slots(0)
        what = ((), (), False, None, False)
        connection.receive([wire.pack_call(wire.RelayCall(7, "task", 0, b"", (), *what))])
        connection.flush()
        assert [wire.unpack_numbers(head) for head, _ in sent if wire.kind_of(head) == wire.RETURNED] == [[7]]
        assert len(connection) == 0
    finally:
        connection.end()
        await ended.wait()


class NoEngine:
    """Starts and stops."""

    async def start(self, on_seat: Any) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def check(self, lanes: Any) -> int:
        return 0


async def test_a_lane_that_is_dropped_while_the_thread_of_its_pool_ends_is_not_waited_for_in_vain() -> None:
    engine: Any = NoEngine()
    hub = Hub(engine, HubOptions(1, 0, None, None, 60.0, {}, ()), list)
    await anyio.to_thread.run_sync(hub.start().result)
    loop: Any = hub._loop
    close = loop.close
    lane: Any = SimpleNamespace(alone=None, name="lane")
    dropped: list[Any] = []

    def drop_and_close() -> None:
        dropped.append(hub.drop_lane(lane))
        close()

    loop.close = drop_and_close
    hub.stop(PoolClosed("pool"))
    assert dropped[0].done()
    assert not [thread for thread in threading.enumerate() if thread.name == "unified_exec cluster"]
