"""What a call costs in a thread and in a process, in seconds, and a sentence that explains it. Pure arithmetic.

Both costs are those of a call among many in flight, which is where they differ: threads share the GIL, processes
share the cores but pay for the transfer of arguments and results.
"""

from __future__ import annotations

from typing import NamedTuple

PROCESS_CALL = 0.0002
"""Overhead in seconds of a call to a process that transfers nothing."""
THREAD_CALL = 0.00003
"""Overhead in seconds of a call to a thread."""
CROWDED_PROCESS_CALL, CROWDED_THREAD_CALL = 0.00002, 0.000005
"""The same overheads when many calls are in flight, since they overlap."""
PER_BYTE = 6e-10
"""Seconds per transferred byte, in addition to pickling."""
CHUNK = 0.003
"""Seconds of work in one chunk of a map: its items share the overhead."""
THREADS = 40
"""Calls that can wait at the same time when they run in threads."""
WORTH, CROWDED_WORTH = 0.0005, 0.0001
"""Seconds of CPU below which a call, alone or among many, never goes to a process, so its transfer is not measured."""
CROWD = 8
"""Tasks of its scope in flight from which on a call counts as one among many."""

ENTER_GAIN, ENTER_TRANSFER = 1.1, 0.25
"""A function moves to processes if throughput improves by at least this factor and the transfer takes at most this
fraction of the call's own time..."""
LEAVE_GAIN, LEAVE_TRANSFER = 0.9, 0.6
"""...and moves back below this factor or above this fraction. In between it stays where it is."""


class CallStats(NamedTuple):
    """Medians of a function's calls, in seconds.

    Attributes:
        cpu: CPU time.
        wait: time without CPU, as if the call were alone.
        gil: CPU time during which the call held the GIL.
        pickle_cost: pickling and unpickling of arguments and result, and their bytes in transfer; ``None`` while it has
            not been measured.
        crowded: most calls were among many in flight.
    """

    cpu: float
    wait: float
    gil: float
    pickle_cost: float | None
    crowded: bool = False


class PlacementCost(NamedTuple):
    """What a call costs in each place when many are in flight, in seconds.

    Attributes:
        thread: in a thread.
        process: in a process.
        transfer_cost: what a process adds to the time of a single call.
    """

    thread: float
    process: float
    transfer_cost: float

    @property
    def gain(self) -> float:
        """The throughput of processes relative to that of threads."""
        return self.thread / self.process


def placement_cost(stats: CallStats, cores: int, batched: bool = False) -> PlacementCost:
    """Compute what a call costs in each place.

    Args:
        stats: what the call takes.
        cores: the number of worker processes.
        batched: calls travel in chunks, as in a map.
    """
    wall = stats.cpu + stats.wait
    if stats.crowded:
        thread_call, process_call = CROWDED_THREAD_CALL, CROWDED_PROCESS_CALL
    else:
        thread_call, process_call = THREAD_CALL, PROCESS_CALL
    if batched:
        share = min(1.0, max(wall / CHUNK, 1e-3))
        thread_call, process_call = thread_call * share, process_call * share
    transfer = process_call + (stats.pickle_cost or 0.0)
    # One thread, the spawning one, does all the pickling: it bounds the throughput of any number of workers.
    thread = max(stats.gil, stats.cpu / cores, wall / THREADS) + thread_call
    process = max((wall + transfer) / cores, (stats.pickle_cost or 0.0) / 2)
    return PlacementCost(thread, process, transfer)


def explain(place: str, stats: CallStats, cost: PlacementCost, cores: int, batched: bool = False) -> str:
    """Explain in a sentence why a function with these stats runs in `place`."""
    wall = stats.cpu + stats.wait
    shown = f"{duration(stats.cpu)} of CPU in {duration(wall)}"
    transfer = duration(cost.transfer_cost)
    if place == "process":
        return (
            f"it computes ({shown}) and holds the GIL for {duration(stats.gil)} of it: {cores} processes do "
            f"{cost.gain:.1f} times the work, and the transfer takes {transfer}"
        )
    if stats.cpu <= 0.5 * wall and wall >= WORTH:
        return f"it waits most of the time ({shown}), which threads do well"
    if stats.cpu >= WORTH and stats.gil <= 0.6 * stats.cpu:
        return f"it releases the GIL for most of its work ({shown}): threads run in parallel and transfer nothing"
    if cores < 2:
        return f"there is one core: processes would not make it faster ({shown})"
    if not batched and stats.cpu < (CROWDED_WORTH if stats.crowded else WORTH):
        return f"it is too short ({shown}) to pay for a transfer of {transfer}"
    if cost.transfer_cost > ENTER_TRANSFER * wall:
        return f"its transfer to a process would take {transfer}, too much for {shown}"
    if stats.pickle_cost is None:
        return f"it computes ({shown}); the cost of its transfer to a process is measured next"
    return f"{cores} processes would do {cost.gain:.1f} times the work ({shown}), not enough for a move"


def duration(seconds: float) -> str:
    """Format a duration: ``12 µs``, ``3.4 ms``, ``2.1 s``."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * factor
        if value >= 1:
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return "0 µs" if seconds < 5e-8 else f"{seconds * 1e6:.1g} µs"
