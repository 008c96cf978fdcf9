"""One node as one event loop of the program sees it: what was sent there and is not answered."""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple, Protocol

from .._pools.process.ask_where import Elsewhere, track_machine
from .._pools.process.relayed import RelayCall
from .._rules import prefetch
from .._tasks import events
from .._tasks.task import Task
from .._wire.pickling.functions import EncodedCall
from .._wire.pickling.surroundings import current_levels
from .._worker.shared_object import Shared
from . import wire

AHEAD_BYTES = 64 << 20
"""Bytes of arguments that may wait at one node in addition to the first task of each slot."""
AHEAD_SECONDS = 0.02
"""Seconds of work, at least, that may wait at one node for each slot."""
COROUTINES_MAX = 1000
"""Coroutine tasks per slot that one node runs at the same time."""
COPIED_MAX = 1 << 20
"""A shared object of more bytes is mapped to be sent."""
KNOWN_MAX = 2000
"""Functions and globals that an agent remembers; then it is told to forget all of them."""


class WorkerRef(int):
    """A worker process of a cluster: its process id, and the node it runs on. Two nodes may use the same process id.

    Attributes:
        node: the address of the node.
    """

    node: str

    def __new__(cls, pid: int, node: str) -> WorkerRef:
        ref = super().__new__(cls, pid)
        ref.node = node
        return ref

    def __reduce__(self) -> tuple[Any, ...]:
        return WorkerRef, (int(self), self.node)

    def __eq__(self, other: object) -> bool:
        return int(self) == other and (not isinstance(other, WorkerRef) or self.node == other.node)

    def __ne__(self, other: object) -> bool:  # int has one of its own
        return not self == other

    def __hash__(self) -> int:
        return hash(int(self))

    def __repr__(self) -> str:
        return f"<worker {int(self)} on {self.node}>"

    __str__ = __repr__


class ClusterNode(NamedTuple):
    """One node of a cluster, as `DaskPool.nodes` lists it.

    Attributes:
        address: of the engine's worker.
        slots: how many calls of this program it runs at the same time.
        running: tasks that it has begun.
        waiting: tasks that were sent there and have not begun, as far as it is known.
        bytes: arguments of all these.
        rtt: seconds that a message takes to it and back.
        lease_left: seconds until its tasks would be stopped if nothing were heard of this program from now on.
        name: what the node calls itself.
    """

    address: str
    slots: int
    running: int
    waiting: int
    bytes: int
    rtt: float
    lease_left: float
    name: str


class Link(Protocol):
    """The way to one agent. It may be used in any thread."""

    def send(self, frame: wire.Frame, hold: bool = False) -> None:
        """Send a frame, together with those that follow soon; with `hold`, wait a moment for them."""


