"""The workers of a pool: which there are, and which event loop has which."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..._loops.adapter import LoopAdapter
from ...abc import Backend
from ...errors import WorkerStartError
from .dispatcher import Dispatcher
from .shutdown import wait_for
from .worker import Worker

if TYPE_CHECKING:
    from .lane import ProcessLane


class WorkerRegistry(Backend):
    """Lends workers to crews, which call this in their loops' threads, and takes them back.

    Attributes:
        max_workers: how many worker processes at most.
        grace: seconds between asking a running task to stop and killing its worker.
        hungry: crews that wait for a worker of another loop.
        over: the pool is closed, and nobody waits for the tasks any more.
    """

    max_workers: int
    grace: float
    _closed: bool

    def __init__(self) -> None:
        self._workers: set[Worker] = set()  # one set for life: the finalizer holds it
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[LoopAdapter, ProcessLane] = {}
        self._workers.clear()
        self._free: list[Worker] = []
        self.hungry: list[Dispatcher] = []
        self._when_gone: list[Callable[[], object]] = []
        self.over = False

    @abstractmethod
    def _hire(self, coroutines: bool) -> Worker:
        """Start a worker.

        Raises:
            WorkerStartError: no process could be started.
        """

    def recruit(self, crew: Dispatcher) -> Worker | None:
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
        worker = self._hire(coroutines)
        with self._lock:
            self._workers.add(worker)
        return worker

    def start_spare(self, coroutines: bool) -> None:
        """Have one worker ready beside the others: one of those may soon be killed."""
        with self._lock:
            if self._closed or any(worker.coroutines == coroutines for worker in self._free):
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

    def too_many(self, crew: Dispatcher) -> bool:
        return len(self._workers) > self.max_workers and self._lent(crew.coroutines) > self.max_workers

    def wants_some_of(self, crew: Dispatcher) -> bool:
        """Tell whether a crew shall offer its idle workers."""
        if not self.hungry and len(self._workers) <= self.max_workers:
            return False
        if any(other is not crew and other.coroutines == crew.coroutines for other in self.hungry):
            return True
        return self.too_many(crew)

    def offer(self, crew: Dispatcher, worker: Worker) -> None:
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

    def _ask_others(self, crew: Dispatcher) -> None:
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

    def loop_ended(self, port: LoopAdapter) -> None:
        with self._lock:
            self._release(port)

    def _sweep(self) -> None:
        """Free the workers of loops that have ended and bury the free ones that are dead. Under the lock."""
        for port in [port for port in self._lanes if port.ended()]:
            self._release(port)
        for worker in [worker for worker in self._free if worker.child.has_ended()]:
            self._free.remove(worker)
            self._workers.discard(worker)
            worker.reap_worker()

    def _release(self, port: LoopAdapter) -> None:
        lane = self._lanes.pop(port, None)
        for crew in lane.crews if lane is not None else ():
            for worker in list(crew.workers):
                crew.detach(worker)
                if worker.tasks:  # its loop ended without waiting: nobody is left to answer to
                    worker.abandon()
                self._free.append(worker)  # also one that ends just now: somebody must bury it
