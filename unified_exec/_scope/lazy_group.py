"""An anyio task group that can be created before there is an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.abc import TaskGroup

if TYPE_CHECKING:
    from contextvars import Context

    from anyio import CancelScope

T = TypeVar("T")


class LazyTaskGroup(TaskGroup):
    """anyio's own verbs of a `TaskScope`: they behave as those of the task group inside, which is made at first use.

    Attributes:
        started_plainly: they have started a task.
    """

    started_plainly = False

    def __init__(self) -> None:
        self._group: TaskGroup | None = None

    def _task_group(self) -> TaskGroup:
        if self._group is None:
            self._group = anyio.create_task_group()
        return self._group

    @property
    def cancel_scope(self) -> CancelScope:  # type: ignore[override]
        """The anyio cancel scope around the whole block."""
        return self._task_group().cancel_scope

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None
    ) -> anyio.TaskHandle[T]:
        """Start a coroutine object as a task; see `anyio.abc.TaskGroup.create_task`."""
        self.started_plainly = True
        return self._task_group().create_task(coro, name=name, context=context)

    async def start(self, func: Callable[..., Coroutine[Any, Any, Any]], *args: object, **options: Any) -> Any:
        """Start a task and wait until it says it is ready; see `anyio.abc.TaskGroup.start`."""
        self.started_plainly = True
        return await self._task_group().start(func, *args, **options)
