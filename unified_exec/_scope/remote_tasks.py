"""The tasks of a scope that run outside of the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from .._handles.handle import TaskHandle
from .._loops.adapter import LoopAdapter, Waiter
from .._tasks.task import Task
from ..abc import Backend, Lane

if TYPE_CHECKING:
    from .scope import TaskScope


class RemoteTasks:
    """One coroutine stands in the scope's task group for all its thread and process tasks: it ends after the last
    of them, and what cancels the group reaches them through it.

    Attributes:
        tasks: those that have not ended, each with the lane it was given to.
        draining: a cancellation has reached them: what comes now is too late.
    """

    __slots__ = ("_lanes", "_leaving", "_port", "_quiet", "_running", "_scope", "draining", "tasks")

    def __init__(self, scope: TaskScope) -> None:
        self._scope = scope
        self._port: LoopAdapter | None = None
        self._lanes: dict[object, Lane] = {}
        self._quiet: Waiter | None = None
        self._running = False
        self._leaving = False
        self.tasks: dict[TaskHandle[Any], Lane] = {}
        self.draining = False

    def submit(self, handle: TaskHandle[Any], backend: Backend, port: LoopAdapter) -> None:
        """Hand a task to its pool.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the call cannot travel.
        """
        lane = self._lanes.get(backend)
        if lane is None:
            lane = self._lanes[backend] = backend.lane(port)
        if not self._running:  # first: a task that nobody stands for would be an orphan
            self._port = port
            self._running = True
            self._scope.start_soon(self._watch, name="unified_exec supervisor")
        if handle.plan is not None:
            from .retrying import Attempts

            lane = Attempts(handle, lane, port)
        lane.submit(handle)
        if handle.outcome is None:
            self.tasks[handle] = lane

    def stop(self, reason: str | None) -> None:
        """Ask all tasks to stop, for the scope's sake."""
        by_lane: dict[Lane, list[Task]] = {}
        for handle, lane in self.tasks.items():
            handle.stopped_by_scope(reason)
            by_lane.setdefault(lane, []).append(handle)
        for lane, tasks in by_lane.items():
            lane.cancel(tasks, reason)

    def leave(self) -> None:
        """The body has ended: end the watch with the last task."""
        self._leaving = True
        self.note_end()

    def note_end(self) -> None:
        """Called after tasks have ended."""
        if not self.tasks and (self._leaving or self.draining) and self._quiet is not None:
            self._quiet.wake()

    async def _watch(self) -> None:
        assert self._port is not None
        try:
            while not (self._leaving and not self.tasks):
                self._quiet = self._port.waiter()
                await self._quiet
        except BaseException:
            self.draining = True
            try:
                self.stop(self._scope.reason())
            finally:
                await self.drain()
            raise
        finally:
            self._quiet = None
            self._running = self.draining = False

    async def drain(self) -> None:
        """Wait for the last task, whatever else is asked of the waiting coroutine meanwhile."""
        assert self._port is not None
        asked: BaseException | None = None
        with anyio.CancelScope(shield=True):
            while self.tasks:
                self.draining = True
                self._quiet = self._port.waiter()
                try:
                    await self._quiet
                except anyio.get_cancelled_exc_class() as exc:  # asyncio's own, which no shield keeps off
                    asked = exc
        if asked is not None:
            try:
                raise asked
            finally:
                del asked