class Node:
    """Sends tasks to one agent.

    Attributes:
        address: of the engine's worker.
        where: what the agent calls itself.
        slots: how many calls it runs at the same time.
        tasks: the tasks it was sent and has not answered, oldest first.
        coroutines: how many of these are coroutines.
        load: estimated seconds of the others.
        answered_at: instant of its last answer, or of the moment it last became busy.
        seen: instant of its last sign of life. Written by the thread that has the connections, as are the next three.
        echo: the newest reading of the agent's clock.
        rtt: seconds to the agent and back; 0 until it is known.
        offset: the agent's clock minus ours.
        asked_back: the tasks that it was requested to return.
        blocked: the requests whose replies calls wait for in their workers, by the number of the call.
        stuck: it has not answered for so long that tasks were taken back; nothing is sent ahead to it.
        offered: it is in the lane's queue of free nodes.
        gone: nothing is expected of it any more.
    """

    def __init__(self, address: str) -> None:
        self.address = self.where = address
        self.slots = 0
        self.tasks: dict[int, Task] = {}
        self.coroutines = 0
        self.load = 0.0
        self.bytes = 0
        self.asked_back: set[int] = set()
        self.blocked: dict[int, int] = {}
        self.stuck = self.offered = self.gone = False
        self.answered_at = self.seen = time.monotonic()
        self.echo = self.offset = 0.0
        self.rtt = 0.0
        self.link: Link
        self._begun: dict[int, int] = {}
        self._known: set[int] = set()
        self._carried = 0  # the number of the context it was sent last
        self._levels: dict[str, Any] | None = None
        self._shares: set[bytes] = set()
        self._told: tuple[float, dict[int, dict[str, Any]]] = 0.0, {}
        track_machine(self)

    @property
    def calls(self) -> int:
        """How many plain calls it has."""
        return len(self.tasks) - self.coroutines

    def is_open(self) -> bool:
        """Tell whether it has room for a plain call: a slot, or all its calls wait for replies and block theirs."""
        calls = len(self.tasks) - self.coroutines
        return calls < self.slots or bool(self.slots and self.blocked and calls == len(self.blocked))

    def is_overfull(self) -> bool:
        """Tell whether plain calls wait there for a slot."""
        return len(self.tasks) - self.coroutines > self.slots + len(self.blocked)

    def is_running(self, task: Task) -> bool:
        return task.id in self._begun

    def has_begun(self, pairs: list[int]) -> None:
        """Note that calls have begun: their numbers, each with the process id of its worker."""
        for id, pid in zip(pairs[::2], pairs[1::2], strict=True):
            task = self.tasks.get(id)
            if task is not None:
                self._begun[id] = pid
                task.started_at = time.monotonic()  # about; the answer brings the instant
                task.worker = WorkerRef(pid, self.address)

    def may_take(self, task: Task) -> bool:
        """Tell whether it may have one more task, to run now or ahead."""
        entry, slots = task.backend_data.entry, self.slots
        if entry.coroutine:
            return self.coroutines < COROUTINES_MAX * slots
        if self.is_open():
            return True
        cost = entry.stats.cost
        if not slots or self.stuck or self.asked_back or cost is None:
            return False
        budget = prefetch.BUDGET + 2 * self.rtt  # enough to hide a round trip
        if self.load + cost > (budget if budget > AHEAD_SECONDS else AHEAD_SECONDS) * slots:
            return False
        calls = len(self.tasks) - self.coroutines
        return calls < prefetch.TASKS_MAX * slots and self.bytes + task.backend_data.size <= AHEAD_BYTES

    def send(self, task: Task) -> None:
        """Send a task, and before it what the agent lacks for it."""
        call: EncodedCall = task.backend_data
        entry, send, carried = call.entry, self.link.send, call.carried
        if (levels := current_levels()) is not self._levels:
            self._set_levels(levels)
        is_new = carried is not None and carried.number != self._carried
        if entry.id not in self._known or call.needs or is_new:
            self._teach(call)
        if call.shared:
            self.place(call.shared)
        left = None if task.deadline is None else max(1e-6, task.deadline - time.monotonic())
        if not self.tasks:
            self.answered_at = time.monotonic()
        self.tasks[task.id] = task
        self.coroutines += bool(entry.coroutine)
        self.load += 0.0 if entry.coroutine else entry.stats.cost or 0.0
        self.bytes += call.size
        hold = not entry.coroutine and self.is_overfull()  # it would wait there
        task.location = self
        needs, tokens = [value.id for value in call.needs], [shared.token for shared in call.shared]
        if events.rows is not None:
            task.sent_at, task.bytes_sent = time.monotonic(), call.size
            if events.moves is not None:
                task.emit_sent(WorkerRef(0, self.address), len(self.tasks) - 1)
        what = (task.id, task.name, entry.id, call.data, call.buffers, needs, tokens)
        send(wire.pack_call(RelayCall(*what, bool(entry.coroutine), left, carried is not None)), hold)

    def _set_levels(self, levels: dict[str, Any] | None) -> None:
        if levels != self._levels:
            self.link.send((wire.pack_levels(levels), ()))
        self._levels = levels

    def _teach(self, call: EncodedCall) -> None:
        entry, known, send, carried = call.entry, self._known, self.link.send, call.carried
        new = None if carried is None or carried.number == self._carried else carried
        if len(known) >= KNOWN_MAX:
            known.clear()
            send((bytes((wire.FORGET,)), ()))
        needed = (entry.needs if entry.id not in known else (), call.needs, () if new is None else new.needs)
        for value in chain(*needed):
            if value.id not in known:
                known.add(value.id)
                send((wire.pack_global(value), ()))
        if entry.id and entry.id not in known:
            known.add(entry.id)
            needs = [value.id for value in entry.needs]
            send((wire.pack_function(entry.id, entry.name, bool(entry.coroutine), needs, entry.payload), ()))
        if new is not None:
            self._carried = new.number
            send((wire.pack_context(new.data, [value.id for value in new.needs]), ()))

    def place(self, objects: Iterable[Shared[Any]]) -> None:
        """Send each shared object once; the agent gives it to its workers."""
        for shared in objects:
            if shared.token not in self._shares:
                fd = shared.fileno()
                size = os.fstat(fd).st_size
                # A mapping has a descriptor of its own, for as long as the engine keeps the message.
                block = os.pread(fd, size, 0) if size <= COPIED_MAX else mmap.mmap(fd, size, access=mmap.ACCESS_READ)
                self._shares.add(shared.token)
                shared.holders.add(self)
                self.link.send((wire.pack_share(shared.token, shared.size, shared.table), (memoryview(block),)))

    def drop_share(self, token: bytes) -> None:
        """Let the agent forget a shared object; in any thread."""
        self._shares.discard(token)
        if not self.gone:
            self.link.send((bytes((wire.DROP,)) + token, ()))

    def take(self, id: int) -> Task | None:
        """Take a task that has ended, or comes back; ``None`` if it is not here."""
        task = self.tasks.pop(id, None)
        if task is not None:
            call: EncodedCall = task.backend_data
            self._begun.pop(id, None)
            self.blocked.pop(id, None)
            self.asked_back.discard(id)
            self.bytes -= call.size
            if call.entry.coroutine:
                self.coroutines -= 1
            else:
                self.load = max(0.0, self.load - (call.entry.stats.cost or 0.0)) if self.calls else 0.0
        return task

    # -- what `observe` asks, in any thread; see `ask_where.Machine`

    def ask(self) -> bool:
        if self.gone or not self._begun:
            return False
        self.link.send((bytes((wire.WHERE,)), ()))
        return True

    def here(self, text: str) -> None:
        """Take in the agent's answer, in the thread that has the connections; event loops may be busy."""
        self._told = time.monotonic(), {int(pid): answer for pid, answer in json.loads(text).items()}

    def has_answered(self, since: float) -> bool:
        return self._told[0] >= since

    def whereabouts(self, task: Task, since: float | None) -> Elsewhere:
        pid = self._begun.get(task.id)
        if pid is None:
            text = f"a worker on {self.address}: {len(self._begun)} of its {len(self.tasks)} tasks run"
            return Elsewhere(False, text)
        text = f"in worker {pid} on {self.address}"
        told, answers = self._told
        if since is None or told >= since:
            return Elsewhere(True, text, answers.get(pid) if since is not None else None)
        silent = f", which does not answer: last heard of {time.monotonic() - self.seen:.1f} s ago"
        return Elsewhere(True, text, None, silent)

    def summary(self) -> dict[str, Any] | None:
        if self.gone:
            return None
        told = self.describe(0.0)._asdict()
        del told["lease_left"]
        return {**told, "seen": round(max(0.0, time.monotonic() - self.seen), 3)}

    def surplus(self) -> list[int]:
        """Return the calls that wait there for a slot."""
        ids = [id for id, task in self.tasks.items() if not task.backend_data.entry.coroutine]
        return [id for id in ids[self.slots + len(self.blocked) :] if id not in self._begun]

    def take_all(self) -> list[tuple[Task, bool]]:
        """Take all tasks, each with whether it is known to have begun: the node is lost."""
        self.gone = True
        self.slots = 0
        tasks = [(task, task.id in self._begun) for task in self.tasks.values()]
        self.tasks.clear()
        return tasks

    def describe(self, lease: float) -> ClusterNode:
        """Return what users are told of it."""
        running = len(self._begun)
        left = max(0.0, self.seen + lease - time.monotonic())
        return ClusterNode(
            self.address, self.slots, running, len(self.tasks) - running, self.bytes, self.rtt, left, self.where
        )
