"""Who can never go on: pure rules over what tasks wait for, in one process or in several."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

PERMIT, TASKS, ANY_TASK, REACH, PART, HAS, BELOW, UNDER = range(8)
"""What a node waits for: a permit of a lock; the end of each of some tasks; tasks one of which is enough to hold it; an
object that only these tasks have, perhaps none.

The others come from a worker, and only the process of the program makes nodes of them: a wait for an object of which a
worker knows only who has it there; who that is; which tasks a worker of its own has that was sent the object; and of
such a task, who could cancel it."""

Key = tuple[int, int]
"""A process, and a number in it."""


class Node(NamedTuple):
    """A task or thread that waits. It travels between processes as a plain tuple.

    Attributes:
        key: names it: by the process that spawned it and its id there if it is the task of a scope.
        since: when it began to wait (`time.monotonic`), 0 if that is not known: such a node is never told.
        mark: changes whenever one wait ends and the next one begins.
        kind: `PERMIT`, `TASKS`, `ANY_TASK` or `REACH`; `PART`, `HAS`, `BELOW` or `UNDER`.
        wants: the lock and the number of its permits, or the tasks. Of `PART`: the token of the object, the name of the
            wait, the task of the parent that this one belongs to, and those whose code could cancel it. Of `HAS`: the
            token, and who has it. Of `BELOW`: the token, the process, and its tasks. Of `UNDER`: the task, and as
            of `PART` the one that it belongs to, and those who could cancel it.
        holds: the locks of which it has permits, once for each permit.
        words: what it holds and waits for, in words.
    """

    key: Key
    since: float
    mark: int
    kind: int
    wants: tuple[Any, ...]
    holds: tuple[Any, ...]
    words: str


def stuck(nodes: Iterable[Node]) -> dict[Key, list[Key]]:
    """Return the nodes that can never go on, with those that each waits for.

    Begin with all nodes, and remove those that may go on until nothing changes. A holder that is not among the nodes
    runs, or waits for something that is not known: who waits for it may go on.
    """
    by_key = {node.key: node for node in nodes}
    holders: dict[Any, list[Key]] = {}
    for node in by_key.values():
        for lock in node.holds:
            holders.setdefault(lock, []).append(node.key)
    waits = {key: _blockers(node, by_key, holders) for key, node in by_key.items()}
    left = set(waits)
    while True:
        free = [key for key in left if not _is_stuck(by_key[key], waits[key], left)]
        if not free:
            return {key: [other for other in waits[key] if other in left] for key in left}
        left.difference_update(free)


def _blockers(node: Node, by_key: Mapping[Key, Node], holders: Mapping[Any, list[Key]]) -> list[Key]:
    if node.kind == PERMIT:
        lock, total = node.wants
        found = holders.get(lock, [])
        # One that holds what it waits for is between the two: it has just taken the permit.
        return found if len(found) >= total and node.key not in found else []
    known = [task for task in node.wants if task in by_key]
    return known if node.kind == ANY_TASK or len(known) == len(node.wants) else []


def _is_stuck(node: Node, blockers: list[Key], left: Collection[Key]) -> bool:
    return (bool(blockers) or (node.kind == REACH and not node.wants)) and (any if node.kind == ANY_TASK else all)(
        other in left for other in blockers
    )


def rings(graph: Mapping[Key, list[Key]]) -> list[list[Key]]:
    """Return one ring of each group of nodes that wait for one another; a node that waits for none is one by itself."""
    found: list[list[Key]] = []
    done: set[Key] = set()
    for start in sorted(graph):
        path: list[Key] = []
        node = start
        while node not in done and node not in path:  # this walk ends in a ring
            path.append(node)
            node = min(graph[node], default=node)
        if node in path:
            found.append(path[path.index(node) :])
        done.update(path)
    return found


def group_of(graph: Mapping[Key, list[Key]], ring: list[Key]) -> list[Key]:
    """Return those that wait for a node of this ring, and that it waits for, over any number of others."""
    ahead = reached(graph, ring[0])
    behind: dict[Key, list[Key]] = {key: [] for key in graph}
    for key, waits_for in graph.items():
        for other in waits_for:
            behind[other].append(key)
    return sorted(ahead & reached(behind, ring[0]))


def reached(graph: Mapping[Key, list[Key]], start: Key) -> set[Key]:
    """Return this node and all that it waits for, over any number of others."""
    found, todo = {start}, [start]
    while todo:
        following = set(graph[todo.pop()]) - found
        found |= following
        todo += following
    return found
