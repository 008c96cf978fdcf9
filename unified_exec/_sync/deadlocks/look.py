"""Looking for tasks that can never go on, and telling one of them.

Waiters look, from a second of waiting on (`AFTER`); nothing is noted for that before, and no other process or thread
helps. Every process tells on a board what its tasks wait for, see `board`. Two looks must find the same ring, and
between them each other process of the ring must have told the same twice more: so at the first look all of them waited.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections.abc import Iterable, Mapping
from typing import Any

from ..._loops.adapter import LoopAdapter, call_later_apart
from ..._loops.current import current_adapter
from ..._loops.deadlines import has_deadline
from ..._tasks.current import on_event_loop
from ..._tasks.holders import coroutine_holds
from ..._worker import received
from ...errors import DeadlockError
from ..shared import board
from .graph import REACH, Key, Node, group_of, reached, rings, stuck
from .remote import complete
from .snapshot import Lock, Snapshot

AFTER = 1.0
"""Seconds of waiting after which a waiter may be part of a deadlock."""
PERIOD = 0.25
"""Seconds between two looks of one waiter."""
_BEATS = 2
_ADVICE = "nobody else could send, receive, set or notify; close a channel when nothing more comes"

_looking = allocate_lock()


def renew_lock() -> None:
    """In a forked child: another thread of the parent may have held the lock."""
    global _looking, _teller
    _looking = allocate_lock()
    _teller = None


def look(locks: Iterable[Lock], looker: Any, everybody: bool = False) -> bool:
    """Look for rings of waiters. In each found twice, the waiter that came last is woken to raise `DeadlockError`.

    Args:
        locks: all locks and semaphores of this process that anybody has waited for, or that are shared.
        looker: the waiter that looks; it is awake. ``None`` for no waiter: only tell the other processes.
        everybody: look at everybody who waits in this process, also for channels and events.

    Returns:
        whether a ring was found that has to be found once more.
    """
    if not _looking.acquire(False):
        return False  # another thread looks
    try:
        found = Snapshot(locks, time.monotonic() - AFTER, looker, everybody or received.is_asked_for_waits())
        rows = board.exchange([tuple(node) for node in found.nodes]) if board.known() else {}
        more_to_come = complete(found, rows)
        return (_judge(found, rows) if found.waiters else False) or more_to_come
    finally:
        _looking.release()


def _judge(found: Snapshot, rows: Mapping[int, board.Row]) -> bool:
    suspects = False
    nodes = {node.key: node for node in found.nodes}
    where: dict[Key, int] = {}
    for pid, (_, content) in rows.items():
        for each in content:
            node = Node(*each)
            where[node.key] = pid
            if node.kind <= REACH:
                nodes.setdefault(node.key, node)
    graph = stuck(nodes.values())
    for ring in rings(graph):
        all_stuck = reached(graph, ring[0])  # it is a ring as long as none of these goes on
        if any(nodes[key].kind == REACH for key in ring):
            ring = group_of(graph, ring)
        # What a worker waits for is completed here: nobody else can tell one of such a ring.
        candidates = found.waiters.keys() if found.remote.intersection(ring) else ring
        last = max((nodes[key] for key in ring if key in candidates), key=lambda node: (node.since, node.key))
        waiter = found.waiters.get(last.key)
        if waiter is not None:
            pids = {where[key] for key in all_stuck if key in where}
            pids.update(*[found.relied_on.get(key, ()) for key in all_stuck])
            beats = {pid: rows[pid][0] for pid in pids}
            start = ring.index(last.key)
            ring = [*ring[start:], *ring[:start]]
            suspects |= _suspect(waiter, [nodes[key] for key in ring], [nodes[key] for key in all_stuck], beats)
    return suspects


def _suspect(waiter: Any, ring: list[Node], all_stuck: list[Node], beats: dict[int, int]) -> bool:
    """Tell a waiter if the last look found the same; otherwise note it, and return that it must be found again."""
    members = frozenset((node.key, node.mark, node.since, node.wants, node.holds) for node in all_stuck)
    before, first = waiter.suspected or (None, beats)
    if before != members:  # one look is not enough
        waiter.suspected = members, beats
        return True
    are_true = all(beat >= first.get(pid, beat) + _BEATS for pid, beat in beats.items())
    if are_true and waiter.error is None and not has_deadline(getattr(waiter, "holder", None)):
        words = tuple([node.words for node in ring])
        advice = (_ADVICE,) if any(node.kind == REACH for node in ring) else ()
        waiter.error = DeadlockError(words, *advice)
        waiter.wake()
    return not are_true


# -- processes in which a task holds a shared lock, and awaits something else than a lock

_teller: tuple[LoopAdapter, Any] | None = None
"""The event loop that has a timer, and the holders that it found the last time."""


def tell_holds(locks: Iterable[Lock]) -> None:
    """A task of this process holds a shared lock: while one does, tell the others what it awaits."""
    global _teller
    if (_teller is None or _teller[0].ended()) and on_event_loop():
        adapter = current_adapter()
        _teller = adapter, frozenset()
        call_later_apart(adapter, PERIOD, _tell, locks)


def _tell(locks: Iterable[Lock]) -> None:
    global _teller
    if _teller is None:
        return
    adapter, before = _teller
    held = frozenset(map(id, list(coroutine_holds)))
    if not held:
        _teller = None
        return
    if held & before:
        look(list(locks), None)
    _teller = adapter, held
    adapter.call_later(PERIOD, _tell, locks)
