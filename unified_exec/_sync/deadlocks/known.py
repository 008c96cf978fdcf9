"""What anybody of this process has waited for, as far as deadlocks are looked for there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

__all__ = ["Registry", "all_locks", "waited_for"]


class Registry:
    """Objects while they live. Any thread may add, discard and iterate at the same time, the collector too.

    A `WeakSet` runs Python code while it is copied. Here each step is one operation of a dictionary.
    """

    def __init__(self) -> None:
        self._refs: dict[int, ref[Any]] = {}

    def add(self, one: Any) -> None:
        number, refs = id(one), self._refs
        if number not in refs:
            refs[number] = ref(one, lambda _: refs.pop(number, None))

    def discard(self, one: Any) -> None:
        self._refs.pop(id(one), None)

    def __contains__(self, one: object) -> bool:
        return id(one) in self._refs

    def __iter__(self) -> Iterator[Any]:
        """Iterate over a copy."""
        return iter([one for each in self._refs.copy().values() if (one := each()) is not None])


all_locks = Registry()
"""The locks and semaphores of this process that anybody has waited for, or that are shared; see `waiters` and `holds`
of each."""

waited_for = Registry()
"""Channels, events, conditions and barriers of this process alone, and limits, that somebody waits for, or has waited
for lately; see `asleep` of each."""
