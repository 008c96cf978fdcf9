"""What anyio does only in a task, for callbacks of asyncio too: if sniffio is installed and `anyio.run` has not started
the loop, anyio does not know it there."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

import anyio
from anyio.abc import TaskGroup

from .._tasks.loaded import loaded


def loop_time() -> float:
    """Return the time of the event loop's clock."""
    asyncio = loaded("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    return anyio.current_time() if loop is None else float(loop.time())


def create_task(group: TaskGroup, coro: Coroutine[Any, Any, Any], name: object) -> Any:
    """Start a coroutine object as a task; see `anyio.abc.TaskGroup.create_task`."""
    try:
        return group.create_task(coro, name=name)
    except anyio.NoEventLoopError:
        sniffio = loaded("sniffio")
        if sniffio is None:
            raise
        context = copy_context()
        context.run(sniffio.current_async_library_cvar.set, "asyncio")
        return context.run(group.create_task, coro, name=name)
