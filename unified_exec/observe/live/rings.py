"""Deadlocks: waits that nothing outside of them can end."""

from __future__ import annotations

from collections.abc import Mapping

Waits = Mapping[int, tuple[tuple[int, ...], bool]]
"""By waiter: those that can end its wait, and whether every one of them must."""


def stuck(waits: Waits) -> set[int]:
    """Return the waiters that can never go on: the largest set that nobody outside of it can help.

    A cycle is not enough: one of three who hold a `Limit(3)` may be about to release it. So begin with all waiters, and
    remove those that may go on until nothing changes. One that is not in `waits` runs, or waits for something unknown.
    """
    dead = set(waits)
    changed = True
    while changed:
        changed = False
        for waiter in list(dead):
            enders, every = waits[waiter]
            helped = not any(each in dead for each in enders) if every else not all(each in dead for each in enders)
            if helped or not enders:
                dead.discard(waiter)
                changed = True
    return dead


def rings(waits: Waits) -> list[list[int]]:
    """Return the rings among the waiters that can never go on, each from its smallest number on.

    Those that merely wait for a ring are left out.
    """
    dead = stuck(waits)
    found: list[list[int]] = []
    seen: set[int] = set()
    for start in sorted(dead):
        path: list[int] = []
        at = start
        while at not in seen:
            seen.add(at)
            path.append(at)
            at = next(each for each in waits[at][0] if each in dead)
        if at in path:
            ring = path[path.index(at) :]
            least = ring.index(min(ring))
            found.append(ring[least:] + ring[:least])
    return found
