"""The pool as its users see it: what it is made of, how it admits work, and how it ends."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..._loops.adapter import LoopAdapter
from ..._platform import cpu_count
from ..._wire.protocol import STARTING
from ...abc import Capabilities
from ...errors import PoolClosed
from . import pool_options, shutdown
from .lane import ProcessLane
from .shutdown import IdleCheck, dismiss_all, drop, has_tasks, wait_for
from .worker import Worker
from .worker_registry import WorkerRegistry
from .worker_spec import hire

IDLE_TIMEOUT = 60.0

_pools: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


class ProcessPool(WorkerRegistry):
    """Worker processes that any number of scopes and event loops share.

    Workers are started when work comes and stay warm from scope to scope and from one event loop to the next.

    Args:
        max_workers: how many worker processes at most; by default the cores this process may use. An event loop
            that has work owns at least one worker, also if the others have them all.
        initializer: called in each new worker before its first task; if it fails, the waiting tasks fail with
            `WorkerStartError`.
        initargs: arguments of the initializer.
        max_tasks_per_worker: replace a worker after so many tasks.
        max_worker_memory: replace a worker that holds more resident memory (bytes) than this after a task.
        idle_timeout: seconds after which a worker without work ends; ``None`` for never.
        grace: seconds between asking a running task to stop and killing its worker.
        env: environment variables to set in the workers, on top of this process's own.
        name: shown in errors.

    Raises:
        ValueError: a number is out of its range.
        SerializationError: the initializer or its arguments cannot travel.

    Example::

        import anyio
        from unified_exec import ProcessPool, TaskScope

        async def main():
            async with ProcessPool(max_workers=2) as pool, TaskScope(processes=pool) as scope:
                total = scope.spawn(sum, range(1000), on="process")
                print(await total)

        anyio.run(main)
    """

    kind = "process"
    capabilities = Capabilities(coroutines=True, streams=True, interrupt=True, kill=True, copies=True, isolated=True)

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_worker: int | None = None,
        max_worker_memory: int | None = None,
        idle_timeout: float | None = IDLE_TIMEOUT,
        grace: float = 1.0,
        env: dict[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        pool_options.check(max_workers, max_tasks_per_worker, max_worker_memory, idle_timeout, grace)
        self.cores = cpu_count.cpu_count()
        self.max_workers = max_workers or self.cores
        self.grace = grace
        self.name = name
        self._env = dict(env or {})
        self._idle_timeout = idle_timeout
        self._max_tasks = max_tasks_per_worker
        self._max_memory = max_worker_memory
        self._initializer: bytes | None = None
        if initializer is not None:
            self._initializer = pool_options.encode_initializer(initializer, initargs)
        super().__init__()
        _pools.add(self)
        weakref.finalize(self, drop, self._workers, repr(self)).atexit = False

    def _reset(self) -> None:
        super()._reset()
        self._closed = False
        self._asking: set[IdleCheck] = set()
        self.guarded = False  # closed, or about to be: whoever brings work asks `admit`

    def describe(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<ProcessPool{name} max_workers={self.max_workers}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """It takes no more work."""
        return self._closed

    def admit(self) -> None:
        """Let work in; who is about to close the pool will not.

        Raises:
            PoolClosed: the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise PoolClosed(repr(self))
            for confirmation in self._asking:
                confirmation.refused = True

    def refuse_work(self) -> None:
        """From now on nothing is admitted."""
        self._closed = self.guarded = True

    # -- work comes

    def lane(self, port: LoopAdapter) -> ProcessLane:
        """Return this pool as the loop behind `port` sees it.

        Raises:
            PoolClosed: the pool is closed.
        """
        if self.guarded:
            self.admit()
        lane = self._lanes.get(port)
        if lane is None:
            port.check_readers()
            with self._lock:
                lane = self._lanes.get(port)
                if lane is None:
                    lane = self._lanes[port] = ProcessLane(self, port)
                    port.on_end(lane.loop_ended)
        return lane

    def _hire(self, coroutines: bool) -> Worker:
        return hire(self, coroutines)

    # -- the end

    def close(self) -> None:
        """Refuse new work, let idle workers end and wait for them. Does nothing if it is closed.

        Raises:
            RuntimeError: tasks still run in this pool; leave their scopes first, or use `aclose`.
        """
        if self._busy() or not self._close_if_idle():
            raise RuntimeError(f"{self!r} still runs tasks: leave their scopes before closing it, or await aclose()")
        wait_for(dismiss_all(self), self.grace)

    def _close_if_idle(self) -> bool:
        """Close the pool unless a loop has tasks in it, or one gets some before all have answered."""
        confirmation = IdleCheck(self)
        with self._lock:
            self._asking.add(confirmation)
            self.guarded = True
        try:
            confirmation.ask()
            while confirmation.is_due():
                time.sleep(0.0005)
            with self._lock:
                idle = confirmation.is_idle()
                self._closed = self._closed or idle
            return idle
        finally:
            with self._lock:
                self._asking.discard(confirmation)
                self.guarded = self._closed or bool(self._asking)

    async def aclose(self) -> None:
        """Refuse new work, wait for the tasks that are here, then end the workers.

        Cancelling it ends the waiting: the workers are killed then, and what still runs fails with `WorkerCrashed`.
        """
        import anyio

        self.refuse_work()
        try:
            idle = False
            while not idle:
                while self._busy():  # noqa: ASYNC110  the tasks may be those of other loops and threads
                    await anyio.sleep(0.005)
                confirmation = IdleCheck(self)
                confirmation.ask()
                while confirmation.is_due():  # noqa: ASYNC110  as above
                    await anyio.sleep(0.0005)
                idle = confirmation.is_idle()
        finally:
            workers = dismiss_all(self)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(wait_for, workers, self.grace)

    def end(self, port: LoopAdapter, tell: Callable[[], object]) -> None:
        """Refuse new work and end the workers without blocking, in the thread of the one loop that uses the pool.

        Its tasks must have ended. When the last worker is gone, `tell()` is called in that thread.
        """
        self.refuse_work()
        with self._lock:
            free, self._free = self._free, []
            lane = self._lanes.get(port)
            mine = [worker for crew in lane.crews for worker in crew.workers] if lane is not None else []
            self._when_gone.append(lambda: port.call_soon(tell))
        for worker in free:
            worker.reap_worker()
            self.forget(worker)
        for worker in mine:
            if worker.end.state == STARTING:
                worker.kill()  # its initializer may take long
            worker.dismiss()

        def lose_patience() -> None:
            for worker in mine:
                worker.kill()

        timer = port.call_later(self.grace, lose_patience)
        with self._lock:
            self._when_gone += (timer.cancel, lambda: self._lanes.pop(port, None))
            gone = self._take_when_gone()
        for tell_one in gone:
            tell_one()

    def _busy(self) -> bool:
        with self._lock:
            self._sweep()
            lanes = list(self._lanes.values())
        return any(has_tasks(lane) for lane in lanes)

    def kill(self) -> None:
        """End every worker at once."""
        for worker in list(self._workers):
            worker.kill()

    def after_fork(self) -> None:
        """In a forked child: the workers are the parent's. Close our copies of their sockets and start afresh."""
        for worker in self._workers:
            worker.asked.clear()  # timers of a loop that is the parent's
            worker.close()
        self._reset()

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> ProcessPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()


@atexit.register
def _kill_all() -> None:
    for pool in list(_pools):
        pool.kill()


def _after_fork() -> None:
    shutdown.after_fork()
    for pool in list(_pools):
        pool.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
