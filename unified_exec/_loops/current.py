"""The adapter of the running event loop.

asyncio and trio are imported when one of them runs: importing this package must not import them.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any
from weakref import WeakSet

from .._tasks.fork_lock import in_forked_child
from .._tasks.loaded import loaded
from .._tasks.weak_sets import members
from .adapter import LoopAdapter

_asyncio_adapters: dict[Any, LoopAdapter] = {}
_lock = allocate_lock()
_all: WeakSet[LoopAdapter] = WeakSet()
_trio_adapters: Any = None  # a trio.lowlevel.RunVar[TrioAdapter]


def current_adapter() -> LoopAdapter:
    """Return the adapter of the running event loop; always the same one for one run.

    Raises:
        RuntimeError: no asyncio or trio event loop runs in this thread.
    """
    asyncio = loaded("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        return _current_trio_adapter()
    adapter = _asyncio_adapters.get(loop)
    if adapter is None:
        from .asyncio_loop import AsyncioAdapter

        with _lock:
            for other in [known for known in _asyncio_adapters if known.is_closed()]:
                del _asyncio_adapters[other]
            adapter = _asyncio_adapters[loop] = AsyncioAdapter(loop, _asyncio_adapters.pop)
            _all.add(adapter)
    return adapter


def _current_trio_adapter() -> LoopAdapter:
    global _trio_adapters
    trio = loaded("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        raise RuntimeError("no event loop is running: call this from inside anyio.run(...) or asyncio.run(...)")
    if _trio_adapters is None:
        _trio_adapters = trio.lowlevel.RunVar("unified_exec_adapter")
    adapter: LoopAdapter | None = _trio_adapters.get(None)
    if adapter is None:
        from .trio_loop import TrioAdapter

        adapter = TrioAdapter()
        _trio_adapters.set(adapter)
        _all.add(adapter)
    return adapter


def running_adapters() -> list[LoopAdapter]:
    """Return the adapters of the event loops that have not ended, from any thread."""
    return [adapter for adapter in members(_all) if not adapter.ended()]


def native_cancels() -> tuple[int, int] | None:
    """Return the id of the running asyncio task and how often it was cancelled so far, all of which it has been told;
    ``None`` if it has not yet, and on other loops."""
    current_task = getattr(loaded("asyncio"), "current_task", None)
    try:
        task = None if current_task is None else current_task()
    except RuntimeError:
        return None
    if task is None or getattr(task, "_must_cancel", True):
        return None
    return id(task), task.cancelling()  # the id: the caller keeps it, and must not keep the task


@in_forked_child
def _after_fork() -> None:
    global _lock
    _lock = allocate_lock()
