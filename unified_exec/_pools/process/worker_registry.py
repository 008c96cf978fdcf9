"""The workers of a pool: which there are, and which event loop has which."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ..._loops.adapter import LoopAdapter
from ..._wire.protocol import STARTING
from ..._worker.settings import WorkerKind
from ...errors import WorkerStartError
from . import disband
from .worker import Worker, reap_all
from .worker_group import WorkerGroup
from .worker_spec import WorkerSpec


class HasGroups(Protocol):
    """The lane of an event loop, as far as its workers are concerned."""

    @property
    def groups(self) -> tuple[WorkerGroup, ...]: ...


L = TypeVar("L", bound=HasGroups)


class WorkerRegistry(Generic[L]):
    """Lends workers to groups, which call this in their loops' threads, and takes them back.

    It lives as long as its pool, and as long as an event loop watches one of its workers.

    Attributes:
        spec: how a worker starts.
        grace: seconds between requesting a running task to stop and killing its worker.
        workers: all of them.
        lanes: the lanes of the pool by event loop.
        closing: the pool takes no more work.
        closed: nobody waits for the tasks any more either.
    """

    def __init__(self, spec: WorkerSpec, grace: float, pool: str, on_fork: Callable[[], object]) -> None:
        self.spec = spec
        self._pool = pool
        self._on_fork = on_fork
        self.grace = grace
        self.workers: set[Worker] = set()  # never another set: the finalizer holds it
        self._reset()
        _registries.add(self)
        weakref.finalize(self, _drop, self.workers, pool).atexit = False

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.lanes: dict[LoopAdapter, L] = {}
        self.workers.clear()
        self._free: list[Worker] = []
        self._hungry: list[WorkerGroup] = []  # groups that wait for a worker of another loop
        self._when_gone: list[Callable[[], object]] = []
        self.closing = self.closed = False

    def __repr__(self) -> str:
        return f"<workers of {self._pool}: {len(self.workers)}>"

    def lane(self, adapter: LoopAdapter, make: Callable[[], L]) -> L:
        """Return the lane of an event loop; the same one each time.

        Raises:
            WorkerStartError: the loop cannot watch the sockets of workers.
        """
        lane = self.lanes.get(adapter)
        if lane is None:
            adapter.check_readers()
            with self._lock:
                lane = self.lanes.get(adapter)
                if lane is None:
                    lane = self.lanes[adapter] = make()
        return lane

    def all_lanes(self) -> list[tuple[LoopAdapter, L]]:
        """Return the lanes of the event loops that have not ended."""
        with self._lock:
            self._sweep()
            return list(self.lanes.items())

    # -- lending

    def borrow(self, group: WorkerGroup) -> Worker | None:
        """Find or start a worker for a group; ``None`` if it must wait for one.

        Raises:
            WorkerStartError: no process could be started.
        """
        if self.closed:
            raise WorkerStartError("its pool was closed")
        with self._lock:
            self._sweep()
            if group.workers and self._lent(group.kind) >= self.spec.max_workers:
                if group not in self._hungry:
                    self._hungry.append(group)
                self._ask_others(group)
                return None
            for worker in reversed(self._free):
                if worker.kind is group.kind and worker.connection.open:
                    self._free.remove(worker)
                    return worker
        return self._start(group.kind)

    def _start(self, kind: WorkerKind) -> Worker:
        disband.reap_left()
        worker = self.spec.start(kind)
        with self._lock:
            self.workers.add(worker)
        return worker

    def start_spare(self, kind: WorkerKind) -> None:
        """Have one more worker ready, unless there is one: another may soon be killed."""
        with self._lock:
            if self.closing or any(worker.kind is kind for worker in self._free):
                return
        try:
            worker = self._start(kind)
        except WorkerStartError:
            return  # a group that needs one will be told
        self._set_free(worker)

    def _set_free(self, worker: Worker) -> None:
        """Keep a worker for the next group; reap it if the pool was closed meanwhile, for nobody else will."""
        with self._lock:
            if not self.closed:
                self._free.append(worker)
                return
        worker.dismiss()
        reap_all([worker], self.grace)
        self.forget(worker)

    def _lent(self, kind: WorkerKind) -> int:
        """How many workers of a kind the groups have. A spare waits for one of those to be killed."""
        return sum(1 for worker in self.workers if worker.kind is kind and worker not in self._free)

    def _too_many(self, kind: WorkerKind) -> bool:
        return len(self.workers) > self.spec.max_workers and self._lent(kind) > self.spec.max_workers

    def wants_workers_of(self, group: WorkerGroup) -> bool:
        """Tell whether a group, which has idle workers, has to give them back."""
        if group in self._hungry:
            with self._lock:
                self._hungry = [other for other in self._hungry if other is not group]
        if not self._hungry and len(self.workers) <= self.spec.max_workers:
            return False
        if any(other.kind is group.kind for other in self._hungry):
            return True
        return self._too_many(group.kind)

    def give_back(self, group: WorkerGroup, worker: Worker) -> None:
        """Take an idle worker from a group: another loop waits for it, or there are too many."""
        if worker.tasks or worker not in group.workers:
            return
        if self._too_many(group.kind) and not self._hungry:
            group.idle.remove(worker)
            worker.dismiss()
            return
        if worker.connection.open:
            group.detach(worker)
            self._set_free(worker)
            self._tell_hungry()

    def _tell_hungry(self) -> None:
        with self._lock:
            waiting, self._hungry = self._hungry, []
        for group in waiting:
            group.adapter.call_threadsafe(group.pump)

    def _ask_others(self, group: WorkerGroup) -> None:
        for adapter, lane in self.lanes.items():
            for other in lane.groups:
                if other is not group and other.kind is group.kind and other.idle:
                    adapter.call_threadsafe(other.pump)

    # -- workers and loops end

    def forget(self, worker: Worker) -> None:
        """Note that a worker was reaped."""
        with self._lock:
            self.workers.discard(worker)
            if worker in self._free:
                self._free.remove(worker)
            gone = self._take_when_gone()
        self._tell_hungry()
        for tell in gone:
            tell()

    def _take_when_gone(self) -> list[Callable[[], object]]:
        if self.workers:
            return []
        gone, self._when_gone = self._when_gone, []
        return gone

    def loop_ended(self, adapter: LoopAdapter) -> None:
        with self._lock:
            self._release(adapter)

    def _sweep(self) -> None:
        """Free the workers of loops that have ended and reap the free ones that are dead. Under the lock."""
        for adapter in [adapter for adapter in self.lanes if adapter.ended()]:
            self._release(adapter)
        for worker in [worker for worker in self._free if worker.child.has_ended()]:
            self._free.remove(worker)
            self.workers.discard(worker)
            worker.reap()

    def _release(self, adapter: LoopAdapter) -> None:
        lane = self.lanes.pop(adapter, None)
        for group in lane.groups if lane is not None else ():
            for worker in list(group.workers):
                group.detach(worker)
                if worker.tasks:  # its loop ended without waiting for them
                    worker.abandon()
                self._free.append(worker)  # also one that exits just now: it must be reaped

    # -- the pool is closed

    def dismiss_all(self) -> list[Worker]:
        """Let every worker exit; the caller reaps those that are returned, see `reap_all`.

        One that still runs a task is killed and stays with its group, which tells the task.
        """
        disband.reap_left()
        self.closing = self.closed = True
        with self._lock:
            workers = set(self.workers)
            self.workers.clear()
            lanes, self.lanes = self.lanes, {}
            self._free = []
        for adapter, lane in lanes.items():
            workers -= disband.disband(adapter, lane.groups, self.grace)
        for worker in workers:
            worker.dismiss()
        return list(workers)

    def end(self, adapter: LoopAdapter, tell: Callable[[], object]) -> None:
        """Let every worker exit without blocking, in the thread of the one loop that uses the pool.

        Its tasks must have ended. When the last worker is gone, `tell()` is called in that thread.
        """
        self.closing = True
        with self._lock:
            free, self._free = self._free, []
            lane = self.lanes.get(adapter)
            lent = [worker for group in lane.groups for worker in group.workers] if lane is not None else []
            self._when_gone.append(lambda: adapter.call_soon(tell))
        for worker in free:
            worker.reap()
            self.forget(worker)
        for worker in lent:
            if worker.connection.state == STARTING:
                worker.kill()  # its initializer may take long
            worker.dismiss()

        def kill() -> None:
            for worker in lent:
                worker.kill()

        timer = adapter.call_later(self.grace, kill)
        with self._lock:
            self._when_gone += (timer.cancel, lambda: self.lanes.pop(adapter, None))
            gone = self._take_when_gone()
        for tell_one in gone:
            tell_one()

    def kill(self) -> None:
        """Kill every worker at once."""
        for worker in list(self.workers):
            worker.kill()

    def after_fork(self) -> None:
        """In a forked child: the workers are the parent's. Close our copies of their sockets and start afresh."""
        for worker in self.workers:
            worker.close_after_fork()
        self._reset()
        self._on_fork()


_registries: weakref.WeakSet[WorkerRegistry[Any]] = weakref.WeakSet()


def _drop(workers: set[Worker], pool: str) -> None:
    """Reap the workers of a pool that nobody can close any more.

    Called through a weak reference that holds the workers, not by the registry's own finalizer: in a cycle the
    collector finalizes their sockets and the registry in any order.
    """
    if not workers:
        return
    for worker in workers:
        worker.reap()
    workers.clear()
    warnings.warn(f"unclosed {pool}: use `async with`, `with` or close()", ResourceWarning, stacklevel=2)


@atexit.register
def _kill_all() -> None:
    for registry in list(_registries):
        registry.kill()


def _after_fork() -> None:
    disband.after_fork()
    for registry in list(_registries):
        registry.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
