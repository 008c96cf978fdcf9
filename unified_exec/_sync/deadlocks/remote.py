"""Waits that concern worker processes. Their workers tell what they know, and the process of the program judges.

A worker says to the program that a task has waited for a second. It is asked then to tell more: for a second it writes
on the board what its tasks wait for (`PART`), and which of its tasks have what is shared (`HAS`). With what the program
itself knows, the calls that it has sent and who could cancel them, that makes whole nodes.
"""

from __future__ import annotations

import marshal
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from ..._wire import frames
from ..._worker import context, received
from ...errors import DeadlockError
from ..shared.sleepers import QueueSleeper
from ..shared.travel import shared_here
from .graph import BELOW, HAS, PART, REACH, UNDER, Key, Node
from .known import waited_for
from .reach import Reach

_FORGOTTEN_AFTER = 20.0
"""Seconds after which a worker that says no more that a task waits is not asked any more."""
_WORDS_MAX = 20_000
_DEPTH_MAX = 64


class Look(Protocol):
    """What a look has found in this process.

    Attributes:
        nodes, waiters, remote: see `Snapshot`.
        open: waits for what other processes have, too: node, id of the object, name of the wait.
        reach: who has what; ``None`` if that was not looked for.
        relied_on: the processes that were asked who has it there, for each wait for what they have.
    """

    nodes: list[Node]
    waiters: dict[Key, Any]
    remote: set[Key]
    open: list[tuple[Node, int, int]]
    reach: Reach | None
    relied_on: dict[Key, set[int]]

    def could_cancel(self, key: Key) -> tuple[set[Key], Key | None] | None: ...


def complete(found: Look, rows: Mapping[int, tuple[int, list[Any]]]) -> bool:
    """Add those that wait for what workers have, too, as far as these have told; returns whether some were asked to.

    Args:
        found: what this process has found by itself.
        rows: what other processes tell.
    """
    if found.reach is None:
        return False
    if context.worker is not None:
        return received.is_asked_for_waits() and any(said.workers())
    outside = _Outside(found.reach, rows)
    for node, number, wait in found.open:
        others, pids = outside.holders(number, wait)
        if others is not None:
            found.relied_on[node.key] = pids
            found.nodes.append(node._replace(wants=_wants(node.key, {*node.wants} | others)))
    numbers = {each.token: id(each) for each in shared_here}
    for pid, node in outside.parts:
        token, wait, task, *cancellers = node.wants
        tellers: list[int] = []
        while task in outside.under and len(tellers) < _DEPTH_MAX:
            teller, (_, task, *more) = outside.under[task]
            cancellers += more
            tellers.append(teller)
        at, could_cancel = numbers.get(token), found.could_cancel(task)
        holders = None if at is None or could_cancel is None else found.reach.holders_of(at)
        if at is None or could_cancel is None or holders is None:
            continue
        others, pids = outside.holders(at, wait)
        worker = next((each for each in outside.asked if task[1] in each.tasks), None)
        if others is not None and worker is not None:
            found.relied_on[node.key] = {*pids, *tellers}
            wants = _wants(node.key, {*cancellers} | holders | could_cancel[0] | others)
            found.nodes.append(node._replace(kind=REACH, wants=wants))
            found.waiters[node.key] = _remote_wait(worker, pid, node)
            found.remote.add(node.key)
    for worker in said.workers():
        if any(found.could_cancel((os.getpid(), id)) is not None for id in list(worker.tasks)):
            outside.asked[worker] = None
    _ask(outside.asked)
    return bool(outside.asked)


def of_own_workers(found: Look) -> list[Node]:
    """In a worker: return what it knows of its own workers, which are asked to tell more."""
    own = os.getpid()
    nodes: list[Node] = []
    for each in shared_here:
        for worker, ids in (each.tasks_of_workers() or {}).items():
            nodes.append(Node((own, 0), 0.0, 0, BELOW, (each.token, worker.pid, *ids), (), ""))
    for worker in said.workers():
        for task in [(own, id) for id in list(worker.tasks)]:
            could_cancel = found.could_cancel(task)
            if could_cancel is not None:
                others, above = could_cancel
                nodes.append(Node((own, 0), 0.0, 0, UNDER, (task, above, *sorted(others)), (), ""))
    _ask(said.workers())
    return nodes


def _ask(workers: Iterable[Any]) -> None:
    for worker in workers:
        if not worker.reaped and worker.post(frames.pack_payload(frames.TELL)):
            worker.signal()


def _wants(key: Key, others: set[Key]) -> tuple[Key, ...]:
    return tuple(sorted(others - {key}))


