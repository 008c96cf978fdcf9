"""What anybody of this process has waited for, as far as deadlocks are looked for there."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

__all__ = ["all_locks", "waited_for"]

all_locks: WeakSet[Any] = WeakSet()
"""The locks and semaphores of this process that anybody has waited for, or that are shared; see `waiters` and `holds`
of each."""

waited_for: WeakSet[Any] = WeakSet()
"""Channels, events, conditions and barriers of this process alone, and limits, that somebody waits for, or has waited
for lately; see `asleep` of each."""
