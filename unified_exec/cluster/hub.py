"""The thread that has the connections of a cluster pool: it connects to nodes, and asks the engine for seats."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context
from typing import Any, NamedTuple

from ..errors import WorkerStartError
from . import wire
from .engine import Engine
from .lane import ClusterLane
from .link import AgentLink, Holding
from .node import Node

ENGINE_SECONDS = 5.0
"""What the engine may take to answer; then it is asked again."""
CLOSE_SECONDS = 10.0
"""What disconnecting from the engine may take when the pool is closed."""


class HubOptions(NamedTuple):
    """How many seats a pool has, and when a node is lost.

    Attributes:
        max_workers: seats at most; ``None`` for all threads of the cluster.
        min_workers: seats of each lane that are kept while it has no work.
        idle_timeout: seconds without work after which the others are given back; ``None`` for never.
        start_timeout: seconds after which waiting tasks fail if no node takes work; ``None`` for never.
        silence_max: seconds without a sign of life after which a node is lost.
        hello: what an agent is told first.
        shared: the shared objects that the initializer uses.
    """

    max_workers: int | None
    min_workers: int
    idle_timeout: float | None
    start_timeout: float | None
    silence_max: float
    hello: dict[str, Any]
    shared: tuple[Any, ...]


class Hub:
    """Everything that is done for the lanes outside of their loops.

    Args:
        lanes: returns the lanes of the pool.

    Attributes:
        engine: places the seats.
        threads: how many threads the cluster has.
    """

    def __init__(self, engine: Engine, options: HubOptions, lanes: Callable[[], list[ClusterLane]]) -> None:
        self.threads = 0
        self.engine = engine
        self._options = options
        self._lanes = lanes
        self._links: dict[tuple[str, str], AgentLink] = {}
        self._late: set[tuple[str, str]] = set()  # seats that started while a lost node was still being given up
        self._waiting_since: dict[ClusterLane, float] = {}
        self._idle_since: dict[ClusterLane, float] = {}
        self._beating: asyncio.Task[None] | None = None
        self._holding: Holding | None = None
        self._closing = False
        self._error: WorkerStartError | None = None  # why it has not connected
        self._lock = threading.RLock()  # the collector may end a loop meanwhile, which drops its lane
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started: Future[None] | None = None

    # -- in any thread

    def start(self) -> Future[None]:
        """Start the thread and connect; the future has the error if that fails. Later calls return the same future."""
        with self._lock:
            if self._started is None:
                loop = self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_run_loop, args=(loop,), name="unified_exec cluster", daemon=True)
                thread.start()
                self._thread = thread
                self._started = Context().run(asyncio.run_coroutine_threadsafe, self._connect(), loop)
            return self._started

    def stop(self, why: Exception) -> None:
        """Let all nodes go, disconnect and end the thread; what waits fails. Does nothing the second time."""
        with self._lock:
            loop, thread, self._thread = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        try:
            disconnected = asyncio.run_coroutine_threadsafe(self._disconnect(why), loop)
            disconnected.result(self._options.silence_max + CLOSE_SECONDS)
        except Exception:
            pass  # the engine does not answer; the agents notice that the connections are gone
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_SECONDS)  # it waits for what the engine does in threads

    def want_seats(self, lane: ClusterLane) -> None:
        """Request seats for what waits in the lane, if the pool may have more."""
        self._run(self._want(lane))

    def add_lane(self, lane: ClusterLane) -> None:
        """Request the seats that a lane has even without work."""
        if self._options.min_workers:
            self._run(self._request(lane, self._options.min_workers))

    def drop_lane(self, lane: ClusterLane) -> Future[None]:
        """Let the nodes of a lane go: its loop has ended, or its actor. It is done when nothing of it runs there."""
        return self._run(self._drop(lane))

    def _run(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        with self._lock:
            if self._loop is not None and self._thread is not None:  # what is posted before `stop` is done or cancelled
                # In a context of its own: what comes of it outlives the request that needed it first.
                return Context().run(asyncio.run_coroutine_threadsafe, work, self._loop)
        work.close()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    # -- in the thread of the connections

    async def _connect(self) -> None:
        self._holding = Holding(asyncio.get_running_loop())
        try:
            await self.engine.start(self._on_seat)
            self.threads = await self.engine.check(())
        except Exception as exc:
            self._error = WorkerStartError(f"the cluster cannot be used: {type(exc).__name__}: {exc}")
            self._fail_waiting(self._error)
            raise
        self._beating = asyncio.create_task(self._beat())
        for lane in self._lanes():
            await self._want(lane)

    async def _disconnect(self, why: Exception) -> None:
        self._closing = True
        if self._beating is not None:
            self._beating.cancel()
        self._fail_waiting(why)
        links = list(self._links.values())
        busy = [link for link in links if link.node.tasks]
        for link in links:
            link.let_go(True)
        try:
            await asyncio.gather(*[link.until_ended() for link in busy])
        finally:
            for link in links:
                link.lane.adapter.call_threadsafe(link.lane.lost, link.node, "the pool was closed")
        self._waiting_since.clear()
        self._idle_since.clear()
        async with asyncio.timeout(CLOSE_SECONDS):
            await self.engine.stop()

    def _on_seat(self, lane_name: str, address: str) -> None:
        """A seat has started: connect to the agent there, unless there is a connection."""
        lane = next((lane for lane in self._lanes() if lane.name == lane_name), None)
        if lane is None or self._closing:
            self.engine.turn_away(lane_name, address)
            return
        key = (lane_name, address)
        if key in self._links:
            self._late.add(key)
            return
        node = Node(address)
        hello = {"hello": {"lane": lane_name, **self._options.hello}}
        silence = self._options.silence_max
        if lane.alone is not None:
            hello["hello"]["options"] = {**self._options.hello["options"], **lane.alone}
            silence = max(silence, wire.silence_max(self._options.hello["lease"], lane.alone["grace"]))
        assert self._holding is not None
        link = AgentLink(self.engine, lane, node, self._holding, hello, silence, self._on_refused, self._on_over)
        node.link = self._links[key] = link
        node.place(self._options.shared)
        lane.adapter.call_threadsafe(lane.add_node, node)

    def _on_over(self, link: AgentLink) -> None:
        key = (link.lane.name, link.node.address)
        self._links.pop(key, None)
        if key in self._late:
            self._late.discard(key)
            self._on_seat(*key)

    def _on_refused(self, why: str) -> None:
        if not any(lane.slots() for lane in self._lanes()):
            self._fail_waiting(WorkerStartError(f"{why}; install the same versions on both sides"))

    def _fail_waiting(self, error: Exception) -> None:
        for lane in self._lanes():
            lane.adapter.call_threadsafe(lane.fail_waiting, error)

    # -- seats

    async def _want(self, lane: ClusterLane) -> None:
        if self._error is not None:
            lane.adapter.call_threadsafe(lane.fail_waiting, self._error)
        if self._closing or self._beating is None or self.engine.has_ended():
            return  # if it is not connected yet, `_connect` asks again
        limit = self._options.max_workers
        if lane.alone is not None:
            limit = have = 1  # for it there is one
        else:
            if limit is None:
                limit = 2 * self.threads + 1  # a seat that waits is what makes an adaptive cluster grow
            have = sum([other.seats for other in self._lanes() if other.alone is None])
        waiting = lane.waiting() - (lane.seats - lane.slots())
        n = min(waiting, max(limit - have, 0 if lane.seats else 1))  # each loop with work gets one
        if n > 0:
            await self.engine.request_seats(lane, n)

    async def _withdraw(self, lane: ClusterLane) -> bool:
        """Withdraw requests that nothing waits for: they would take the seats that the lane gives back."""
        n = lane.seats - max(lane.slots(), self._options.min_workers)
        return n > 0 and lane.alone is None and await self.engine.withdraw_seats(lane, n) > 0

    async def _request(self, lane: ClusterLane, n: int) -> None:
        assert self._started is not None
        await asyncio.wrap_future(self._started)
        await self.engine.request_seats(lane, n)

    async def _drop(self, lane: ClusterLane) -> None:
        links = [link for link in self._links.values() if link.lane is lane]
        for link in links:
            link.let_go(True)
        self._waiting_since.pop(lane, None)
        self._idle_since.pop(lane, None)
        await self.engine.drop_lane(lane.name)
        if lane.alone is not None:
            await asyncio.gather(*[link.until_ended() for link in links])

    async def _beat(self) -> None:
        """Once a second: count seats, request more, give some back, and fail what has waited in vain."""
        while True:
            await asyncio.sleep(wire.HEARTBEAT)
            lanes = self._lanes()
            withdrawn = False
            try:
                async with asyncio.timeout(ENGINE_SECONDS):
                    if not self.engine.has_ended():
                        self.threads = await self.engine.check(lanes)
                    starved = any(map(_starves, lanes))
                    for lane in lanes:
                        if lane.waiting():
                            await self._want(lane)
                        elif starved or self._was_idle(lane):
                            withdrawn |= await self._withdraw(lane)
            except Exception:
                pass  # the engine is out of reach, and may raise anything then; `status` says so
            for lane in lanes:
                self._check_waiting(lane)
                self._check_idle(lane, not withdrawn)
            if not withdrawn:  # else a node that does not know it yet would start one in the place of one given back
                self._share_seats(lanes)

    def _check_waiting(self, lane: ClusterLane) -> None:
        if not lane.waiting() or lane.slots():
            self._waiting_since.pop(lane, None)
            return
        since = self._waiting_since.setdefault(lane, time.monotonic())
        seconds, ended = self._options.start_timeout, self.engine.has_ended()
        if ended or (seconds is not None and time.monotonic() - since > seconds):
            del self._waiting_since[lane]
            within = "" if ended else f" within {seconds:g} s"
            why = f"no node took work{within} ({self.engine.status()})"
            lane.adapter.call_threadsafe(lane.fail_waiting, WorkerStartError(why))

    def _check_idle(self, lane: ClusterLane, may_release: bool) -> None:
        """Give seats back that were not used for a while, so that the engine can scale down."""
        seconds = self._options.idle_timeout
        if lane.has_tasks() or seconds is None or lane.alone is not None:
            self._idle_since.pop(lane, None)
            return
        self._idle_since.setdefault(lane, time.monotonic())
        if may_release and self._was_idle(lane):
            _release(lane, lane.slots() - self._options.min_workers)

    def _was_idle(self, lane: ClusterLane) -> bool:
        since = self._idle_since.get(lane)
        return since is not None and time.monotonic() - since > (self._options.idle_timeout or 0.0)

    def _share_seats(self, lanes: list[ClusterLane]) -> None:
        """Have the lanes with most slots give one back for each other lane with work that has none."""
        slots = {lane: lane.slots() for lane in lanes if lane.alone is None}
        for _ in filter(_starves, lanes):
            richest = max(slots, key=slots.__getitem__, default=None)
            if richest is not None and slots[richest] > richest.has_tasks():
                _release(richest, 1)
                slots[richest] -= 1


def _starves(lane: ClusterLane) -> bool:
    return lane.waiting() > 0 and not lane.slots()


def _release(lane: ClusterLane, n: int) -> None:
    for node in list(lane.nodes.values()):
        count = min(n, node.slots)
        if count > 0:
            node.link.send((wire.pack_numbers(wire.RELEASE, [count]), ()))
            n -= count


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        pending = asyncio.all_tasks(loop)
        for task in pending:
            task.cancel()
        if pending:
            loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
