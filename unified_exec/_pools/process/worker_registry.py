"""The workers of a pool: which there are, and which event loop has which."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..._loops.adapter import LoopAdapter
from ..._platform import process_control
from ..._tasks import events
from ..._worker.settings import WorkerKind
from ...errors import WorkerStartError
from . import disband
from .decode_result import HERE, Decoding
from .templates import Templates
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_spec import WorkerSpec


class HasGroups(Protocol):
    """The lane of an event loop, as far as its workers are concerned."""

    @property
    def groups(self) -> tuple[WorkerGroup, ...]: ...


L = TypeVar("L", bound=HasGroups)
SWEEP_MOST = 8
"""Free workers that are checked before one is lent."""


class WorkerRegistry(Generic[L]):
    """Lends workers to groups, which call this in their loops' threads, and takes them back.

    It lives as long as its pool, and as long as an event loop watches one of its workers.

    Args:
        on_start: called with each new worker.

    Attributes:
        spec: how a worker starts.
        decoding: how its answers are read.
        pool: the pool, for messages.
        grace: seconds between requesting a running task to stop and killing its worker.
        workers: all of them.
        templates: starts them.
        lanes: the lanes of the pool by event loop.
        closing: the pool takes no more work.
        closed: nobody waits for the tasks any more either.
        is_alone: its one worker holds an actor: no other joins it while it waits for a reply.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        grace: float,
        pool: str,
        decoding: Decoding = HERE,
        on_start: Callable[[Worker], object] = id,
    ) -> None:
        self.spec = spec
        self.decoding = decoding
        self._on_start = on_start
        self.pool = pool
        self.grace = grace
        self.workers: set[Worker] = set()  # never another set: a finalizer holds it
        self.templates = Templates(self.workers, spec.max_workers)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self.lanes: dict[LoopAdapter, L] = {}
        self.workers.clear()
        self._free: list[Worker] = []  # the oldest first
        self._lent: Counter[WorkerKind] = Counter()  # the workers that are not free, by kind; counting would cost time
        self._waiting: list[WorkerGroup] = []  # groups that wait for a worker of another loop
        self._when_gone: list[Callable[[], object]] = []
        self.closing = self.closed = self.is_alone = False

    def __repr__(self) -> str:
        return f"<workers of {self.pool}: {len(self.workers)}>"

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
            self._sweep(SWEEP_MOST)
            if group.workers and self._lent[group.kind] >= self.spec.max_workers and not self._may_add(group):
                if group not in self._waiting:
                    self._waiting.append(group)
                self._ask_others(group)
                return None
            current = process_control.credentials() if self._free else ()
            for at in reversed(range(len(self._free))):
                worker = self._free[at]
                if worker.credentials != current and worker.connection.open:
                    worker.dismiss()  # reaped by a later sweep
                elif worker.kind is group.kind and worker.connection.open and not worker.child.has_ended():
                    del self._free[at]
                    self._lent[worker.kind] += 1
                    return worker
        if group.workers and self.spec.should_wait(self.templates):
            return None
        return self._start(group.kind, "queue")

    def _may_add(self, group: WorkerGroup) -> bool:
        """Tell whether a group may have one more worker than the pool: all of its own wait for replies."""
        return not self.is_alone and group.is_blocked()

    def _start(self, kind: WorkerKind, why: str) -> Worker:
        disband.reap_left()
        try:
            worker = self.spec.start(kind, self.templates)
        except WorkerStartError:
            raise
        except Exception as exc:  # the program has put something strange into what a worker takes over
            raise WorkerStartError(f"{type(exc).__name__}: {exc}") from exc
        if events.rows is not None:
            events.emit(events.WORKER_STARTED, worker.pid, self.pool, worker.child.place, why)
        self._on_start(worker)
        with self._lock:
            self.workers.add(worker)
            self._lent[kind] += 1
        return worker

    def start_spare(self, kind: WorkerKind) -> None:
        """Have one more worker ready, unless there is one: another may soon be killed."""
        with self._lock:
            if self.closing or any(worker.kind is kind for worker in self._free):
                return
        try:
            worker = self._start(kind, "spare")
        except WorkerStartError:
            return  # a group that needs one will be told
        self._set_free(worker)

    def _set_free(self, worker: Worker) -> None:
        """Keep a worker for the next group; reap it if the pool was closed meanwhile, for nobody else will."""
        with self._lock:
            if not self.closed:
                self._keep(worker)
                return
        worker.dismiss()
        disband.reap_all([worker], self.grace)
        self.forget(worker)

    def _keep(self, worker: Worker) -> None:
        self._free.append(worker)
        self._lent[worker.kind] -= 1

    def _too_many(self, kind: WorkerKind) -> bool:
        return len(self.workers) > self.spec.max_workers and self._surplus(kind) > 0

    def _surplus(self, kind: WorkerKind) -> int:
        """How many workers of a kind are too many. Those that are leaving or wait for replies do not count."""
        workers = list(self.workers)  # at once: the threads of other loops start and reap some
        lent = [worker for worker in workers if worker.kind is kind and worker not in self._free]
        at_work = sum(1 for worker in lent if worker.connection.open and worker.blocked_at is None)
        return at_work - self.spec.max_workers

    def retire_surplus(self, group: WorkerGroup) -> bool:
        """Take idle workers from a group that were started while all others waited for replies. One of them is kept as
        the spare: the next such wait may come soon.

        Returns:
            whether there are still too many, which are busy.
        """
        if len(self.workers) <= self.spec.max_workers:
            return False
        surplus = self._surplus(group.kind)
        idle = group.idle[::-1][: max(0, surplus)]
        for worker in idle:
            if any(spare.kind is group.kind for spare in self._free):
                group.idle.remove(worker)
                worker.dismiss()
            else:
                group.detach(worker)
                self._set_free(worker)
        return surplus > len(idle)

    def wants_workers_of(self, group: WorkerGroup) -> bool:
        """Tell whether a group, which has idle workers, has to give them back."""
        if group in self._waiting:
            with self._lock:
                self._waiting = [other for other in self._waiting if other is not group]
        if not self._waiting and len(self.workers) <= self.spec.max_workers:
            return False
        if any(other.kind is group.kind for other in self._waiting):
            return True
        return self._too_many(group.kind)

    def give_back(self, group: WorkerGroup, worker: Worker) -> None:
        """Take an idle worker from a group: another loop waits for it, or there are too many."""
        if worker.tasks or worker not in group.workers:
            return
        if self._too_many(group.kind) and not self._waiting:
            group.idle.remove(worker)
            worker.dismiss()
            return
        if worker.connection.open:
            group.detach(worker)
            self._set_free(worker)
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
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
            if worker in self._free:
                self._free.remove(worker)
            elif worker in self.workers:
                self._lent[worker.kind] -= 1
            self.workers.discard(worker)
            gone = self._take_when_gone()
        self._wake_waiting()
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

    def _sweep(self, most: int | None = None) -> None:
        """Free the workers of loops that have ended and reap the free ones that are dead. Under the lock.

        Args:
            most: how many of the free ones to check, the oldest first: those reach their idle timeout first.
        """
        for adapter in [adapter for adapter in self.lanes if adapter.ended()]:
            self._release(adapter)
        for worker in [worker for worker in self._free[:most] if worker.child.has_ended()]:
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
                self._keep(worker)  # also one that exits just now: it must be reaped

    # -- the pool is closed

    def take_free(self) -> list[Worker]:
        with self._lock:
            free, self._free = self._free, []
            self._lent.update(worker.kind for worker in free)
        return free

    def take_all(self) -> tuple[set[Worker], dict[LoopAdapter, L]]:
        """Remove all workers and lanes of a closed pool. From now on no worker is lent."""
        self.closing = self.closed = True
        self.spec = self.spec._replace(shared=())  # no worker starts again: the pool's channels may go
        with self._lock:
            workers = set(self.workers)
            self.workers.clear()
            lanes, self.lanes = self.lanes, {}
            self._free = []
            self._lent.clear()
        self.templates.discard()
        return workers, lanes

    def on_gone(self, *callbacks: Callable[[], object]) -> None:
        """Call these when the last worker was reaped, in the thread that does so; at once if there is none."""
        with self._lock:
            self._when_gone += callbacks
            gone = self._take_when_gone()
        for tell in gone:
            tell()

    def after_fork(self) -> None:
        """In a forked child: the workers are the parent's. Close our copies of their sockets and start afresh."""
        for worker in self.workers:
            worker.close_after_fork()
        self.templates.after_fork()
        self._reset()