class _Outside:
    """What the workers tell.

    Attributes:
        parts: the waits of their tasks, with their processes.
        under: what they tell of the tasks of their own workers, with their processes.
        asked: those that were met, which are to tell more.
    """

    def __init__(self, reach: Reach, rows: Mapping[int, tuple[int, list[Any]]]) -> None:
        self._reach = reach
        self._has: dict[tuple[int, bytes], set[Key]] = {}
        self._below: dict[tuple[bytes, int], tuple[int, set[Key]]] = {}
        self.parts: list[tuple[int, Node]] = []
        self.under: dict[Key, tuple[int, tuple[Any, ...]]] = {}
        self.asked: dict[Any, None] = {}
        for pid, (_, content) in rows.items():
            for each in content:
                node = Node(*each)
                if node.kind == HAS:
                    self._has[pid, node.wants[0]] = {*node.wants[1:]}
                elif node.kind == PART:
                    self.parts.append((pid, node))
                elif node.kind == BELOW:
                    token, child, *ids = node.wants
                    self._below[token, child] = pid, {(pid, id) for id in ids}
                elif node.kind == UNDER:
                    self.under[node.wants[0]] = pid, node.wants

    def holders(self, number: int, wait: int) -> tuple[set[Key] | None, set[int]]:
        """Return who in workers could end a wait for the object of this id, and the processes that have told so.

        It is ``None`` if that is not known.
        """
        token = self._reach.object_of(number).token
        below = {child: told for (each, child), told in self._below.items() if each == token}
        used_by = self._reach.object_of(number).used_by(wait, below)
        if used_by is None:
            return None, set()
        workers, seated = used_by
        relied_on = set(seated)
        found: set[Key] = set()
        for worker, tasks in workers.items():
            self.asked[worker] = None
            found |= {(os.getpid(), id) for id in tasks}
        for teller, tasks_below in [below[pid] for pid in seated if pid in below]:
            relied_on.add(teller)
            found |= tasks_below
        told = [self._has.get((pid, token)) for pid in seated]
        all_told = all(each is not None for each in told)
        return (found.union(*[each for each in told if each]) if all_told else None), relied_on


class RemoteWait:
    """A wait in a worker, or below one, as the program tells it that it has no end.

    Attributes:
        suspected, error: see `QueueSleeper`.
    """

    __slots__ = ("_node", "_pid", "_worker", "error", "suspected")

    def __init__(self, worker: Any, pid: int, node: Node) -> None:
        self._worker = worker
        self._pid = pid
        self._node = node
        self.suspected: tuple[frozenset[Any], dict[int, int]] | None = None
        self.error: DeadlockError | None = None

    def wake(self) -> None:
        """Have it raise; tried again by the next look if there is no room for the message."""
        error, self.error = self.error, None
        if error is not None and not self._worker.reaped:
            words = [each[: _WORDS_MAX // len(error.ring)] for each in error.ring]
            message = marshal.dumps((self._pid, self._node.mark, self._node.since, words, error.advice))
            if self._worker.post(frames.pack_payload(frames.NO_END, message)):
                self.error = error
                self._worker.signal()


_waits: dict[tuple[int, float, Key], RemoteWait] = {}
"""Those that the last look has met."""


def _remote_wait(worker: Any, pid: int, node: Node) -> RemoteWait:
    name = node.mark, node.since, node.key
    found = _waits.get(name)
    if found is None:
        if len(_waits) > 1000:
            _waits.clear()
        found = _waits[name] = RemoteWait(worker, pid, node)
    return found


def raise_in_worker(message: bytes) -> None:
    """Have a wait of this worker raise, if it still sleeps, or of one below it."""
    pid, mark, since, words, advice = marshal.loads(message)
    if pid != os.getpid():
        for worker in said.workers():
            if worker.post(frames.pack_payload(frames.NO_END, message)):
                worker.signal()
        return
    for waited in waited_for:
        for sleeper in waited.asleep():
            if id(sleeper) == mark and sleeper.since == since and sleeper.error is None:
                sleeper.error = DeadlockError(tuple(words), advice)
                sleeper.wake()


class _Said(QueueSleeper):
    """A wait in a worker that is known to be long."""

    __slots__ = ("until", "worker")

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self.worker = worker
        self.until = 0.0


class _SaidByWorkers:
    """The waits that workers have said they have.

    Attributes:
        known: it is in `waited_for`.
    """

    known = False

    def __init__(self) -> None:
        self._waits: dict[tuple[int, bytes], _Said] = {}

    def add(self, worker: Any, mark: bytes, long: float) -> None:
        """A worker says that a task has waited for `long` seconds."""
        said = self._waits.get((worker.pid, mark))
        if said is None:
            said = self._waits[worker.pid, mark] = _Said(worker)
            said.since -= long
        said.until = time.monotonic() + _FORGOTTEN_AFTER

    def asleep(self) -> list[_Said]:
        """Return them, without those of workers that have said nothing for long or have no task any more."""
        now = time.monotonic()
        for name, said in list(self._waits.items()):
            if said.until < now or said.worker.reaped or not said.worker.tasks:
                self._waits.pop(name, None)
        return list(self._waits.values())

    def workers(self) -> Iterator[Any]:
        return iter({said.worker: None for said in self.asleep()})


said = _SaidByWorkers()
