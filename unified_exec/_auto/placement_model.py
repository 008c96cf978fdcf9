"""Decides between threads and processes for a plain function. Pure arithmetic on measurements of its calls.

Both places are judged by what a call costs when many are in flight, which is where they differ: threads share the GIL,
processes share the cores but pay for the transfer. A single call should lose little by the move, so a transfer that
takes long compared with the work is rejected whatever the gain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from .._handles.decision import Decision
from .cost_model import (
    CHUNK,
    CROWD,
    CROWDED_WORTH,
    ENTER_GAIN,
    ENTER_TRANSFER,
    LEAVE_GAIN,
    LEAVE_TRANSFER,
    PER_BYTE,
    WORTH,
    CallStats,
    PlacementCost,
    explain,
    placement_cost,
)

WINDOW = 5
"""Samples kept; decisions are made on their medians."""
OTHERS_MOST = 0.15
"""Cores that the program's other threads may use during a sample that counts as undisturbed."""
PARALLEL = 1.3
"""Cores a program must use to prove that its threads run in parallel."""
BUSY = 20.0
"""A call held the GIL for at most this multiple of its CPU time; a longer time only shows that the machine was busy."""
CHANGED = 4.0
"""Factor by which the CPU time must grow or shrink before the undisturbed samples count as outdated."""
SETTLED = 3
"""Samples in favour of the present place after which fewer calls are measured."""
INTERVAL_MOST = 256
"""In the end one call in this many is measured; of long calls more, since measuring costs them little."""
PROFILE_COST, SHORT_PROFILE_COST = 0.0005, 0.00005
"""Seconds that measuring a call takes with and without a GIL monitor, whose start is most of it."""
MONITORED = 0.0008
"""Seconds that recent calls must have taken for the next to get a GIL monitor: shorter ones end before it sees them."""
OVERHEAD_MOST = 0.02
"""Fraction of its time by which measuring may slow down a settled function."""
CLEAR = 0.05
"""Seconds of CPU from which a single sample is enough for the first move."""
EVIDENCE = 2
"""Consecutive samples against a place that are needed for the first move; each further move needs twice as many..."""
EVIDENCE_MOST = 128
"""...up to this."""


class Sample(NamedTuple):
    """What one call took, in seconds.

    Attributes:
        cpu: CPU time of its own thread.
        wall: time from start to end.
        blocked: time in which the GIL was refused to another thread, ``None`` if unknown.
        others: CPU time of the program's other threads meanwhile.
        pickle_cost: pickling and unpickling of arguments and result, and the transfer of their bytes; ``None`` if
            unknown.
        items: calls in it, if it was a chunk of a map.
        in_flight: tasks of its scope in flight when it was spawned.
    """

    cpu: float
    wall: float
    blocked: float | None = None
    others: float = 0.0
    pickle_cost: float | None = None
    items: int = 1
    in_flight: int = 0


ON_LOOP = Decision("loop", "it is an async function")
NO_GIL = Decision("thread", "this interpreter has no GIL: threads run in parallel")
UNKNOWN = Decision("thread", "nothing is known about it yet: its first calls run in a thread and are measured")


