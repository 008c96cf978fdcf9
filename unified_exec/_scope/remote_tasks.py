"""The tasks of a scope that run outside of the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from .._handles.handle import TaskHandle
from .._loops.adapter import LoopAdapter, Waiter
from .._loops.callbacks import create_task
from .._tasks.task import Task
from ..abc import Backend, Lane


class RemoteTasks:
    """The thread and process tasks of one scope.

    A single coroutine in the scope's task group represents all of them: it ends after the last one, and what cancels
    the group cancels them through it.

    Args:
        adapter: the event loop.
        group: the task group of the scope.
        reason: tells why the scope cancels its tasks.

    Attributes:
        tasks: those that have not ended, each with the lane it was submitted to.
        draining: they have been cancelled, so nothing more is submitted.
    """

    __slots__ = ("_adapter", "_group", "_lanes", "_leaving", "_reason", "_waiter", "_watched", "draining", "tasks")

    def __init__(self, adapter: LoopAdapter, group: TaskGroup, reason: Callable[[], str]) -> None:
        self._adapter = adapter
        self._group = group
        self._reason = reason
        self._lanes: dict[Backend, Lane] = {}
        self._waiter: Waiter | None = None
        self._watched = False
        self._leaving = False
        self.tasks: dict[TaskHandle[Any], Lane] = {}
        self.draining = False

    def submit(self, handle: TaskHandle[Any], backend: Backend) -> None:
        """Submit a task to its pool.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the call cannot travel.
        """
        lane = self._lanes.get(backend)
        if lane is None:
            for other in [other for other in self._lanes if other.closed]:
                del self._lanes[other]
            lane = self._lanes[backend] = backend.lane(self._adapter)
        if not self._watched:  # first: without the watching coroutine the task would be an orphan
            self._watched = True
            create_task(self._group, self._watch(), "unified_exec remote tasks")
        if handle.plan is not None:
            from .retrying import RetryingLane  # loaded with the first retry or limit

            lane = RetryingLane(handle, handle.plan, lane, self._adapter)
        lane.submit(handle)
        if handle.outcome is None:
            self.tasks[handle] = lane

    def cancel_all(self, reason: str | None) -> None:
        """Cancel all tasks on behalf of the scope."""
        by_lane: dict[Lane, list[Task]] = {}
        for handle, lane in self.tasks.items():
            handle.note_scope_cancel(reason)
            by_lane.setdefault(lane, []).append(handle)
        for lane, tasks in by_lane.items():
            lane.cancel(tasks, reason)

    def leave(self) -> None:
        """The body has ended: the watching coroutine ends with the last task."""
        self._leaving = True
        self.on_idle()

    def on_idle(self) -> None:
        """Called after tasks have ended."""
        if not self.tasks and (self._leaving or self.draining) and self._waiter is not None:
            self._waiter.wake()

    async def _watch(self) -> None:
        try:
            while not (self._leaving and not self.tasks):
                self._waiter = self._adapter.waiter()
                await self._waiter
            # The last task may have ended before this coroutine had its first turn.
            await checkpoint_if_cancelled()
        except BaseException:
            self.draining = True
            try:
                self.cancel_all(self._reason())
            finally:
                await self.drain()
            raise
        finally:
            self._waiter = None
            self._watched = self.draining = False

    async def drain(self) -> None:
        """Wait for the last task; a cancellation of the waiting coroutine is raised after that.

        The shield has no deadline: a scope never exits before its tasks have ended (the law, clause 1), unless Ctrl-C
        is pressed again and again.
        """
        cancelled: BaseException | None = None
        end_counting = self._adapter.on_second_ctrl_c(self._abandon)
        try:
            cancelled = await self._wait_shielded()
        finally:
            end_counting()
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled

    async def _wait_shielded(self) -> BaseException | None:
        cancelled: BaseException | None = None
        with anyio.CancelScope(shield=True):
            while self.tasks:
                self.draining = True
                self._waiter = self._adapter.waiter()
                try:
                    await self._waiter
                except anyio.get_cancelled_exc_class() as exc:  # by asyncio itself, which ignores shields
                    cancelled = exc
        return cancelled

    def _abandon(self) -> None:
        for handle, lane in list(self.tasks.items()):
            lane.abandon(handle)
