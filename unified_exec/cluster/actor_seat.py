"""One seat on some node of a cluster, whose worker holds an actor."""

from __future__ import annotations

from concurrent.futures import Future, wait
from typing import Any, Protocol

from .._loops.adapter import LoopAdapter
from ..abc import Capabilities, ProcessBackend
from ..errors import PoolClosed
from .lane import ClusterLane

POLL = 0.005
"""Seconds between two checks whether the calls of an actor that ends have ended."""


class Seats(Protocol):
    """What a seat needs of its pool."""

    capabilities: Capabilities

    def add_alone(self, adapter: LoopAdapter, options: dict[str, Any]) -> ClusterLane:
        """Return a lane of one seat; its options of the gate differ in `options`."""

    def end_alone(self, lane: ClusterLane) -> Future[None]:
        """Let the node of an actor go; it is done when nothing of it runs there."""


class ActorSeat(ProcessBackend):
    """The backend of one actor. One event loop uses it.

    Args:
        pool: the pool of the cluster.
        name: shown in errors.
        grace: seconds between requesting a call to stop and killing the worker.
    """

    max_workers = 1

    def __init__(self, pool: Seats, name: str, grace: float) -> None:
        self.capabilities = pool.capabilities
        self.grace = grace
        self._pool = pool
        self._name = name
        self._lane: ClusterLane | None = None
        self._closed = False

    def describe(self) -> str:
        return f"<seat {self._name}{' closed' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed

    def lane(self, adapter: LoopAdapter) -> ClusterLane:
        """Return the seat's lane, which is that of one loop.

        Raises:
            PoolClosed: the seat or the pool is closed.
        """
        if self._closed:
            raise PoolClosed(self.describe())
        if self._lane is None:
            options = {"grace": self.grace, "idle_timeout": None, "max_tasks_per_worker": None, "alone": True}
            self._lane = self._pool.add_alone(adapter, options)
        return self._lane

    def kill(self) -> None:
        """Stop what still runs: it is requested to, and killed after the grace. What waits for a node fails."""
        if self._lane is not None:
            self._lane.fail_waiting(PoolClosed(self.describe()))
            tasks = [task for node in self._lane.nodes.values() for task in node.tasks.values()]
            self._lane.cancel(tasks, "its actor has ended")

    def close(self) -> None:
        """Give the seat back."""
        self._end()

    async def aclose(self) -> None:
        """Wait for the calls that are here, then for the node to tell that nothing of the actor is there any more."""
        import anyio

        while self._lane is not None and self._lane.has_tasks():  # noqa: ASYNC110
            await anyio.sleep(POLL)
        ended = self._end()
        if ended is not None:
            await anyio.to_thread.run_sync(wait, (ended,))

    def _end(self) -> Future[None] | None:
        self._closed = True
        lane, self._lane = self._lane, None
        return None if lane is None else self._pool.end_alone(lane)