class PlacementModel:
    """Decides where the calls of one function run: a state machine fed with samples, which never flaps.

    It starts in threads. It moves after several consecutive samples against its place, and needs twice as many after
    each move: the number of moves is at most about the logarithm of the number of samples.

    Args:
        cores: the number of worker processes.
        batched: the function is called for the items of a map, in chunks.
    """

    __slots__ = (
        "_against",
        "_agreeing",
        "_batched",
        "_cores",
        "_countdown",
        "_cpu",
        "_in_flight",
        "_interval",
        "_pickle_costs",
        "_refusal",
        "_shares",
        "_unpickled_seconds",
        "_walls",
        "calls",
        "decision",
        "moves",
        "pinned",
        "place",
    )

    def __init__(self, cores: int, batched: bool = False) -> None:
        self._cores = cores
        self._batched = batched
        self._cpu: deque[float] = deque(maxlen=WINDOW)
        self._walls: deque[float] = deque(maxlen=WINDOW)
        self._in_flight: deque[int] = deque(maxlen=WINDOW)
        self._shares: _Shares = _Shares()
        self._pickle_costs: deque[float] = deque(maxlen=WINDOW)
        self._against = self._agreeing = 0
        self._interval = self._countdown = 1
        self._refusal = 0
        self._unpickled_seconds = 0.0
        self.place = "thread"
        self.moves = 0
        self.calls = 0
        self.pinned = False
        self.decision = UNKNOWN

    def due(self) -> bool:
        """Count a call; returns whether to measure it."""
        self._countdown -= 1
        if self._countdown > 0:
            return False
        self._countdown = self._interval
        return not self.pinned

    @property
    def settled(self) -> bool:
        return self._agreeing >= SETTLED or self.pinned

    @property
    def can_monitor_gil(self) -> bool:
        """Whether the next measured call may be long enough for a GIL monitor."""
        return len(self._walls) < EVIDENCE or max(self._walls) >= MONITORED

    def payload_bytes(self) -> int:
        """Return whether to pickle the next measured call too: 0, or the largest payload with which it could still
        move. Only work for which a move might pay is pickled."""
        if self._cores < 2 or self._refusal or not self._cpu or not self._worth(median(self._cpu)):
            return 0
        if len(self._pickle_costs) >= EVIDENCE and median(self._pickle_costs) > OVERHEAD_MOST * self._unpickled_seconds:
            return 0
        stats = self.stats()
        wall = (stats.cpu + stats.wait) * (CHUNK / max(stats.cpu, 1e-6) if self._batched else 1.0)
        return 1 + int(LEAVE_TRANSFER * wall / PER_BYTE)

    @property
    def _crowded(self) -> bool:
        return bool(self._in_flight) and median(self._in_flight) >= CROWD

    def _worth(self, cpu: float) -> bool:
        return self._batched or cpu >= (CROWDED_WORTH if self._crowded else WORTH)

    def add(self, sample: Sample) -> None:
        """Add a sample, and move if the evidence is sufficient."""
        self.calls += 1
        items = max(1, sample.items)
        cpu = sample.cpu / items
        if self._cpu and not _alike(cpu, median(self._cpu)):
            self._shares.outdated()
        self._cpu.append(cpu)
        self._walls.append(sample.wall)
        self._in_flight.append(sample.in_flight)
        self._shares.add(sample)
        self._unpickled_seconds += sample.wall / items
        if sample.pickle_cost is not None:
            self._pickle_costs.append(sample.pickle_cost / items)
            self._unpickled_seconds = 0.0
        if not self.pinned:
            self._judge(sample.cpu)

    def stats(self) -> CallStats:
        """Return the medians of the latest samples."""
        cpu = median(self._cpu)
        wait, gil = self._shares.shares()
        pickle_cost = median(self._pickle_costs) if self._pickle_costs else None
        return CallStats(cpu, wait * cpu if cpu else wait, gil * cpu, pickle_cost, self._crowded)

    def _judge(self, latest: float) -> None:
        stats = self.stats()
        cost = placement_cost(stats, self._cores, self._batched)
        wall = stats.cpu + stats.wait
        self._refusal = max(0, self._refusal - 1)
        wanted = self._wanted(stats, cost)
        if wanted is None:
            self._against = 0
        elif wanted == self.place:
            self._against = 0
            self._agreeing += 1
            if self._agreeing >= SETTLED:
                profile_cost = PROFILE_COST if self.can_monitor_gil else SHORT_PROFILE_COST
                self._interval = max(
                    1, min(INTERVAL_MOST, 2 * self._interval, int(profile_cost / OVERHEAD_MOST / max(wall, 1e-9)))
                )
        else:
            self._against += 1
            self._interval = min(self._interval, 4)
            self._countdown = min(self._countdown, self._interval)
            needed = 1 if not self.moves and latest >= CLEAR else min(EVIDENCE_MOST, EVIDENCE * 2**self.moves)
            if self._against >= needed:
                self._move(wanted)
        self.decision = self._explained(stats, cost)

    def _wanted(self, stats: CallStats, cost: PlacementCost) -> str | None:
        wall = stats.cpu + stats.wait
        if self.place == "process":
            stays = cost.gain >= LEAVE_GAIN and cost.transfer_cost <= LEAVE_TRANSFER * wall
            return "process" if stays else "thread"
        if self._refusal or not self._worth(stats.cpu):
            return "thread"
        if cost.gain < ENTER_GAIN or cost.transfer_cost > ENTER_TRANSFER * wall:
            return "thread"
        return "process" if stats.pickle_cost is not None else None  # measure the transfer first

    def _move(self, place: str) -> None:
        self.place = place
        self.moves += 1
        self._against = self._agreeing = 0
        self._interval = 1

    def refuse(self, why: str) -> None:
        """Note that a call could not be pickled: back to threads, and no second attempt before many more samples."""
        if self.place == "process":
            self._move("thread")
        self._refusal = min(EVIDENCE_MOST, EVIDENCE * 2 ** (self.moves + 1))
        self._against = 0
        self.decision = Decision("thread", f"it cannot be sent to a process: {why}", self._table())

    def pin(self, why: str) -> None:
        """Keep the function in this process for good."""
        if self.place == "process":
            self._move("thread")
        self.pinned = True
        self.decision = Decision("thread", why, self._table())

    def _table(self) -> Mapping[str, float]:
        if not self._cpu:
            return MappingProxyType({})
        stats = self.stats()
        return _table(self.calls, stats, placement_cost(stats, self._cores, self._batched))

    def _explained(self, stats: CallStats, cost: PlacementCost) -> Decision:
        if self._refusal and self.place == "thread":
            return self.decision
        reason = explain(self.place, stats, cost, self._cores, self._batched)
        return Decision(self.place, reason, _table(self.calls, stats, cost))


