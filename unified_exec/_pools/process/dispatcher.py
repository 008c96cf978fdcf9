"""The workers of one pool that one event loop has, and the dispatch of its tasks to them.

Everything here runs in the loop's thread. Settling a task runs the code of its scope, which may call back into
`submit` and `cancel`: no method relies on state it read before a settle.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..._loops.adapter import LoopAdapter, Timer
from ..._rules import prefetch
from ..._rules.fair_queue import FairQueue
from ..._tasks.task import Task
from ..._tasks.types import Outcome
from ..._wire import frames, protocol
from ...errors import UnifiedExecError, WorkerCrashed, WorkerStartError
from .cancellation import TaskCanceller
from .decode_result import decode, decode_start_error, message_of, outcome_of
from .loop_block_cache import LoopBlockCache
from .reap import reap_worker
from .rebalance import StuckTaskRecall
from .start_retry import StartFailures
from .worker import Worker

if TYPE_CHECKING:
    from .pool import ProcessPool

READ_MOST = 256
"""Answers read in one turn of the loop from one worker, so that the loop's other work gets its turn."""
SEND_MOST = 16
"""Tasks sent to one worker before the others are looked at again."""
COROUTINES_MAX = 1000
"""Coroutine tasks one worker runs at the same time."""
BREATH = 0.001
"""Seconds to wait for what a worker does next: read some of a full socket, come out of a ``__del__``."""
LOOK_AFTER = 0.5
"""Seconds between two looks at a worker whose end no descriptor tells for certain."""


