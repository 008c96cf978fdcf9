"""A cluster pool as one event loop sees it: a queue, and nodes that get what they can begin soon.

Everything here runs in the loop's thread unless a method says otherwise. Settling a task runs the code of its scope,
which may submit and cancel others: no method relies on state that it read before a settle.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any, Protocol

from .._loops.adapter import LoopAdapter, Timer, call_later_apart
from .._pools.process.decode_result import ENDING, decode, message_of
from .._pools.process.relayed import RelayAnswer
from .._pools.process.stream import CreditLane, ProcessStreamReader
from .._pools.process.worker_logs import LogReader
from .._rules import prefetch
from .._rules.dispatch import is_async
from .._rules.fair_queue import FairQueue
from .._tasks import events
from .._tasks.task import Task
from .._tasks.types import Outcome
from .._wire import frames
from .._wire.pickling.c_pickle import loads
from .._wire.pickling.carried import private
from .._wire.pickling.functions import EncodedCall, encode_call, in_context
from ..abc import StreamReader
from ..errors import NodeLost, UnifiedExecError
from . import wire
from .node import Node, WorkerRef
from .way_back import NodeRequests, NodeWorker, refuse_local

LOOK_AT = 8
"""Busy nodes looked at for one with room: looking at all would cost as much as there are nodes."""
STUCK = 0.02
"""Seconds without an answer after which what waits at a node is taken back."""


class Owner(Protocol):
    """What a lane needs of its pool."""

    def admit(self) -> None:
        """Raise `PoolClosed` if the pool takes no more work."""

    def describe(self) -> str:
        """Return the pool's name, for messages."""

    def want_seats(self, lane: ClusterLane) -> None:
        """Get more seats for what waits in the lane, if the pool may have more."""

    def lane_ended(self, lane: ClusterLane) -> None:
        """Let go of the nodes of a lane whose loop has ended."""


