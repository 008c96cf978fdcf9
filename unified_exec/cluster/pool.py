"""What the pools of all engines have in common, as users and scopes see them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any, Self

from .._loops.adapter import LoopAdapter
from .._pools.process.worker_spec import make_spec
from .._rules.arguments import seconds, text, whole
from ..abc import Capabilities, ProcessBackend
from ..errors import PoolClosed
from . import wire
from .actor_seat import ActorSeat
from .engine import Engine
from .hub import Hub, HubOptions
from .lane import ClusterLane
from .node import ClusterNode
from .way_back import refuse_local

POLL = 0.005
"""Seconds between two checks whether a closing pool still has tasks."""


class ClusterPool(ProcessBackend):
    """Process workers on the nodes of a cluster; the base of the pools of all engines. For arguments see `DaskPool`.

    Attributes:
        grace: seconds between requesting a running task to stop and killing its worker.
        lease: seconds that tasks may run on at a node which hears nothing of this program.
    """

    capabilities = Capabilities(coroutines=True, streams=True, interrupt=True, kill=True, copies=True, isolated=True)

    def __init__(
        self,
        engine: Engine,
        pool_id: str,
        *,
        max_workers: int | None,
        min_workers: int,
        idle_timeout: float | None,
        grace: float,
        lease: float,
        drain: float,
        start_timeout: float | None,
        env: dict[str, str] | None,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks_per_worker: int | None,
        name: str | None,
    ) -> None:
        spec = make_spec(
            max_workers, initializer, initargs, max_tasks_per_worker, None, idle_timeout, env, start_timeout
        )
        refuse_local(spec.shared, "which the initializer uses")
        min_workers = whole("min_workers", min_workers, 0)
        if max_workers is not None:
            max_workers = spec.max_workers
        if max_workers is not None and min_workers > max_workers:
            raise ValueError(f"min_workers={min_workers} is more than max_workers={max_workers}")
        numbers = {"grace": grace, "drain": drain, "lease": lease}
        grace, drain, lease = (seconds(option, number, optional=False) for option, number in numbers.items())
        if lease < 3 * wire.HEARTBEAT:
            raise ValueError(f"lease must be at least {3 * wire.HEARTBEAT:g} s, three heartbeats, got {lease}")
        self.grace = grace
        self.lease = lease
        self.name = text(name)
        self._limit = max_workers
        self._closed = False
        self._lock = threading.Lock()
        self._lanes: dict[LoopAdapter, ClusterLane] = {}
        self._alone: set[ClusterLane] = set()
        self._lane_names = (f"{pool_id}.{number}" for number in count())
        options = {
            "initializer": spec.initializer,
            "shared": [shared.token for shared in spec.shared],
            "max_tasks_per_worker": spec.max_tasks,
            "grace": grace,
            "idle_timeout": spec.idle_timeout,
            "env": spec.env,
        }
        hello = {"versions": wire.versions(), "lease": lease, "drain": drain, "options": options}
        silence = wire.silence_max(lease, grace)
        hub_options = HubOptions(
            max_workers, min_workers, spec.idle_timeout, start_timeout, silence, hello, spec.shared
        )
        self._hub = Hub(engine, hub_options, self._all_lanes)

    # -- what users and scopes see

    @property
    def max_workers(self) -> int:  # type: ignore[override]
        """How many tasks it can run at the same time now; grows and shrinks with the cluster."""
        slots = sum([lane.slots() for lane in list(self._lanes.values())])
        threads = self._hub.threads
        return max(1, slots, threads if self._limit is None else min(threads, self._limit))

    @property
    def closed(self) -> bool:
        """Whether it takes no more work."""
        return self._closed

    def describe(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{name} max_workers={self.max_workers}{' closed' if self._closed else ''}>"

    def nodes(self) -> list[ClusterNode]:
        """Return the nodes that work for this program, in any thread; one entry for each node and event loop."""
        lanes = [*self._lanes.values(), *self._alone]
        return [node.describe(self.lease) for lane in lanes for node in list(lane.nodes.values()) if not node.gone]

    def lane(self, adapter: LoopAdapter) -> ClusterLane:
        """Return this pool as the loop of `adapter` sees it.

        Raises:
            PoolClosed: the pool is closed.
        """
        self.admit()
        lane = self._lanes.get(adapter)
        if lane is None:
            self._hub.start()
            with self._lock:
                lane = self._lanes.get(adapter)
                if lane is None:
                    lane = self._lanes[adapter] = ClusterLane(self, adapter, next(self._lane_names))
                    self._hub.add_lane(lane)
        return lane

    def _all_lanes(self) -> list[ClusterLane]:
        """Return the lanes of the loops that have not ended, and of actors; in any thread."""
        with self._lock:
            lanes = [*self._lanes.values(), *self._alone]
        for lane in lanes:
            if lane.adapter.ended():
                self.lane_ended(lane)
        return [lane for lane in lanes if not lane.adapter.ended()]

    # -- what lanes need

    def admit(self) -> None:
        if self._closed:
            raise PoolClosed(self.describe())

    def want_seats(self, lane: ClusterLane) -> None:
        self._hub.want_seats(lane)

    def lane_ended(self, lane: ClusterLane) -> None:
        if self._forget(lane):
            self._hub.drop_lane(lane)

    def _forget(self, lane: ClusterLane) -> bool:
        with self._lock:
            if lane in self._alone:
                self._alone.remove(lane)
                return True
            return self._lanes.pop(lane.adapter, None) is not None

    # -- actors

    def alone(self, name: str, grace: float | None) -> ActorSeat:
        """Return a backend of one seat, whose worker holds an actor until it is closed."""
        return ActorSeat(self, f"{name} on {self.describe()}", self.grace if grace is None else grace)

    def add_alone(self, adapter: LoopAdapter, options: dict[str, Any]) -> ClusterLane:
        """Return a lane of one seat; its options of the gate differ in `options`.

        Raises:
            PoolClosed: the pool is closed.
        """
        self.admit()
        self._hub.start()
        with self._lock:
            lane = ClusterLane(self, adapter, next(self._lane_names), options)
            self._alone.add(lane)
        return lane

    def end_alone(self, lane: ClusterLane) -> Future[None]:
        """Let the node of an actor go; it is done when nothing of it runs there."""
        self._forget(lane)
        return self._hub.drop_lane(lane)

    # -- the end

    def is_busy(self) -> bool:
        """Tell whether tasks wait or run in the pool, as far as it can be seen from this thread."""
        return any(lane.has_tasks() for lane in self._all_lanes())

    def close(self) -> None:
        """Refuse new work and let the nodes go. Does nothing if it is closed.

        Raises:
            RuntimeError: tasks still run in this pool; leave their scopes first, or use `aclose`. Or the event loop of
                this thread is that of the `distributed.Client`, and must not block.
        """
        if self.is_busy():
            raise RuntimeError(f"{self!r} still runs tasks: leave their scopes before closing it, or await aclose()")
        self._hub.engine.check_blocking()
        self._closed = True
        self._stop()

    def _stop(self) -> None:
        self._hub.stop(PoolClosed(self.describe()))

    async def aclose(self) -> None:
        """Refuse new work, wait for the tasks that are here, then let the nodes go.

        Cancelling it ends the waiting: what still runs is stopped at the nodes and fails with `NodeLost`, and what
        waits for a node fails with `PoolClosed`.
        """
        import anyio

        self._closed = True
        try:
            while self.is_busy():  # noqa: ASYNC110  the tasks may be those of other loops and threads
                await anyio.sleep(POLL)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._stop)

    def __enter__(self) -> Self:
        self._hub.engine.check_blocking()
        try:
            self._hub.start().result()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: object, exc: object, tb: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        import anyio

        started = self._hub.start()
        try:
            await anyio.to_thread.run_sync(started.exception, abandon_on_cancel=True)
            started.result()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._stop)
            raise
        return self

    async def __aexit__(self, kind: object, exc: object, tb: object) -> None:
        await self.aclose()
