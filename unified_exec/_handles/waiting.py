"""Waiting for many tasks: for all of them, or for each as it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

from .._loops.current import current_adapter
from .handle import TaskHandle
from .validation import check_handles

T = TypeVar("T")


async def gather(handles: tuple[TaskHandle[T], ...]) -> list[T]:
    """Wait for all handles; see `TaskScope.gather`."""
    check_handles("gather(*handles)", handles, TaskHandle)
    values: list[T] = []
    handle: TaskHandle[T] | None = None
    try:
        for handle in handles:
            values.append(await handle)  # not a comprehension: before 3.12 its frame keeps a reference
        return values
    finally:
        del handles, handle, values  # no cycle from a failure over its traceback to this frame


async def as_completed(handles: Iterable[TaskHandle[T]]) -> AsyncIterator[TaskHandle[T]]:
    """Yield the handles as their tasks end; see `TaskScope.as_completed`."""
    each = list(dict.fromkeys(handles))
    check_handles("as_completed(handles)", each, TaskHandle)
    adapter = current_adapter()
    ended: deque[TaskHandle[T]] = deque()
    left = len(each)
    waiter: Any = None

    def note(handle: TaskHandle[T]) -> None:
        ended.append(handle)
        if waiter is not None:
            waiter.wake()

    for handle in each:
        handle.check_loop()
    for handle in each:
        handle.when_done(lambda handle=handle: note(handle))  # type: ignore[misc]
    while left:
        while not ended:
            waiter = adapter.waiter()
            await waiter
        waiter = None
        while ended:
            left -= 1
            yield ended.popleft()