class ClusterLane(CreditLane):
    """Queues tasks and dispatches them to nodes.

    Attributes:
        adapter: the event loop.
        name: names the lane at the agents.
        nodes: by address.
        seats: how many seats were requested and have not ended. Written by the thread that requests them.
        queues: the tasks that wait for a node: plain calls, and coroutines.
        alone: it has one seat, whose worker holds an actor. These options of the gate differ then.
    """

    def __init__(self, owner: Owner, adapter: LoopAdapter, name: str, alone: dict[str, Any] | None = None) -> None:
        self.adapter = adapter
        self.name = name
        self.nodes: dict[str, Node] = {}
        self.seats = 0
        self.alone = alone
        self.queues: tuple[FairQueue[Task], FairQueue[Task]] = (FairQueue(time.monotonic), FairQueue(time.monotonic))
        self._owner = owner
        self._free: deque[Node] = deque()  # nodes with an open slot, and some that had one; longest free first
        self._busy: deque[Node] = deque()  # all, in turn
        self._unwanted: set[int] = set()  # to be settled as cancelled if they come back
        self._requests = NodeRequests(self._check_stuck_soon)
        self._logs = LogReader(adapter)
        self._stuck_timer: Timer | None = None
        self._wanting = False
        adapter.on_end(self._loop_ended)

    # -- what a scope calls

    def submit(self, task: Task) -> None:
        self.enqueue(task, self.prepare(task))

    def prepare(self, task: Task) -> EncodedCall:
        """Encode the call and return it; in any thread."""
        self._owner.admit()
        call = encode_call(task.fn, task.args)  # type: ignore[arg-type]  # both are there until it is settled
        context = copy_context()
        if not private.issuperset(context):
            call = in_context(call, context)
        if call.shared:
            refuse_local(call.shared, f"which {task.name}() uses")
        if call.entry.coroutine is None:
            call.entry.coroutine = is_async(task.fn)
        return call

    def enqueue(self, task: Task, prepared: Any) -> None:
        """Send a task whose call was encoded, or queue it."""
        self._owner.admit()
        task.backend_data = prepared
        queue = self.queues[bool(prepared.entry.coroutine)]
        if not queue.length:
            node = self._node_for(task)
            if node is not None:
                self._send(node, task)
                return
        queue.push(task)
        if events.moves is not None:
            task.emit_queued(self._owner.describe(), queue.length - 1)
        self._want_soon()

    def cancel(self, tasks: Iterable[Task], reason: str | None, *, running: bool = True) -> None:
        """Stop the tasks; with ``running=False``, those that have begun go on."""
        for task in tasks:
            if task.outcome is not None:
                continue
            node = task.location
            if node is None:
                self.queues[bool(task.backend_data.entry.coroutine)].forget_one()
                task.settle_cancelled()
            elif isinstance(node, Node):
                if not running:
                    self._unwanted.add(task.id)
                    node.link.send((wire.pack_numbers(wire.TAKE_BACK, [task.id]), ()))
                elif task.mark_stopping(reason):
                    node.link.send((wire.pack_id(wire.CANCEL, task.id, reason), ()))

    def give_credit(self, task: Task, count: int) -> None:
        node = task.location
        if isinstance(node, Node):
            node.link.send((wire.pack_numbers(wire.CREDIT, [task.id, count]), ()))

    def open_stream(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> StreamReader:
        return ProcessStreamReader(self, fn, args)

    # -- dispatching

    def has_tasks(self) -> bool:
        """Tell whether tasks wait or run. Certain in the loop's own thread only."""
        return bool(self.waiting()) or any(node.tasks for node in list(self.nodes.values()))

    def waiting(self) -> int:
        """How many tasks wait for a node; in any thread."""
        return self.queues[0].length + self.queues[1].length

    def slots(self) -> int:
        """How many calls its nodes run at the same time; in any thread."""
        return sum([node.slots for node in list(self.nodes.values())])

    def pump(self) -> None:
        """Send queued tasks while there is room for them."""
        for queue in self.queues:
            while (task := queue.take()) is not None:
                node = self._node_for(task)
                if node is None:
                    queue.put_back(task)
                    break
                self._send(node, task)
        if self.waiting():
            self._want_soon()

    def _send(self, node: Node, task: Task) -> None:
        try:
            node.send(task)
        except (OSError, MemoryError) as exc:  # it has a shared object that could not be mapped
            node.take(task.id)
            task.location = ENDING
            task.settle(Outcome(error=UnifiedExecError(f"task {task.name!r} could not be sent to a node: {exc}")))
        if node.is_overfull():
            self._check_stuck_soon()

    def _node_for(self, task: Task) -> Node | None:
        """Return the node that has had an open slot longest, or the least loaded of some that may take work ahead."""
        free = self._free
        if not task.backend_data.entry.coroutine:
            while free:
                node = free[0]
                if node.is_open():
                    free.rotate(-1)
                    return node
                free.popleft().offered = False
        best: Node | None = None
        busy = self._busy
        for _ in range(min(LOOK_AT, len(busy))):
            node = busy[0]
            busy.rotate(-1)
            if node.may_take(task):
                if best is not None:  # two are enough
                    return node if len(node.tasks) * best.slots < len(best.tasks) * node.slots else best
                best = node
        return best

    def _offer(self, node: Node) -> None:
        """Note that the node may have an open slot."""
        if not node.offered and node.is_open():
            node.offered = True
            self._free.append(node)

    def _want_soon(self) -> None:
        if not self._wanting:
            self._wanting = True
            self.adapter.call_soon(self._want)

    def _want(self) -> None:
        self._wanting = False
        if self.waiting():
            self._owner.want_seats(self)

    def _check_stuck_soon(self) -> None:
        if self._stuck_timer is None:
            self._stuck_timer = call_later_apart(self.adapter, STUCK, self._check_stuck)

    def _check_stuck(self) -> None:
        """Take back what waits at a node that does not answer: for an open slot elsewhere, or for another seat."""
        self._stuck_timer = None
        if self.waiting():
            self.pump()
        now = time.monotonic()
        nodes = list(self.nodes.values())
        if not self.queues[0].length:
            for node in nodes:
                if node.is_overfull() and now - node.answered_at >= STUCK and not node.asked_back:
                    node.stuck = True
                    node.asked_back.update(node.surplus())
                    node.link.send((wire.pack_numbers(wire.TAKE_BACK, node.asked_back), ()))
        if any(node.is_overfull() for node in nodes):
            self._check_stuck_soon()

    # -- what nodes send

    def add_node(self, node: Node) -> None:
        """Note a node to which a connection is being made."""
        self.nodes[node.address] = node
        self._busy.append(node)

    def received(self, node: Node, batch: list[wire.Frame]) -> None:
        """Take in a batch of an agent."""
        if node.gone:
            return
        self.adapter.deliver(self._take_in, node, batch)
        if not node.gone:
            self._offer(node)
        self.pump()

    def _take_in(self, node: Node, batch: list[wire.Frame]) -> None:
        back: tuple[list[Task], list[Task]] = ([], [])
        for head, buffers in batch:
            kind = wire.kind_of(head)
            if kind == wire.DONE:
                node.answered_at = time.monotonic()
                node.stuck = False
                self._ended(node, wire.unpack_answer(head, buffers))
            elif kind == wire.REPORT:
                id, data = wire.unpack_report(head)
                if (task := node.tasks.get(id)) is not None:
                    task.take_message(message_of(data, list(buffers)))
            elif kind == wire.ASKED:
                self._requests.read(node, *wire.unpack_asked(head), list(buffers))
            elif kind == wire.LOGGED:
                pid, record = wire.unpack_logged(head)
                self._logs.handle(NodeWorker(WorkerRef(pid, node.address), node.tasks), loads(record))
            elif kind == wire.STARTED:
                node.has_begun(wire.unpack_numbers(head))
            elif kind == wire.SLOTS:
                (node.slots,) = wire.unpack_numbers(head)
            elif kind == wire.RETURNED:
                for id in wire.unpack_numbers(head):
                    self._returned(node, id, back)
        for queue, tasks in zip(self.queues, back, strict=True):
            queue.push_front(tasks)  # also those that were cancelled meanwhile: `cancel` has counted them out

    def _returned(self, node: Node, id: int, back: tuple[list[Task], list[Task]]) -> None:
        task = node.take(id)
        if task is None:
            return
        if task.cancel_requested or id in self._unwanted:
            self._unwanted.discard(id)
            task.location = ENDING
            task.settle_cancelled()
            return
        task.location = task.worker = task.started_at = None
        if events.moves is not None:
            events.emit_move(events.TASK_RETURNED, task.event_id, WorkerRef(0, node.address))
        back[bool(task.backend_data.entry.coroutine)].append(task)

    def _ended(self, node: Node, answer: RelayAnswer) -> None:
        task = node.take(answer.id)
        if task is None:
            return
        self._unwanted.discard(answer.id)
        if answer.started:
            stats = task.backend_data.entry.stats
            if not task.backend_data.entry.coroutine:
                stats.cost = prefetch.update_estimate(stats.cost, answer.finished - answer.started)
            task.started_at = answer.started - node.offset
            task.finished_at = answer.finished - node.offset
        if answer.pid:
            task.worker = WorkerRef(answer.pid, node.address)
        if events.rows is not None:
            task.bytes_received = len(answer.data) + sum([buffer.nbytes for buffer in answer.buffers])
            if events.moves is not None and answer.started:
                task.emit_started(late=True)
        if answer.kind == frames.STOPPED and not task.cancel_requested:
            task.location = ENDING
            task.settle(Outcome(error=NodeLost(task.name, node.address, True, "it was closed")))
            return
        decode(self.adapter, task, answer.kind, answer.data, list(answer.buffers))

    # -- nodes and loops end

    def lost(self, node: Node, why: str) -> None:
        """Fail what a node had: nothing of it runs there any more, and it is not run again."""
        if node.gone:
            return
        tasks = node.take_all()
        self._logs.say_cut()
        if self.nodes.get(node.address) is node:
            del self.nodes[node.address]
        if node in self._busy:
            self._busy.remove(node)
        for task, _ in tasks:
            task.location = ENDING  # settling one may cancel the others
            self._unwanted.discard(task.id)
        for task, begun in tasks:
            if task.cancel_requested:
                task.settle_cancelled()
            else:
                task.settle(Outcome(error=NodeLost(task.name, node.address, begun or None, why)))
        self.pump()

    def fail_waiting(self, error: Exception) -> None:
        """Fail every task that waits for a node."""
        waiting = [task for queue in self.queues for task in queue.drain()]
        for task in waiting:
            task.location = ENDING
        for task in waiting:
            task.settle(Outcome(error=error))

    def _loop_ended(self) -> None:
        # asyncio tells before its loop is closed: what still runs then ends when the pool looks at its lanes next.
        if self.adapter.ended() or not self.has_tasks():
            self._owner.lane_ended(self)
