"""What the parts of a scope need of it: maps, streams and ``on="auto"`` use a scope only through `Launcher`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sized
from typing import Any, Protocol

from ..abc import Backend
from .handle import TaskHandle, TaskOwner
from .open_scopes import ScopePart


class Launcher(TaskOwner, Protocol):
    """An open scope, as far as its parts use it. Every method is called in the thread of the scope's event loop."""

    @property
    def thread(self) -> int:
        """The thread of its event loop."""

    @property
    def remote_tasks(self) -> Sized:
        """The thread and process tasks of the scope that have not ended."""

    def default_priority(self) -> int:
        """Return the priority of a task that the calling code spawns without one."""

    def resolve(self, fn: Callable[..., Any], on: object) -> tuple[str, Backend | None]:
        """Return where a call runs, by name, and its pool; ``None`` for the event loop.

        Raises:
            TypeError: `fn` is not a function, or cannot run there.
            ValueError: `on` is not a valid target.
        """

    def thread_pool(self) -> Backend:
        """The pool of the scope for ``on="thread"``."""

    def process_pool(self) -> Backend:
        """The pool of the scope for ``on="process"``."""

    def launch(self, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> TaskHandle[Any]:
        """Start a task that was made for this scope.

        Args:
            handle: the task.
            backend: the pool it runs in, ``None`` for the event loop.
            timeout: the task's own timeout in seconds, ``None`` for none.

        Raises:
            PoolClosed: the pool takes no more work.
            SerializationError: the call cannot travel.
        """

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: object = None) -> object:
        """Start a coroutine as a task of the scope's own, which no policy sees; see `anyio.abc.TaskGroup`."""

    def fail(self, error: BaseException) -> None:
        """Cancel everything in the scope, which raises `error` in the end."""

    def awaits_new_tasks(self) -> bool:
        """Tell whether the scope is sure to wait for a task that is started now, by code that is not one of its own."""

    def attach(self, part: ScopePart) -> None:
        """Tell `part` when the scope has exited."""

    def detach(self, part: ScopePart) -> None:
        """Forget `part`: it has ended before the scope."""