def waited(sample: Sample) -> float:
    """Return the seconds in which an undisturbed call waited for something outside: without CPU and without the GIL.

    A call that holds the GIL does not count as waiting, however long it waits for a core on a busy machine. But if the
    GIL seems to be held for far longer than the call has computed, that says more about the machine than the call.
    """
    held = sample.blocked if sample.blocked is not None and sample.blocked <= BUSY * sample.cpu else 0.0
    return max(0.0, sample.wall - max(sample.cpu, held))


class _Shares:
    """Waiting, and holding the GIL, in proportion to CPU time; from undisturbed calls once there is one."""

    __slots__ = ("_clean", "_disturbed", "_held", "_together")

    def __init__(self) -> None:
        self._clean: deque[float] = deque(maxlen=WINDOW)
        self._disturbed: deque[float] = deque(maxlen=WINDOW)
        self._held: deque[float] = deque(maxlen=WINDOW)
        self._together: deque[float] = deque(maxlen=WINDOW)

    def add(self, sample: Sample) -> None:
        items = max(1, sample.items)
        unit = sample.cpu or 1.0  # without any CPU time, keep the waiting in seconds
        clean = sample.others <= OTHERS_MOST * sample.wall
        if clean:
            self._clean.append(waited(sample) / (items if unit == 1.0 else 1) / unit)
        else:
            self._disturbed.append(max(0.0, sample.wall - sample.cpu - sample.others) / unit)
        if sample.blocked is not None and sample.cpu:
            self._held.append(min(1.0, sample.blocked / sample.cpu))
        self._together.append((sample.cpu + sample.others) / sample.wall if sample.wall and not clean else 1.0)

    def outdated(self) -> None:
        for seen in (self._clean, self._disturbed, self._held, self._together):
            seen.clear()

    def shares(self) -> tuple[float, float]:
        """Return waiting and holding.

        A call that holds the GIL or waits always appears to do so; but on a busy machine, where every thread waits for
        a core, a free GIL also appears held and a computing call appears to wait. So the minimum counts; of the
        waiting, which differs from call to call, the second smallest.
        """
        held = min(self._held, default=1.0)
        together = median(self._together or [0.0])
        if together > PARALLEL:
            held = min(held, 1 / together)  # includes the cost of passing the GIL back and forth
        waits = sorted(self._clean or self._disturbed)
        return waits[min(1, (len(waits) - 1) // 2)] if waits else 0.0, held


def _alike(a: float, b: float) -> bool:
    low, high = sorted((a + 1e-6, b + 1e-6))
    return high <= CHANGED * low


def _table(calls: int, stats: CallStats, cost: PlacementCost) -> Mapping[str, float]:
    return MappingProxyType(
        {
            "calls": calls,
            "cpu": stats.cpu,
            "wait": stats.wait,
            "gil": stats.gil,
            "transfer": cost.transfer_cost,
            "thread": cost.thread,
            "process": cost.process,
        }
    )
