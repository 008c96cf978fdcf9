"""Looking for waits that nobody can end any more, on behalf of those who wait for a channel, an event, and the like.

They note nothing. A timer of each event loop with such waiters, and each thread that waits, looks from a second on. To
look takes milliseconds: it is done ever less often while the same ones wait, and takes a hundredth of the time at most.
"""

from __future__ import annotations

import logging
import time
from _thread import allocate_lock
from typing import Any

from ..._loops.adapter import LoopAdapter, call_later_apart
from ..._worker import context, received
from ..shared.sleepers import QueueSleeper
from . import look
from .known import all_locks, waited_for
from .reach import can_count
from .remote import raise_in_worker, said

_PAUSE_MAX = 8
"""The longest pause between two looks, in seconds waited at first."""
SHARE = 100
"""The time between two looks is at least as many times that which a look takes."""

EAGER = 12
"""Looks in a row, while the same ones wait, after which it is not thought that the next look will find more."""
_SAY_PAUSE, _SAY_AGAIN = 0.2, 8
"""The least seconds between two messages of a worker that tasks wait, and the most for one wait."""

NEVER = 86400.0
"""Seconds after which a thread asks again where nobody can look."""

_guard = allocate_lock()
_before: frozenset[int] = frozenset()  # who waited at the last look
_pause = 1
_next = 0.0
_asked = 0.0  # before that no thread that wakes by itself asks
_floor = 0.0  # before that nobody looks, or looks would take too much of the time
_failed = False
_eager = 0  # looks since others began to wait that made another one likely
_said_last = 0.0, 0.0, 1
"""In a worker: when the wait began that was said last, when that was said, and seconds until it is said again."""


def renew_lock() -> None:
    """In a forked child: another thread of the parent may have held the lock."""
    global _guard
    _guard = allocate_lock()


def note(waited: Any) -> None:
    """Somebody waits for this, which is not known to be waited for."""
    waited.known = True
    waited_for.add(waited)


def note_shared(waited: Any, adapter: LoopAdapter | None = None) -> None:
    """Somebody, maybe a coroutine of this loop, waits for what is shared. In a worker, that says so to the parent."""
    if not waited.known:
        note(waited)
    if context.worker is None and adapter is not None and not adapter.watched:
        begin(adapter)


def begin(adapter: LoopAdapter, after: float | None = None) -> None:
    """A coroutine of this event loop begins to wait, or a task elsewhere, for which it looks `after` seconds later."""
    adapter.watched = True
    call_later_apart(adapter, _first() if after is None else after, _tick, adapter)


def _tick(adapter: LoopAdapter) -> None:
    pause = None
    try:
        pause = watch()
    finally:
        if pause is None or adapter.ended():
            adapter.watched = False
        else:
            adapter.call_later(pause, _tick, adapter)


def _first() -> float:
    return max(look.AFTER, look.PERIOD)


def watch_from(since: float) -> float:
    """Look on behalf of a thread that has waited since then; returns the seconds until it should ask again."""
    if not can_count():
        return NEVER
    left = since + _first() - time.monotonic()
    return left if left > 0 else watch() or _first()


def watch_by_the_way(sleeper: QueueSleeper) -> None:
    """`watch_from`, for a thread that waits for what is shared, and wakes by itself several times a second."""
    global _asked
    now = time.monotonic()
    if context.worker is not None:
        tell(sleeper)
    elif can_count() and now >= max(_asked, sleeper.since + _first()):
        _asked = now + min(watch() or 0.0, _first())


def tell(sleeper: QueueSleeper) -> None:
    """If this is a worker: say to the parent that a task has waited for long, and tell more if it asks."""
    global _said_last
    worker, now = context.worker, time.monotonic()
    if worker is None or worker.backend != "process" or not can_count() or now < sleeper.since + look.AFTER:
        return
    since, at, pause = _said_last
    is_same = since == sleeper.since
    if now >= at + (pause if is_same else _SAY_PAUSE):
        _said_last = sleeper.since, now, min(pause * 2, _SAY_AGAIN) if is_same else 1
        received.say_long_wait(worker, id(sleeper))
    if received.is_asked_for_waits():
        try:
            look.look(all_locks, None, everybody=True)
        except Exception as error:
            _note_failure(error)


def _heard(adapter: LoopAdapter, worker: Any, mark: bytes) -> None:
    """A worker says that a task has waited for long."""
    said.add(worker, mark, look.AFTER)
    if context.worker is not None and context.worker.backend == "process":
        received.say_long_wait(context.worker, int.from_bytes(mark, "little"))
    if not said.known:
        note(said)
    if not adapter.watched:
        begin(adapter, look.PERIOD)


received.on_long_wait = _heard
received.on_endless_wait = raise_in_worker


def watch() -> float | None:
    """Look, if it is time; returns the seconds until one should ask again, ``None`` if nobody waits.

    An error in here is this package's. It is logged once, and reaches no wait.
    """
    try:
        return _watch() if can_count() else None
    except Exception as error:
        _note_failure(error)
        return NEVER


def _note_failure(error: Exception) -> None:
    global _failed
    if not _failed:
        _failed = True
        logging.getLogger("unified_exec").error("looking for endless waits failed", exc_info=error)


def _watch() -> float | None:
    global _next, _floor
    old, waits = _asleep()
    if not waits:
        return None
    if not old or not _guard.acquire(False):
        return _first()
    try:
        began, cpu = time.monotonic(), time.thread_time()
        due = _next if old == _before else _floor
        if began < due:
            return max(due - began, look.PERIOD)
        suspects = look.look(all_locks, None, everybody=True)
        now, least = time.monotonic(), (time.thread_time() - cpu) * SHARE
        _floor = now + least
        _next = now + max(_pause_after(old, suspects), least)
        return max(_next - now, look.PERIOD)
    finally:
        _guard.release()


def _pause_after(old: frozenset[int], suspects: bool) -> float:
    global _before, _pause, _eager
    is_eager = suspects and _eager < EAGER
    _eager = _eager + suspects if old == _before else 0
    _pause = min(_pause * 2, _PAUSE_MAX) if old == _before else 1
    _before = old
    return look.PERIOD if is_eager else _pause * _first()


def _asleep() -> tuple[frozenset[int], bool]:
    """Who has waited for long, by id, and whether anybody waits."""
    oldest = time.monotonic() - look.AFTER
    old: list[int] = []
    waits = False
    for each in waited_for:
        asleep = each.asleep()
        if not asleep:
            waited_for.discard(each)
            each.known = False
            asleep = each.asleep()
            if asleep:  # since just now
                note(each)
        waits = waits or bool(asleep)
        old += [id(sleeper) for sleeper in asleep if sleeper.since <= oldest]
    return frozenset(old), waits
