"""The pool: which workers exist, which loop has them, and how they end."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..._rules import sizing
from ..._wire.protocol import STARTING
from ...errors import PoolClosed, WorkerStartError
from ..base import Backend, Capabilities
from ..ports import Port
from . import closing, options
from .closing import Confirmation, dismiss_all, drop, has_tasks, wait_for
from .crew import Crew
from .hiring import hire
from .lane import ProcessLane
from .worker import Worker

IDLE_TIMEOUT = 60.0

_pools: weakref.WeakSet[ProcessPool] = weakref.WeakSet()


class ProcessPool(Backend):
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
    capabilities = Capabilities(interrupt=True, kill=True, isolated=True, coroutines=True)

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
        options.check(max_workers, max_tasks_per_worker, max_worker_memory, idle_timeout, grace)
        self.max_workers = max_workers or sizing.cpu_count()
        self.grace = grace
        self.name = name
        self._env = dict(env or {})
        self._idle_timeout = idle_timeout
        self._max_tasks = max_tasks_per_worker
        self._max_memory = max_worker_memory
        self._initializer: bytes | None = None
        if initializer is not None:
            self._initializer = options.encode_initializer(initializer, initargs)
        self._workers: set[Worker] = set()  # one set for life: the finalizer holds it
        self._reset()
        _pools.add(self)
        weakref.finalize(self, drop, self._workers, repr(self)).atexit = False

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[Port, ProcessLane] = {}
        self._workers.clear()
        self._free: list[Worker] = []
        self.hungry: list[Crew] = []
        self._when_gone: list[Callable[[], object]] = []
        self.closed = False
        self.over = False  # closed, and nobody waits for the tasks any more

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<ProcessPool{name} max_workers={self.max_workers}{' closed' if self.closed else ''}>"

    # -- lanes and workers; crews call these in their loops' threads

    def lane(self, port: Port) -> ProcessLane:
        """Return this pool as the loop behind `port` sees it.

        Raises:
            PoolClosed: the pool is closed.
        """
        if self.closed:
            raise PoolClosed(repr(self))
        lane = self._lanes.get(port)
        if lane is None:
            with self._lock:
                lane = self._lanes.get(port)
                if lane is None:
                    lane = self._lanes[port] = ProcessLane(self, port)
                    port.on_end(lane.loop_ended)
        return lane

    def recruit(self, crew: Crew) -> Worker | None:
        """Find or start a worker for a crew; ``None`` if it must wait for one.

        Raises:
            WorkerStartError: no process could be started.
        """
        if self.over:
            raise WorkerStartError("its pool was closed")
        with self._lock:
            self._sweep()
            if crew.workers and self._lent(crew.coroutines) >= self.max_workers:
                if crew not in self.hungry:
                    self.hungry.append(crew)
                self._ask_others(crew)
                return None
            for worker in reversed(self._free):
                if worker.coroutines == crew.coroutines and worker.end.open:
                    self._free.remove(worker)
                    return worker
        return self._start(crew.coroutines)

    def _start(self, coroutines: bool) -> Worker:
        worker = hire(self, coroutines)
        with self._lock:
            self._workers.add(worker)
        return worker

    def start_spare(self, coroutines: bool) -> None:
        """Have one worker ready beside the others: one of those may soon be killed."""
        with self._lock:
            if self.closed or any(worker.coroutines == coroutines for worker in self._free):
                return
        try:
            worker = self._start(coroutines)
        except WorkerStartError:
            return  # whoever needs one will be told
        self._set_free(worker)

    def _set_free(self, worker: Worker) -> None:
        """Keep a worker for whoever needs one; bury it if the pool was ended meanwhile, for nobody else will."""
        with self._lock:
            if not self.over:
                self._free.append(worker)
                return
        worker.dismiss()
        wait_for([worker], self.grace)
        self.forget(worker)

    def _lent(self, coroutines: bool) -> int:
        """How many workers of a kind the crews have. A spare waits for one of those to be killed."""
        return sum(1 for worker in self._workers if worker.coroutines == coroutines and worker not in self._free)

    def too_many(self, crew: Crew) -> bool:
        return len(self._workers) > self.max_workers and self._lent(crew.coroutines) > self.max_workers

    def wants_some_of(self, crew: Crew) -> bool:
        """Tell whether a crew shall offer its idle workers."""
        if not self.hungry and len(self._workers) <= self.max_workers:
            return False
        if any(other is not crew and other.coroutines == crew.coroutines for other in self.hungry):
            return True
        return self.too_many(crew)

    def offer(self, crew: Crew, worker: Worker) -> None:
        """Take an idle worker from a crew: another loop waits for it, or there are too many."""
        if worker.tasks or worker not in crew.workers:
            return
        if self.too_many(crew) and not self.hungry:
            crew.idle.remove(worker)
            worker.dismiss()
            return
        if worker.end.open:
            crew.detach(worker)
            self._set_free(worker)
            with self._lock:
                waiting, self.hungry = self.hungry, []
            for other in waiting:
                other.port.call_threadsafe(other.pump)

    def _ask_others(self, crew: Crew) -> None:
        for port, lane in self._lanes.items():
            for other in lane.crews:
                if other is not crew and other.coroutines == crew.coroutines and other.idle:
                    port.call_threadsafe(other.pump)

    def forget(self, worker: Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
            if worker in self._free:
                self._free.remove(worker)
            waiting, self.hungry = self.hungry, []
            gone = self._take_when_gone()
        for crew in waiting:
            crew.port.call_threadsafe(crew.pump)
        for tell in gone:
            tell()

    def _take_when_gone(self) -> list[Callable[[], object]]:
        if self._workers:
            return []
        gone, self._when_gone = self._when_gone, []
        return gone

    def loop_ended(self, port: Port) -> None:
        with self._lock:
            self._release(port)

    def _sweep(self) -> None:
        """Free the workers of loops that have ended and bury the free ones that are dead. Under the lock."""
        for port in [port for port in self._lanes if port.ended()]:
            self._release(port)
        for worker in [worker for worker in self._free if worker.child.has_ended()]:
            self._free.remove(worker)
            self._workers.discard(worker)
            worker.bury()

    def _release(self, port: Port) -> None:
        lane = self._lanes.pop(port, None)
        for crew in lane.crews if lane is not None else ():
            for worker in list(crew.workers):
                crew.detach(worker)
                if worker.tasks:  # its loop ended without waiting: nobody is left to answer to
                    worker.abandon()
                self._free.append(worker)  # also one that ends just now: somebody must bury it

    # -- the end

    def close(self) -> None:
        """Refuse new work, let idle workers end and wait for them. Does nothing if it is closed.

        Raises:
            RuntimeError: tasks still run in this pool; leave their scopes first, or use `aclose`.
        """
        busy = self._busy()
        if not busy:
            before, self.closed = self.closed, True
            confirmation = Confirmation(self)
            while confirmation.is_due():
                time.sleep(0.0005)
            busy = not confirmation.is_idle()
            self.closed = before or not busy
        if busy:
            raise RuntimeError(f"{self!r} still runs tasks: leave their scopes before closing it, or await aclose()")
        wait_for(dismiss_all(self), self.grace)

    async def aclose(self) -> None:
        """Refuse new work, wait for the tasks that are here, then end the workers.

        Cancelling it ends the waiting: the workers are killed then, and what still runs fails with `WorkerCrashed`.
        """
        import anyio

        self.closed = True
        try:
            idle = False
            while not idle:
                while self._busy():  # noqa: ASYNC110  the tasks may be those of other loops and threads
                    await anyio.sleep(0.005)
                confirmation = Confirmation(self)
                while confirmation.is_due():  # noqa: ASYNC110  as above
                    await anyio.sleep(0.0005)
                idle = confirmation.is_idle()
        finally:
            workers = dismiss_all(self)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(wait_for, workers, self.grace)

    def end(self, port: Port, tell: Callable[[], object]) -> None:
        """Refuse new work and end the workers without blocking, in the thread of the one loop that uses the pool.

        Its tasks must have ended. When the last worker is gone, `tell()` is called in that thread.
        """
        self.closed = True
        with self._lock:
            free, self._free = self._free, []
            lane = self._lanes.get(port)
            mine = [worker for crew in lane.crews for worker in crew.workers] if lane is not None else []
            self._when_gone.append(lambda: port.call_soon(tell))
        for worker in free:
            worker.bury()
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
    closing.after_fork()
    for pool in list(_pools):
        pool.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