class Dispatcher:
    """Gives work out, takes answers in, and takes back what waits behind a long task."""

    def __init__(self, pool: ProcessPool, port: LoopAdapter, coroutines: bool) -> None:
        self.pool = pool
        self.port = port
        self.coroutines = coroutines
        self.queue: FairQueue[Task] = FairQueue()
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []  # newest last: the oldest may reach their idle time
        self._room_timer: Timer | None = None
        self._recruiting = False
        self._starting = StartFailures(self)
        self._stopping = TaskCanceller(self)
        self._taking_back = StuckTaskRecall(self)
        self.blocks = LoopBlockCache(port)

    # -- giving work out

    def submit(self, task: Task) -> None:
        if not self.queue.length:
            worker = self.idle[-1] if self.idle else self._roomiest(task)
            if worker is not None and self._send(worker, task):
                return
            if task.outcome is not None:
                return
        self.queue.push(task)
        if not self._recruiting:
            self._recruiting = True
            self.port.call_soon(self._recruit)

    def cancel(self, tasks: Iterable[Task], reason: str | None, running: bool = True) -> None:
        self._stopping.cancel(tasks, reason, running)

    def _roomiest(self, task: Task) -> Worker | None:
        """The busy worker that may take one more task, the least loaded first."""
        best: Worker | None = None
        if self.coroutines:
            for worker in self.workers:
                if worker.end.state is protocol.UP and len(worker.tasks) < COROUTINES_MAX:
                    best = worker if best is None or len(worker.tasks) < len(best.tasks) else best
            return best
        cost = task.backend_data.entry.stats.cost
        if cost is None:
            return None
        for worker in self.workers:
            if worker.stuck or worker.asked or worker.end.state is not protocol.UP:
                continue  # what is sent there would wait for a long task, for a grace, or for a start
            if (best is None or worker.load < best.load) and prefetch.may_send(len(worker.tasks), worker.load, cost):
                best = worker
        return best

    def _send(self, worker: Worker, task: Task) -> bool:
        """Send `task`; ``False`` if it could not be sent, or could not travel at all and has failed."""
        was_idle = not worker.tasks
        try:
            sent = worker.send(task, was_idle and self._has_cores_to_spare())
        except (OSError, MemoryError) as exc:
            if any(other.tasks for other in self.workers):
                return False  # descriptors or memory are short for now; what runs will give some back
            task.settle(Outcome(error=UnifiedExecError(f"task {task.name!r} could not be sent to a worker: {exc}")))
            return False
        if sent and was_idle:
            if worker in self.idle:
                self.idle.remove(worker)
        elif sent and not self.coroutines:
            self._taking_back.watch()
        elif not sent and self._room_timer is None:
            # Its socket is full: no answer may come for long, but the worker will soon have read some.
            self._room_timer = self.port.call_later(BREATH, self._room_again)
        return sent

    def _has_cores_to_spare(self) -> bool:
        """Is there a core for this loop, for each busy worker and for one more?"""
        return len(self.workers) - len(self.idle) + 2 <= self.pool.cores

    def _room_again(self) -> None:
        self._room_timer = None
        self.pump()

    def pump(self) -> None:
        """Send what waits, as far as there is room, and get another worker for the rest."""
        self._fill()
        if len(self.queue):
            if not self._recruiting:
                self._recruit()
        elif self.idle:
            self._at_rest()

    def _at_rest(self) -> None:
        """Some worker is idle and nothing waits: look at what waits elsewhere."""
        for worker in self.workers:
            if worker.tasks and worker.end.state is protocol.STARTING:
                self.requeue(worker.take_back())
        if len(self.queue):
            self._fill()
        elif self.pool.wants_some_of(self):
            for worker in list(self.idle):
                self.pool.offer(self, worker)

    def _fill(self) -> None:
        while (task := self.queue.peek()) is not None:
            worker = self.idle[-1] if self.idle else self._roomiest(task)
            if worker is None or not self._send_some(worker, task):
                return

    def _send_some(self, worker: Worker, task: Task) -> bool:
        """Send the first of the queue, and what follows as long as it is the same function and there is room: looking
        for the roomiest worker costs as much as a sending. ``False`` if the socket is full."""
        queue, stats = self.queue, task.backend_data.entry.stats
        for _ in range(1 if self.coroutines else SEND_MOST):
            queue.drop_first()
            if not self._send(worker, task) and task.outcome is None:
                queue.push_front([task])
                return False
            following = queue.peek()
            if following is None or following.backend_data.entry.stats is not stats:
                break
            if not prefetch.may_send(len(worker.tasks), worker.load, stats.cost) or worker.asked or worker.stuck:
                break
            task = following
        return True

    # -- workers come and go

    def _recruit(self) -> None:
        """Get another worker if tasks wait for one; one for each turn of the loop, for each start takes a moment."""
        self._recruiting = False
        starting = sum(1 for worker in self.workers if worker.end.state == protocol.STARTING and not worker.tasks)
        if not len(self.queue) or starting >= len(self.queue) or self._starting.is_hopeless:
            return
        try:
            worker = self.pool.recruit(self)
        except WorkerStartError as exc:
            if not self.workers:  # descriptors may be short for now: those we have will do
                self._starting.fail_waiting(exc)
            return
        if worker is None:
            return
        self.adopt(worker)
        self._fill()
        if len(self.queue):
            self._recruiting = True
            self.port.call_soon(self._recruit)

    def adopt(self, worker: Worker) -> None:
        """Make a worker ours: this loop reads its sockets from now on."""
        if worker.end.state is protocol.UP or not any(other.end.state is protocol.UP for other in self.workers):
            self.idle.insert(0, worker)  # else it gets work when it is up: the others are faster
        self.workers.append(worker)
        worker.heard = time.monotonic()
        worker.blocks = self.blocks
        child = worker.child
        self.port.add_reader(child.tasks.fileno(), lambda: self._guarded(self._on_answers, worker))
        self.port.add_reader(child.control.fileno(), lambda: self._guarded(self._on_control, worker))
        if child.pidfd is not None:
            self.port.add_reader(child.pidfd, lambda: self._guarded(self.on_exit, worker))
        else:
            self.port.add_reader(child.lifeline.fileno(), lambda: self._guarded(self._let_go, worker))
            self.port.call_later(LOOK_AFTER, self._look_after, worker)

    def _guarded(self, react: Callable[[Worker], None], worker: Worker) -> None:
        """Have a bug of ours cost this worker: a loop calls a reader that raises again and again, or ends."""
        try:
            react(worker)
        except Exception as exc:
            logging.getLogger("unified_exec").exception("a bug: please report it; worker %d is lost", worker.pid)
            self._broke_protocol(worker, exc)
            if react == self.on_exit and worker in self.workers:
                self.detach(worker)

    def detach(self, worker: Worker) -> None:
        """Let go of a worker: another loop may adopt it."""
        worker.blocks = None
        child = worker.child
        self.port.remove_reader(child.tasks.fileno())
        self.port.remove_reader(child.control.fileno())
        self.port.remove_reader(child.lifeline.fileno() if child.pidfd is None else child.pidfd)
        self.workers.remove(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        if not self.workers:
            self.blocks.forget()

    # -- answers

    def _on_answers(self, worker: Worker) -> None:
        try:
            # A task that awaits the answer may go on in here: what it sends is on its way before the rest is done.
            self.port.deliver(self._read_answers, worker, READ_MOST)
        except frames.ProtocolError as exc:
            self._broke_protocol(worker, exc)
        finally:
            self.pump()

    def _read_answers(self, worker: Worker, most: int) -> None:
        now = time.monotonic()
        for event in worker.read_tasks(most):
            if type(event) is protocol.Answer:
                worker.heard = now
                self._answered(worker, event, None)
                if worker.buried:
                    return
            else:
                self._on_event(worker, event)

    def _on_control(self, worker: Worker) -> None:
        self.hear(worker)
        if worker.deaf and worker in self.workers:
            # Its end is closed but it may still live: a task closed all descriptors. It can do nothing more.
            self.port.remove_reader(worker.child.control.fileno())
        self.pump()

    def _let_go(self, worker: Worker) -> None:
        """It has closed its end of the lifeline: it has ended, or a task closed all descriptors."""
        worker.kill()
        self.on_exit(worker)

    def _look_after(self, worker: Worker) -> None:
        """Without a descriptor of its process: a child that a task forked may hold the lifeline after its end."""
        if worker in self.workers:
            if worker.child.has_ended():
                self.on_exit(worker)
            else:
                self.port.call_later(LOOK_AFTER, self._look_after, worker)

    def hear(self, worker: Worker) -> None:
        """Read all it has said so far, on both sockets."""
        try:
            # An answer in the mailbox may be newer than the worker's READY on the other socket.
            self._read_answers(worker, 1 << 30)
            if worker.buried:
                return
            for event, fd in worker.read_control():
                if type(event) is protocol.Answer:
                    worker.heard = time.monotonic()
                    self._answered(worker, event, fd)
                else:
                    self._on_event(worker, event, fd)
                if worker.buried:
                    return
        except (frames.ProtocolError, OSError) as exc:
            self._broke_protocol(worker, exc)

    def _on_event(self, worker: Worker, event: protocol.Event, fd: int | None = None) -> None:
        if type(event) is protocol.Ready:
            self._starting.succeeded()
            self.rest(worker)
        elif type(event) is protocol.Leaving:
            self.give_back(worker)
        elif type(event) is protocol.RingAgain:
            self.port.call_later(BREATH, worker.ring)
        elif type(event) is protocol.Report:
            message = message_of(*worker.payload(event, fd))
            if event.id in worker.tasks:
                worker.tasks[event.id].on_message(message)
        elif type(event) is protocol.StartFailed:
            self._starting.refused(worker, decode_start_error(event.error))

    def _answered(self, worker: Worker, answer: protocol.Answer, fd: int | None) -> None:
        id, outcome, started, finished, payload, in_shared = answer
        task = worker.answered(id)
        worker.stuck = False
        if not self.coroutines:
            stats = task.backend_data.entry.stats
            stats.cost = prefetch.learn(stats.cost, finished - started)
        task.started_at = started if outcome != frames.UNSTARTED else None
        task.finished_at = finished
        if not worker.tasks and worker.end.open:
            self.idle.append(worker)
        elif worker.end.state is not protocol.UP:
            self.give_back(worker)
        if not in_shared:
            task.settle(outcome_of(task.name, outcome, payload, ()))
            return
        try:
            data, buffers = worker.payload(answer, fd)
        except (frames.ProtocolError, OSError, ValueError) as exc:
            task.settle(Outcome(error=WorkerCrashed(task.name, worker.pid, None, f"its answer was lost: {exc}")))
            self._broke_protocol(worker, exc)
            return
        decode(self.port, task, outcome, data, buffers)

    def _broke_protocol(self, worker: Worker, exc: Exception) -> None:
        if not worker.buried:
            worker.detail = worker.detail or str(exc)
            worker.end.state = protocol.OVER
            if worker in self.idle:
                self.idle.remove(worker)
            worker.kill()

    def give_back(self, worker: Worker) -> None:
        """The worker takes no more tasks: what it has not claimed runs elsewhere."""
        if worker in self.idle:
            self.idle.remove(worker)
        self.requeue(worker.take_back())

    def rest(self, worker: Worker) -> None:
        """Note that the worker may have become idle because its tasks were taken back."""
        if not worker.tasks and worker.end.open and worker in self.workers and worker not in self.idle:
            self.idle.append(worker)

    def requeue(self, tasks: list[Task]) -> None:
        self.queue.push_front(task for task in tasks if task.outcome is None)

    # -- the end of a worker

    def on_exit(self, worker: Worker) -> None:
        """The process has ended."""
        if worker not in self.workers:
            return
        self.hear(worker)
        if worker not in self.workers:
            return  # settling an answer above ended the pool
        was_starting = worker.end.state == protocol.STARTING
        exitcode = reap_worker(self, worker)
        if was_starting and worker.culprit is None:
            self._starting.died(exitcode)
        self.pump()

    def describe(self) -> dict[str, Any]:
        return {"queued": len(self.queue), "workers": len(self.workers), "idle": len(self.idle)}
