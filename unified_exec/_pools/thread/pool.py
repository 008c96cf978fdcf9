"""Blocking calls in threads: the pool as its users see it. What runs them is imported with the first pool."""

from __future__ import annotations

import weakref
from _thread import allocate_lock
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..._rules.arguments import whole
from ..._tasks.current import current
from ..._tasks.fork_lock import in_forked_child
from ..._tasks.weak_sets import members
from ...abc import Backend, Capabilities
from ...errors import PoolClosed

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter
    from .lane import ThreadLane

MAX_WORKERS = 40

_pools: weakref.WeakSet[ThreadPool] = weakref.WeakSet()


def thread_pools() -> list[ThreadPool]:
    """The thread pools of this process. From any thread."""
    return members(_pools)


class ThreadPool(Backend):
    """Threads for blocking calls; any number of event loops and scopes may share a pool.

    Threads are started when needed, and exit when they were idle for ten seconds. They are daemon threads: the end of
    the program does not wait for them. Scopes take turns. A task that was spawned from inside a thread task never waits
    for a thread that its parent holds: such tasks, and the first of each event loop, run beyond `max_workers`.

    Args:
        max_workers: how many tasks run at the same time; 40 by default.
        name: shown in errors and in the names of the threads.
        interruptible: every task of this pool may be interrupted when it is cancelled, as with ``interrupt=True``.

    Raises:
        TypeError, ValueError: `max_workers` is not a whole number above 0.

    Example::

        import anyio
        from pathlib import Path
        from unified_exec import TaskScope, ThreadPool

        async def main():
            async with ThreadPool(4) as pool, TaskScope(threads=pool) as scope:
                print(await scope.spawn(Path(__file__).read_text))

        anyio.run(main)
    """

    kind = "thread"
    capabilities = Capabilities(interrupt=True, abandon=True, streams=True)
    closed = False  # no property: it is read on each spawn

    def __init__(self, max_workers: int | None = None, *, name: str | None = None, interruptible: bool = False) -> None:
        from .scheduler import Scheduler

        max_workers = MAX_WORKERS if max_workers is None else whole("max_workers", max_workers, instead="None")
        self.max_workers = max_workers
        self.name = f"thread pool {name!r}" if name else "the thread pool"
        self.interruptible = interruptible
        self._scheduler = Scheduler(max_workers, f"unified_exec {name or 'thread'}")
        self._lanes: dict[LoopAdapter, ThreadLane] = {}
        _pools.add(self)

    def lane(self, adapter: LoopAdapter) -> ThreadLane:
        scheduler = self._scheduler
        if scheduler.closed:
            raise PoolClosed(self.name)
        lane = self._lanes.get(adapter)
        if lane is None:
            from .lane import ThreadLane
            from .queues import ENDED

            made = ThreadLane(scheduler, adapter, self.name, self.interruptible, self._forget)
            with scheduler.lock:
                scheduler.queue_inbox()
                for known in list(self._lanes):  # loops that end take their lanes away at any moment, without the lock
                    left = self._lanes.pop(known, None) if known.ended() else None
                    for call in left.calls.drain() if left is not None else ():
                        call.state = ENDED
                lane = self._lanes.setdefault(adapter, made)
        return lane

    def _forget(self, adapter: LoopAdapter, default: None) -> object:
        return self._lanes.pop(adapter, default)

    # --- closing ---

    def close(self, *, wait: bool = True) -> None:
        """Take no more tasks, and wait for those the pool has unless told not to; abandoned ones are not waited for.

        Args:
            wait: return when the last thread has exited.

        Raises:
            RuntimeError: called from inside a task of this pool, or in the thread of an event loop whose tasks
                still run here; there `await pool.aclose()` waits without blocking the loop.
        """
        if not wait:
            self._close(None)
            return
        self._check_closable()
        ended = allocate_lock()
        ended.acquire()
        if self._close(ended.release):
            ended.acquire()

    async def aclose(self) -> None:
        """Like `close`, without blocking the event loop. When cancelled it stops waiting; the pool stays closed."""
        from ..._loops.current import current_adapter

        adapter = current_adapter()
        waiter = adapter.waiter()
        if self._close(lambda: adapter.call_threadsafe(waiter.wake)):
            await waiter

    def _close(self, on_end: Callable[[], object] | None) -> bool:
        self.closed = True
        return self._scheduler.close(on_end)

    def _check_closable(self) -> None:
        from .call import ThreadCall
        from .queues import RUNNING

        scheduler, call = self._scheduler, current.get()
        if isinstance(call, ThreadCall) and call.lock is scheduler.lock and call.state == RUNNING:
            raise RuntimeError(f"{self.name} cannot be closed by one of its own tasks: it would wait for itself")
        with scheduler.lock:
            scheduler.queue_inbox()
        for adapter, lane in list(self._lanes.items()):
            if (lane.running or len(lane.calls)) and not adapter.ended() and not adapter.elsewhere():
                raise RuntimeError(f"{self.name} still runs tasks of this event loop: use `await pool.aclose()`")

    def __enter__(self) -> ThreadPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> ThreadPool:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def counts(self) -> tuple[int, int, int]:
        """How many of its threads are busy, how many there are, and how many calls are queued; from any thread."""
        scheduler = self._scheduler
        queued = sum(len(lane.calls) for lane in list(self._lanes.values())) + len(scheduler.inbox)
        return scheduler.queues.busy, scheduler.threads, queued

    def describe(self) -> str:
        state = "closed" if self.closed else f"{self._scheduler.queues.busy} of {self.max_workers} busy"
        return f"<ThreadPool: {self.name}, {state}>"


@in_forked_child
def _after_fork() -> None:
    for pool in _pools:
        pool._lanes = {}
