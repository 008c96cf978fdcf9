"""Deadlocks among the tasks and threads of one process.

The first waiter of each queue looks, from a second on (`AFTER`). Nothing is noted for that while locks are acquired:
queues and holders tell who waits for a lock, the suspended coroutines tell who awaits a task or the end of a scope.

A waiter is *stuck* if all it waits for is held by stuck waiters. A holder that is not known to wait is not stuck: one
that works, one in a foreign wait, one in another process. Two looks must agree: between taking a permit and leaving
the queue a waiter seems to wait.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from os.path import dirname
from typing import TYPE_CHECKING, Any

from ..._tasks.holders import describe
from ...errors import DeadlockError
from .place import line_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from .queue import CoroutineInQueue, ThreadInQueue

    Waiter = ThreadInQueue | CoroutineInQueue

__all__ = ["AFTER", "look"]

AFTER = 1.0
"""Seconds of waiting after which a waiter may be part of a deadlock."""
_PACKAGE = dirname(dirname(dirname(__file__)))
_LOOPS = frozenset({"Handle._run", "Runner.run", "BaseEventLoop.run_until_complete", "unrolled_run"})

Blockers = tuple[bool, list[Any]]
"""Whether one stuck task is enough, and the tasks that a waiter waits for."""


def look(locks: Iterable[Any], looker: object) -> None:
    """Look for rings of waiters. In each found twice, the waiter that came last is woken to raise `DeadlockError`.

    Args:
        locks: all locks and semaphores of this process that anybody has waited for.
        looker: the waiter that looks; it is awake.
    """
    locks = list(locks)
    oldest = time.monotonic() - AFTER
    waits: dict[Any, tuple[Any, Waiter]] = {}
    for lock in locks:
        for each in lock.waiters():
            if each.since <= oldest and (each is looker or not each.woken) and not each.may_time_out:
                waits[each.holder] = lock, each
    if not waits:
        return
    finder = _Waits(waits)
    finder.note(getattr(looker, "holder", None), _task_of_caller())
    graph = _stuck(finder.blockers(locks))
    for ring in _rings(graph):
        members = [waits[node] for node in ring if node in waits]
        if members:
            last = max((each for _, each in members), key=lambda each: each.since)
            _suspect(last, frozenset(id(each) for _, each in members), ring, waits)


def _suspect(last: Waiter, found: frozenset[int], ring: list[Any], waits: Mapping[Any, tuple[Any, Waiter]]) -> None:
    if last.suspected != found:  # one look is not enough
        last.suspected = found
        return
    if last.error is None:
        start = ring.index(last.holder)
        last.error = DeadlockError(tuple(_words(node, waits) for node in (*ring[start:], *ring[:start])))
        last.wake()


def _words(node: Any, waits: Mapping[Any, tuple[Any, Waiter]]) -> str:
    held = ", ".join(
        f"{lock!r} acquired at {line}" for lock, _ in waits.values() for holder, line in lock.holds() if holder is node
    )
    text = f"{describe(node)} holds {held}" if held else describe(node)
    if node in waits:
        lock, each = waits[node]
        return f"{text} and waits for {lock!r} at {line_of(each.code, each.at)}"
    return f"{text} and waits for a task"


class _Waits:
    """Finds the tasks that each waiter waits for."""

    def __init__(self, waits: Mapping[Any, tuple[Any, Waiter]]) -> None:
        self._waits = waits
        self._nodes: dict[int, Any] = {}  # by the id of the task

    def note(self, holder: Any, task: int | None) -> None:
        """Note the id of the task that a holder is."""
        if task is not None and holder is not None:
            self._nodes[task] = holder

    def blockers(self, locks: list[Any]) -> dict[Any, Blockers]:
        """Return, for each task that is known to wait, the tasks it waits for."""
        for holder in (*self._waits, *(holder for lock in locks for holder, _ in lock.holds())):
            self.note(holder, _task_of(holder))
        found: dict[Any, Blockers] = {}
        queue = list(self._waits)
        while queue:
            node = queue.pop()
            if node in found:
                continue
            blockers = self._of_lock(node) if node in self._waits else self._of_coroutine(node)
            if blockers is not None:
                found[node] = blockers
                queue += blockers[1]
        return found

    def _of_lock(self, node: Any) -> Blockers | None:
        lock, _ = self._waits[node]
        holders = [holder for holder, _ in lock.holds()]
        if len(holders) < lock.total or node in holders:
            return None  # a permit is free, on its way, or held in another process
        return False, holders

    def _of_coroutine(self, node: Any) -> Blockers | None:
        for frame in _frames(node):
            name = frame.f_code.co_qualname
            if name in ("TaskHandle.__await__", "TaskHandle.wait"):
                handle = frame.f_locals.get("self")
                other = None if handle is None or handle.outcome is not None else self._nodes.get(handle.id)
                return None if other is None else (False, [other])
            if name == "ScopeEngine.close":
                tasks = frame.f_locals["self"].tasks()
                return True, [self._nodes[task.id] for task in tasks if task.id in self._nodes]
        return None


def _task_of(holder: Any) -> int | None:
    """Return the id of the task of a scope that a holder is."""
    task: int | None = getattr(holder, "task", None)
    if task is not None:
        return task
    for frame in _frames(holder):
        if frame.f_code.co_name == "run_coroutine":
            number: int = frame.f_locals["handle"].id
            return number
    return None


def _task_of_caller() -> int | None:
    """Return the id of the task of a scope that runs this code as its coroutine."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_qualname not in _LOOPS:
        if frame.f_code.co_name == "run_coroutine" and frame.f_code.co_filename.startswith(_PACKAGE):
            number: int = frame.f_locals["handle"].id
            return number
        frame = frame.f_back
    return None


def _frames(holder: Any) -> Iterable[Any]:
    """The frames of this package in which a coroutine is suspended, the outermost first; none while it runs."""
    made = holder.get_coro() if hasattr(holder, "get_coro") else getattr(holder, "coro", None)
    while made is not None:
        frame = getattr(made, "cr_frame", None) or getattr(made, "gi_frame", None)
        if frame is None or getattr(made, "cr_running", False):
            return
        if frame.f_code.co_filename.startswith(_PACKAGE):
            yield frame
        made = getattr(made, "cr_await", None) or getattr(made, "gi_yieldfrom", None)


def _stuck(blockers: Mapping[Any, Blockers]) -> dict[Any, list[Any]]:
    """Return those who can never go on, with the stuck ones that each waits for."""
    stuck = set(blockers)
    while True:
        free = [
            node
            for node in stuck
            if not (any if blockers[node][0] else all)(other in stuck for other in blockers[node][1])
        ]
        if not free:
            return {node: [other for other in blockers[node][1] if other in stuck] for node in stuck}
        stuck.difference_update(free)


def _rings(graph: Mapping[Any, list[Any]]) -> list[list[Any]]:
    """Return one ring of each group of waiters that wait for one another."""
    found: list[list[Any]] = []
    done: set[Any] = set()
    for start in graph:
        path: list[Any] = []
        node = start
        while node not in done and node not in path:  # each waits for at least one: this walk ends in a ring
            path.append(node)
            node = graph[node][0]
        if node in path:
            found.append(path[path.index(node) :])
        done.update(path)
    return found
