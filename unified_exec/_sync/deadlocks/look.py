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
from ...errors import DeadlockError
from ..shared import board
from .graph import Key, Node, rings, stuck
from .snapshot import Lock, Snapshot

__all__ = ["AFTER", "PERIOD", "look", "renew_lock", "tell_holds"]

AFTER = 1.0
"""Seconds of waiting after which a waiter may be part of a deadlock."""
PERIOD = 0.25
"""Seconds between two looks of one waiter."""
_BEATS = 2

_looking = allocate_lock()


def renew_lock() -> None:
    """In a forked child: another thread of the parent may have held the lock."""
    global _looking, _teller
    _looking = allocate_lock()
    _teller = None


def look(locks: Iterable[Lock], looker: Any) -> None:
    """Look for rings of waiters. In each found twice, the waiter that came last is woken to raise `DeadlockError`.

    Args:
        locks: all locks and semaphores of this process that anybody has waited for, or that are shared.
        looker: the waiter that looks; it is awake. ``None`` for no waiter: only tell the other processes.
    """
    if not _looking.acquire(False):
        return  # another thread looks
    try:
        found = Snapshot(locks, time.monotonic() - AFTER, looker)
        rows = board.exchange([tuple(node) for node in found.nodes]) if board.known() else {}
        if found.waiters:
            _judge(found, rows)
    finally:
        _looking.release()


def _judge(found: Snapshot, rows: Mapping[int, board.Row]) -> None:
    nodes = {node.key: node for node in found.nodes}
    where: dict[Key, int] = {}
    for pid, (_, content) in rows.items():
        for each in content:
            node = Node(*each)
            where[node.key] = pid
            nodes.setdefault(node.key, node)
    for ring in rings(stuck(nodes.values())):
        last = max((nodes[key] for key in ring), key=lambda node: (node.since, node.key))
        waiter = found.waiters.get(last.key)
        if waiter is not None:
            beats = {where[key]: rows[where[key]][0] for key in ring if key in where}
            start = ring.index(last.key)
            _suspect(waiter, [nodes[key] for key in (*ring[start:], *ring[:start])], beats)


def _suspect(waiter: Any, ring: list[Node], beats: dict[int, int]) -> None:
    members = frozenset((node.key, node.mark, node.since, node.holds) for node in ring)
    before, first = waiter.suspected or (None, beats)
    if before != members:  # one look is not enough
        waiter.suspected = members, beats
        return
    are_true = all(beat >= first.get(pid, beat) + _BEATS for pid, beat in beats.items())
    if are_true and waiter.error is None and not has_deadline(waiter.holder):
        waiter.error = DeadlockError(tuple([node.words for node in ring]))
        waiter.wake()


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
