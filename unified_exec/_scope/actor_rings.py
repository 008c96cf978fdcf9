"""Calls of actors that wait for themselves: an actor that calls itself, or several that call each other in a ring.

Looked at in the thread of the event loop, while a call that was made on behalf of another one waits for its turn. Every
step is certain: a call waits for those that have its turn, a coroutine for the task that it awaits, a worker or thread
for the function that it has asked for. What is not known to wait may go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._handles.handle import TaskHandle
from .._loops.adapter import LoopAdapter
from .._sync.deadlocks import look
from .._sync.deadlocks.frames import awaits
from .._sync.deadlocks.graph import TASKS, Key, Node, stuck
from .._tasks.types import Outcome
from ..errors import DeadlockError

_ADVICE = "call the method directly, or return before its result is needed"


class QueuedCall(TaskHandle[Any]):
    """A call of an actor's method. The error is its caller's alone, as that of an item of a map.

    Attributes:
        ahead: returns the calls that have its turn; ``None`` or nothing once it runs.
        deadlock: why it was stopped.
    """

    __slots__ = ("ahead", "deadlock")
    ahead: Callable[[QueuedCall], list[Any] | None]
    deadlock: DeadlockError | None

    def settle(self, outcome: Outcome[Any]) -> None:
        if self.deadlock is not None and outcome.cancelled:
            outcome = Outcome(error=self.deadlock)
        super().settle(outcome)


def watch(adapter: LoopAdapter, call: QueuedCall) -> None:
    """Fail a call if its turn never comes because those that have it wait for the call."""
    adapter.call_later(look.AFTER, _look, adapter, call)


def _look(adapter: LoopAdapter, call: QueuedCall) -> None:
    if call.outcome is not None or not call.ahead(call):
        return
    nodes, words = _nodes(call)
    ring = _ring(stuck(nodes), (0, call.id))
    if ring:
        call.deadlock = DeadlockError(tuple([words[key] for key in ring]), _ADVICE)
        call.cancel("its turn would never come")
    else:
        watch(adapter, call)


def _ring(graph: dict[Key, list[Key]], start: Key) -> list[Key]:
    """Return a ring from `start` back to it; nothing if there is none."""
    paths: list[list[Key]] = [[start]] if start in graph else []
    seen: set[Key] = set()
    while paths:
        path = paths.pop()
        for following in graph[path[-1]]:
            if following == start:
                return path
            if following not in seen:
                seen.add(following)
                paths.append([*path, following])
    return []


def _nodes(call: QueuedCall) -> tuple[list[Node], dict[Key, str]]:
    nodes: list[Node] = []
    words: dict[Key, str] = {}
    todo: list[Any] = [call]
    while todo:
        handle = todo.pop()
        key = 0, handle.id
        if key in words:
            continue
        kind, wanted, text = _wants(handle)
        words[key] = f"{handle.name!r} {text} {', '.join(repr(each.name) for each in wanted)}"
        nodes.append(Node(key, 0.0, 0, kind, tuple([(0, each.id) for each in wanted]), (), words[key]))
        todo += wanted
    return nodes, words


def _wants(handle: Any) -> tuple[int, list[Any], str]:
    """What a task waits for; nothing if that is not certain."""
    ahead = handle.ahead(handle) if isinstance(handle, QueuedCall) else None
    if ahead:
        return TASKS, ahead, "waits for its turn after"
    if handle.backend == "loop":
        awaited = awaits(handle.backend_data)
        if awaited is not None:
            return awaited.kind, [each for each in awaited.handles if not each.done()], "awaits"
        return TASKS, [], ""
    functions = {} if handle.requests is None else {**handle.requests.running, **handle.requests.awaited}
    number = getattr(handle.location, "blocked_by", None)  # of a worker that runs nothing else until the answer
    if handle.backend == "thread" and len(functions) == 1:
        number = next(iter(functions))
    return TASKS, [functions[number]] if number in functions else [], "waits for"
