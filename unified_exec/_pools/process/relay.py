"""A gate: tasks of another program run in worker processes here. What they are made of passes through as bytes.

The program encodes a call as for a worker of its own. Whatever carries the bytes between the machines (the engine of a
cluster) gives them to a `Gate`, which has worker processes, and gets back what the workers answer, unread. The gate
never unpickles or imports anything of the program.

What holds, in the gate's loop thread:

* Each submitted call ends once: with `Sink.answered` or with `Sink.returned`.
* After `Sink.returned` the call has not begun here and never will.
* Each `Sink.reported` of a call comes before its end, in the order in which the task sent them.
* Errors of the gate's own (a crash, a worker that does not start) are answered like any other error.
* The program enforces deadlines. The gate only tells the task how much time is left.

Numbers of functions, globals and calls are the program's: a gate serves one program.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from ..._loops.adapter import LoopAdapter
from ..._platform import shared_memory
from ..._tasks.types import Outcome
from ..._wire import frames
from ..._wire.errors.encode import encode_error
from ..._wire.pickling.carried import Carried
from ..._wire.pickling.functions import EncodedCall
from ..._worker.shared_object import Shared
from ...errors import WorkerCrashed
from . import shutdown
from .admission import Admission
from .ask_where import ask_in_loop
from .child import Child
from .filled_block import FilledBlock
from .lane import ProcessLane
from .relayed import (
    RelayAnswer,
    RelayCall,
    RelayedFunction,
    RelayedGlobal,
    RelaySurroundings,
    RelayTask,
    UnreadOutcome,
    unread,
)
from .task_requests import EncodedReply, UnreadRequest
from .worker_registry import WorkerRegistry
from .worker_spec import make_spec

PREFETCH_BUDGET = 0.02
"""Seconds of work that may be queued in one worker: the next task is a network away."""


class Sink(Protocol):
    """Takes what the workers send. Called in the gate's loop thread."""

    def answered(self, answer: RelayAnswer) -> None:
        """A call has ended."""

    def returned(self, id: int) -> None:
        """A call has not begun, and will not begin here."""

    def reported(self, id: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> None:
        """A running task has sent a message."""

    def asked(self, id: int, number: int, flags: int, data: frames.Bytes, buffers: Sequence[memoryview]) -> None:
        """A running task asks for something on the event loop of its scope: answer with `Gate.reply`."""

    def logged(self, pid: int, data: bytes) -> None:
        """Worker `pid` has sent a log record or a warning; `data` pickles one tuple of `log_frames`."""


class GateOptions(NamedTuple):
    """The options of `ProcessPool` that a program may set for its workers elsewhere.

    Attributes:
        initializer: pickled, with its arguments.
        shared: tokens of the shared objects in that pickle.
        alone: no worker joins the one there is, which holds an actor.
    """

    initializer: bytes | None = None
    shared: Sequence[bytes] = ()
    max_tasks_per_worker: int | None = None
    max_worker_memory: int | None = None
    idle_timeout: float | None = 60.0
    grace: float = 1.0
    env: dict[str, str] | None = None
    start_timeout: float | None = 30.0
    alone: bool = False


class Gate:
    """Worker processes for the calls of one program. Every method is called in the loop's thread.

    Args:
        adapter: the event loop.
        slots: how many calls run at the same time.
        sink: where the answers go.
        where: this machine, for errors.
        on_worker: called with the process of each new worker, before it gets a task.
    """

    def __init__(
        self,
        adapter: LoopAdapter,
        slots: int,
        sink: Sink,
        options: GateOptions,
        where: str,
        on_worker: Callable[[Child], object] = id,
    ) -> None:
        initializer, initial, tasks, memory, idle, grace, env, start, alone = options
        spec = make_spec(slots, None, (), tasks, memory, idle, env, start)
        self._surroundings = RelaySurroundings()
        spec = spec._replace(
            initializer=initializer,
            prefetch_budget=PREFETCH_BUDGET,
            surroundings=self._surroundings.now,
            relayed=True,
        )
        self._registry: WorkerRegistry[ProcessLane] = WorkerRegistry(
            spec,
            grace,
            f"<gate on {where}>",
            unread(sink.logged),
            lambda worker: on_worker(worker.child),
        )
        self._registry.is_alone = alone
        shutdown.track(self._registry)
        self._adapter = adapter
        self._lane = self._registry.lane(
            adapter, lambda: ProcessLane(self._registry, Admission(f"<gate on {where}>"), adapter)
        )
        self._sink = sink
        self._where = where
        self._tasks: dict[int, RelayTask] = {}
        self._functions: dict[int, RelayedFunction] = {}
        self._globals: dict[int, RelayedGlobal] = {}
        self._latest: dict[tuple[str, str], RelayedGlobal] = {}
        self._volatile: dict[str, RelayedFunction] = {}
        self._shared: dict[bytes, Shared[Any]] = {}
        self._initial = frozenset(initial)
        self._carried: Carried | None = None
        self._when_ended: Callable[[], object] | None = None

    def __len__(self) -> int:
        """How many calls have not ended."""
        return len(self._tasks)

    def ids(self) -> list[int]:
        """Return the calls that have not ended."""
        return list(self._tasks)

    # -- what calls refer to

    def learn_function(self, function: RelayedFunction, needs: Iterable[int]) -> None:
        """Take in a function, which needs these globals."""
        function.needs = tuple([self._globals[number] for number in needs])
        self._functions[function.id] = function

    def learn_global(self, value: RelayedGlobal) -> None:
        self._globals[value.id] = value
        place = value.home.token, value.name
        latest = self._latest.get(place, value)
        value.is_replaced, latest.is_replaced = value.id < latest.id, latest.id < value.id
        if not value.is_replaced:
            self._latest[place] = value

    def learn_context(self, data: bytes, needs: Iterable[int]) -> None:
        """Take in the context variables of the calls that follow, which need these globals."""
        self._carried = Carried(data, tuple([self._globals[number] for number in needs]), (), ())

    def set_levels(self, levels: dict[str, Any] | None) -> None:
        """Take over the levels of the program's loggers; see `log_levels`."""
        self._surroundings.set_levels(levels)

    def forget(self) -> None:
        """Forget all functions and globals; what has been submitted keeps its own."""
        self._functions.clear()
        self._globals.clear()
        self._volatile.clear()

    def place(self, token: bytes, size: int, table: bytes, block: memoryview | FilledBlock) -> None:
        """Take in a shared object, whose block is a copy of `block`, or is that block.

        Raises:
            OSError: no memory or descriptor is left.
        """
        fd = os.dup(block.fd) if isinstance(block, FilledBlock) else shared_memory.copy_block(block)
        shared = self._shared[token] = Shared(token, fd, table, size)
        if token in self._initial:
            spec = self._registry.spec
            self._registry.spec = spec._replace(shared=(*spec.shared, shared))

    def drop(self, token: bytes) -> None:
        """Forget a shared object; calls that have been submitted keep it."""
        self._shared.pop(token, None)

    def room(self, sizes: Sequence[int], payload: frames.Bytes | None) -> FilledBlock:
        """Return memory for the large buffers of a call that arrives, after its payload; ``None`` if that is the first.

        Submit the call with it as its block, and no worker copies them.

        Raises:
            OSError: no memory or descriptor is left.
        """
        return FilledBlock(sizes, payload, self._lane.groups[0].blocks)

    # -- calls

    def submit(self, call: RelayCall) -> None:
        """Run a call as soon as a worker is free.

        Raises:
            LookupError: it refers to what was not learnt or placed here.
        """
        shared = tuple([self._shared[token] for token in call.shared])
        needs = tuple([self._globals[number] for number in call.globals])
        entry = self._functions[call.function] if call.function else self._volatile_entry(call)
        task = RelayTask(call, self._ended_one, self._sink.reported, self._asked)
        if call.left is not None:
            task.deadline = time.monotonic() + call.left
        self._tasks[call.id] = task
        carried = self._carried if call.in_context else None
        what = (entry, call.data, tuple(call.buffers), (), shared)
        self._lane.enqueue(task, EncodedCall(*what, needs, carried, None, call.block))

    def _volatile_entry(self, call: RelayCall) -> RelayedFunction:
        entry = self._volatile.get(call.name)
        if entry is None or entry.coroutine is not call.coroutine:
            entry = self._volatile[call.name] = RelayedFunction(0, call.name, b"", call.coroutine)
        return entry

    def cancel(self, ids: Iterable[int], reason: str | None) -> None:
        """Stop calls: those that have begun are requested to stop, and killed after the grace."""
        self._lane.cancel([task for id in ids if (task := self._tasks.get(id)) is not None], reason)

    def take_back(self, ids: Iterable[int]) -> None:
        """Return the calls among these that have not begun."""
        tasks = [task for id in ids if (task := self._tasks.get(id)) is not None]
        self._lane.cancel(tasks, None, running=False)

    def give_credit(self, id: int, count: int) -> None:
        """Allow a running task `count` more messages; 0 makes it send what it has gathered."""
        task = self._tasks.get(id)
        if task is not None:
            self._lane.give_credit(task, count)

    def _asked(self, request: UnreadRequest, id: int) -> None:
        self._sink.asked(id, request.number, request.flags, request.data, request.buffers)

    def reply(self, id: int, number: int, reply: EncodedReply) -> None:
        """Answer a request; the shared objects in the answer are given by their tokens."""
        request = self._take_request(id, number)
        if request is not None:
            request.send_reply(reply._replace(shared=[self._shared[token] for token in reply.shared]))

    def withdrawn(self, id: int, number: int) -> None:
        """Note that a task does not wait for the answer to a request any more."""
        request = self._take_request(id, number)
        if request is not None:
            request.withdrawn()

    def _take_request(self, id: int, number: int) -> UnreadRequest | None:
        task = self._tasks.get(id)
        return None if task is None else task.open_requests.pop(number, None)

    def running(self) -> list[tuple[int, int]]:
        """Return the calls that have begun, each with the process id of its worker."""
        return [
            (task.id, task.worker or 0)
            for task in self._tasks.values()
            if task.location is not None and task.location.is_running(task)
        ]

    def ask_where(self, seconds: float, tell: Callable[[list[int], dict[int, dict[str, Any]]], object]) -> None:
        """Ask the busy workers what they are doing, and call ``tell(in_c, answers)`` with process ids."""
        ask_in_loop(self._registry, self._adapter, seconds, tell)

    def resize(self, slots: int) -> None:
        """Change how many calls run at the same time."""
        self._registry.spec = self._registry.spec._replace(max_workers=max(1, slots))
        for group in self._lane.groups:
            group.pump()

    # -- the end

    def end(self, reason: str, tell: Callable[[], object]) -> None:
        """Stop all calls as `cancel` does, then end the workers and call `tell()`."""
        self._when_ended = tell
        self._shared.clear()
        self.cancel(list(self._tasks), reason)
        if not self._tasks:
            self._ended()

    def kill(self) -> None:
        """Kill all workers at once."""
        shutdown.kill(self._registry)

    def _ended(self) -> None:
        if self._when_ended is not None:
            tell, self._when_ended = self._when_ended, None
            self._adapter.call_soon(shutdown.end, self._registry, self._adapter, tell)

    def _ended_one(self, task: RelayTask, outcome: Outcome[Any]) -> None:
        del self._tasks[task.id]
        sink, times = self._sink, (task.started_at or 0.0, task.finished_at or 0.0)
        pid = task.worker or 0
        if isinstance(outcome, UnreadOutcome) and outcome.kind != frames.UNSTARTED:
            sink.answered(RelayAnswer(task.id, outcome.kind, outcome.data, outcome.buffers, *times, pid))
        elif outcome.error is not None:
            error = outcome.error
            if isinstance(error, WorkerCrashed):
                detail = f"on {self._where}; {error.detail}" if error.detail else f"on {self._where}"
                error = WorkerCrashed(error.task, error.pid, error.exitcode, detail)
            sink.answered(RelayAnswer(task.id, frames.ERROR, encode_error(error), (), *times, pid))
        elif task.asked:
            sink.answered(RelayAnswer(task.id, frames.STOPPED, b"", (), *times, pid))
        else:
            sink.returned(task.id)
        if not self._tasks:
            self._ended()
