"""Which worker gets which task, and when: the tasks that one event loop gives to one kind of worker.

Everything here runs in the loop's thread. Settling a task runs the code of its scope, which may call back into
`submit` and `cancel`: no method relies on state that it read before a settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..._loops.adapter import LoopAdapter, Timer
from ..._platform.process_control import credentials
from ..._rules import prefetch
from ..._tasks import events
from ..._tasks.task import Task
from ..._tasks.types import Outcome
from ..._wire import protocol
from ..._wire.errors.nodes import text_of
from ..._wire.pickling.functions import FunctionStats
from ..._worker.settings import WorkerKind
from ...errors import UnifiedExecError, WorkerStartError
from .cancellation import TaskCanceller
from .credentials import CredentialWatch, geteuid, may_change
from .rebalance import StuckTaskRecall
from .start_retry import StartFailures
from .worker import Worker
from .worker_group import WorkerGroup
from .worker_registry import WorkerRegistry
from .worker_watcher import WorkerWatcher

SEND_MOST = 16
"""Tasks sent to one worker before the others are considered again."""
LOOK_AT = 8
"""Busy workers among which the least loaded is chosen, in turns: however many there are, a task costs no more."""
COROUTINES_MAX = 1000
"""Coroutine tasks one worker runs at the same time."""
TEMPLATE_AGAIN = 0.002
"""Seconds until it is seen again whether a template, of which workers are forked, is up."""
ROOM_AGAIN = 0.001
"""Seconds until a worker with a full socket has read some of it."""


class Dispatcher:
    """Sends tasks to the workers of one group while they have room, and gets more workers while tasks wait."""

    def __init__(self, registry: WorkerRegistry[Any], adapter: LoopAdapter, kind: WorkerKind) -> None:
        self.group = group = WorkerGroup(adapter, kind, self.pump, registry.decoding.log_reader(adapter))
        self._registry = registry
        self._adapter = adapter
        self._queue = group.queue
        self._idle = group.idle
        self._workers = group.workers
        self._look_next = 0
        self._room_timer: Timer | None = None
        self._recruiting = False
        self._starts = StartFailures(group)
        self._credentials = CredentialWatch() if may_change() else None
        self._watcher = WorkerWatcher(group, registry, self._starts)
        self._canceller = TaskCanceller(group, registry, self._watcher.answers.read_all)
        self._recall = StuckTaskRecall(group, registry)

    # -- sending tasks

    def submit(self, task: Task) -> None:
        """Send a task whose call was encoded to a worker, or queue it."""
        if (watch := self._credentials) is not None and (
            watch.euid != geteuid() or (self._idle and watch.have_changed())
        ):
            self._retire_foreign()
        if not self._queue.length:
            worker = self._idle[-1] if self._idle else self._least_loaded(task)
            if worker is not None and self._send(worker, task):
                return
            if task.outcome is not None:
                return
        self._queue.push(task)
        if events.moves is not None:
            task.emit_queued(self._registry.pool, self._queue.length - 1)
        if not self._recruiting:
            self._recruiting = True
            self._adapter.call_soon(self._recruit)

    def cancel(self, tasks: Iterable[Task], reason: str | None, running: bool = True) -> None:
        """Stop tasks; see `TaskCanceller.cancel`."""
        self._canceller.cancel(tasks, reason, running)

    def abandon(self, task: Task) -> None:
        """See `TaskCanceller.abandon`."""
        self._canceller.abandon(task)

    def pump(self, answered: Worker | None = None) -> None:
        """Send queued tasks while there is room for them, and get another worker for the rest.

        Args:
            answered: the worker that has sent something: it may have room now.
        """
        if self.group.unblocked:
            self.group.unblocked = self._registry.retire_surplus(self.group)
        if self._queue.length:
            if self._credentials is not None and self._credentials.have_changed():
                self._retire_foreign()
            self._fill(answered)
        if self._queue.length:
            if not self._recruiting:
                self._recruit()
        elif self._idle:
            self._balance()

    def _fill(self, answered: Worker | None = None) -> None:
        """Send queued tasks while some worker has room. Looking for the least loaded one costs as much as sending: it
        gets up to `SEND_MOST` tasks of one function."""
        queue, concurrent, budget = self._queue, self.group.kind.concurrent, self._registry.spec.prefetch_budget
        worker: Worker | None = None
        last: FunctionStats | None = None
        left = 0
        while (task := queue.take()) is not None:
            stats: FunctionStats = task.backend_data.entry.stats
            if worker is None or not left or stats is not last or worker.cancel_timers or worker.stuck:
                worker = self._idle[-1] if self._idle else self._least_loaded(task, answered)
                if worker is None:
                    queue.put_back(task)
                    return
                last, left = stats, 1
                if not concurrent:
                    left = min(SEND_MOST, prefetch.room(len(worker.tasks), worker.load, stats.cost, budget))
            if not self._send(worker, task) and task.outcome is None:
                queue.put_back(task)
                return
            left -= 1

    def _least_loaded(self, task: Task, answered: Worker | None = None) -> Worker | None:
        """Return the least loaded of some busy workers that may take one more task, `answered` among them.

        It may miss one that has room for a plain call. That one is busy, so its answer comes, and asks again.
        Coroutines may wait for one another: for them all workers are looked at before it is said that none has room.
        """
        best: Worker | None = None
        if self.group.kind.concurrent:
            for workers in (self._some_workers(answered), self._workers):
                for worker in workers:
                    if worker.connection.state is protocol.UP and len(worker.tasks) < COROUTINES_MAX:
                        best = worker if best is None or len(worker.tasks) < len(best.tasks) else best
                if best is not None:
                    return best
            return None
        cost = task.backend_data.entry.stats.cost
        budget = self._registry.spec.prefetch_budget
        if cost is None or cost > budget:
            return None
        for worker in self._some_workers(answered):
            if worker.stuck or worker.cancel_timers or worker.connection.state is not protocol.UP:
                continue  # what is sent there would wait for a long task, for a grace, or for a start
            if (best is None or worker.load < best.load) and (
                prefetch.room(len(worker.tasks), worker.load, cost, budget) > 0
            ):
                best = worker
        return best

    def _some_workers(self, answered: Worker | None) -> list[Worker]:
        """Return all workers of a small group, else the next few and `answered`."""
        workers = self._workers
        if (number := len(workers)) <= LOOK_AT:
            return workers
        at = self._look_next % number
        self._look_next = (at + LOOK_AT) % number
        some = workers[at : at + LOOK_AT]
        some += workers[: LOOK_AT - len(some)]
        if answered is not None and self.group.has(answered):
            some.append(answered)
        return some

    def _send(self, worker: Worker, task: Task) -> bool:
        """Send `task`; ``False`` if it could not be sent, or could not travel at all and has failed."""
        was_idle = not worker.tasks
        try:
            sent = worker.send(task, was_idle and self._has_cores_to_spare())
        except Exception as exc:
            if isinstance(exc, BrokenPipeError) and not worker.child.can_kill:
                return False  # another thread has just let it go: its end will be noticed
            if isinstance(exc, (OSError, MemoryError)) and any(other.tasks for other in self._workers):
                return False  # descriptors or memory are short for now; what runs will give some back
            error = UnifiedExecError(f"task {task.name!r} could not be sent to a worker: {text_of(exc)}")
            error.__cause__ = exc
            task.settle(Outcome(error=error))
            return False
        if not sent:
            if self._room_timer is None:  # its socket is full: no answer may come for long
                self._room_timer = self._adapter.call_later(ROOM_AGAIN, self._room_again)
        elif was_idle:
            if self._idle and self._idle[-1] is worker:
                self._idle.pop()
            else:
                self.group.not_idle(worker)
            if worker.connection.state is protocol.STARTING:
                self.group.early.add(worker)
        elif self._recall.timer is None and not self.group.kind.concurrent:
            self._recall.watch()
        return sent

    def _has_cores_to_spare(self) -> bool:
        """Tell whether there is a core for this loop, for each busy worker and for one more."""
        return len(self._workers) - len(self._idle) + 2 <= self._registry.spec.cores

    def _retire_foreign(self) -> None:
        """Give no more tasks to workers that run as another user, or in another root folder, than this process."""
        current = credentials()
        for worker in list(self._workers):
            if worker.credentials != current and worker.connection.open:
                self.group.give_back(worker)
                worker.dismiss()

    def _room_again(self) -> None:
        self._room_timer = None
        self.pump()

    def _balance(self) -> None:
        """Some worker is idle and no task is queued: take what waits elsewhere, or let another loop have the worker."""
        if self.group.early:
            for worker in list(self.group.early):
                self.group.requeue(worker.take_back())
            self.group.early.clear()
        if self._queue.length:
            self._fill()
        elif self._registry.wants_workers_of(self.group):
            for worker in list(self._idle):
                self._registry.give_back(self.group, worker)

    def _recruit(self) -> None:
        """Get another worker if tasks wait for one; one in each turn of the loop, as starting takes a moment."""
        self._recruiting = False
        queue, group = self._queue, self.group
        if len(group.starting) - len(group.early) >= queue.length or self._starts.is_hopeless:
            return
        try:
            worker = self._registry.borrow(group)
        except WorkerStartError as exc:
            if not self._workers:  # otherwise descriptors may be short for now: the workers we have will do
                self._starts.fail_waiting(exc)
            return
        if worker is None:
            if self._registry.templates.coming:
                self._recruiting = True
                self._adapter.call_later(TEMPLATE_AGAIN, self._recruit)
            return
        self._watcher.adopt(worker)
        self._fill()
        if queue.length:
            self._recruiting = True
            self._adapter.call_soon(self._recruit)
