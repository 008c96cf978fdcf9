"""What anybody of this process has waited for, as far as deadlocks are looked for there."""

from __future__ import annotations

from ..._tasks.weak_sets import Registry

all_locks = Registry()
"""The locks and semaphores of this process that anybody has waited for, or that are shared; see `waiters` and `holds`
of each."""

waited_for = Registry()
"""Channels by their forms, events, conditions, barriers and limits that somebody waits for, or has waited for lately;
see `asleep` of each."""
