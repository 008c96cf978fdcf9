"""What a call costs in a thread and in a process, in seconds, and the sentence that says so. Pure arithmetic.

Both are priced for many calls under way, which is where they differ: threads share one interpreter lock, processes
share the cores but pay for the journey.
"""

from __future__ import annotations

from typing import NamedTuple

CALL = 0.0002
"""Seconds a call to a process takes more than its work, with nothing to carry."""
THREAD_CALL = 0.00003
"""The same for a call to a thread."""
CROWD_CALL, CROWD_THREAD_CALL = 0.00002, 0.000005
"""The same when many calls are under way: their journeys overlap."""
PER_BYTE = 6e-10
"""Seconds for each byte that travels beside its pickling."""
CHUNK = 0.003
"""Seconds of work in one chunk of a map: the journey is shared by the items in it."""
THREADS = 40
"""Calls that wait at the same time when they run in threads."""
WORTH, CROWD_WORTH = 0.0005, 0.0001
"""Seconds of CPU below which a call, alone or in a crowd, is never sent, so that its journey needs not be known."""
CROWD = 8
"""Tasks of its scope that were under way before a call, from which it counts as one of many."""

ENTER_GAIN, ENTER_JOURNEY = 1.1, 0.25
"""A function goes to processes when they do at least so many times the work, and the journey is at most this share of
the call's own time..."""
LEAVE_GAIN, LEAVE_JOURNEY = 0.9, 0.6
"""...and comes back below the one or above the other. Between the two nothing changes."""


class Figures(NamedTuple):
    """A call's medians, in seconds.

    Attributes:
        cpu: CPU time.
        wait: time without CPU, as if the call were alone.
        gil: CPU time during which it held the interpreter's lock.
        weight: pickling there and back and the bytes on the way; ``None`` as long as nobody has weighed it.
        crowded: most calls were among many.
    """

    cpu: float
    wait: float
    gil: float
    weight: float | None
    crowded: bool = False


class Prices(NamedTuple):
    """What a call costs in each place when many are under way, in seconds; `journey` is what a process adds to one."""

    thread: float
    process: float
    journey: float

    @property
    def gain(self) -> float:
        """How many times the work processes do."""
        return self.thread / self.process


def prices(figures: Figures, cores: int, batched: bool = False) -> Prices:
    """Price a call.

    Args:
        figures: what it takes.
        cores: worker processes there would be.
        batched: calls travel in chunks, as in a map.
    """
    wall = figures.cpu + figures.wait
    thread_call, call = (CROWD_THREAD_CALL, CROWD_CALL) if figures.crowded else (THREAD_CALL, CALL)
    if batched:
        share = min(1.0, max(wall / CHUNK, 1e-3))
        thread_call, call = thread_call * share, call * share
    journey = call + (figures.weight or 0.0)
    # Pickling is done by the one thread that spawns: it bounds what any number of workers can do.
    thread = max(figures.gil, figures.cpu / cores, wall / THREADS) + thread_call
    process = max((wall + journey) / cores, (figures.weight or 0.0) / 2)
    return Prices(thread, process, journey)


def explain(place: str, figures: Figures, price: Prices, cores: int, batched: bool = False) -> str:
    """Say in a sentence why a function with these figures runs in `place`."""
    wall = figures.cpu + figures.wait
    shown = f"{duration(figures.cpu)} of CPU in {duration(wall)}"
    if place == "process":
        return (
            f"it computes ({shown}) and holds the GIL for {duration(figures.gil)} of it: {cores} processes do "
            f"{price.gain:.1f} times the work, and the journey takes {duration(price.journey)}"
        )
    if figures.cpu <= 0.5 * wall and wall >= WORTH:
        return f"it waits most of the time ({shown}), which threads do well"
    if figures.cpu >= WORTH and figures.gil <= 0.6 * figures.cpu:
        return f"it lets go of the GIL for most of its work ({shown}): threads run in parallel and carry nothing"
    if cores < 2:
        return f"there is one core: processes would not make it faster ({shown})"
    if not batched and figures.cpu < (CROWD_WORTH if figures.crowded else WORTH):
        return f"it is too short ({shown}) to pay for a journey of {duration(price.journey)}"
    if price.journey > ENTER_JOURNEY * wall:
        return f"its journey to a process would take {duration(price.journey)}, too much for {shown}"
    if figures.weight is None:
        return f"it computes ({shown}); what its journey to a process would cost is measured next"
    return f"{cores} processes would do {price.gain:.1f} times the work ({shown}), not enough for a move"


def duration(seconds: float) -> str:
    """Seconds for people: ``12 µs``, ``3.4 ms``, ``2.1 s``."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * factor
        if value >= 1:
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return "0 µs" if seconds < 5e-8 else f"{seconds * 1e6:.1g} µs"
