"""Threads or processes for a plain function? Pure arithmetic on what its calls were seen to take.

Both choices are judged by what a call costs when many of them are under way, which is where they differ: threads
share one interpreter lock, processes share the cores but pay for the journey. A call that is alone should lose
little by it, so a journey that is long beside the work is refused whatever it would gain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from .cost_model import (
    CHUNK,
    CROWD,
    CROWD_WORTH,
    ENTER_GAIN,
    ENTER_JOURNEY,
    LEAVE_GAIN,
    LEAVE_JOURNEY,
    PER_BYTE,
    WORTH,
    Figures,
    Prices,
    explain,
    prices,
)

SEEN = 5
"""Samples that are looked back at; medians of them are judged."""
OTHERS = 0.15
"""Cores that other threads of the program may keep busy during a sample that counts as undisturbed."""
PARALLEL = 1.3
"""Cores a program must use to prove that its threads run in parallel."""
BUSY = 20.0
"""Times its CPU time that a call may have held the lock: on a busy machine it must wait for a core meanwhile."""
CHANGED = 4.0
"""Times the CPU time must grow or shrink before what was seen undisturbed is held for outdated."""
SETTLED = 3
"""Samples that agree with the place before fewer calls are looked at."""
RARELY = 256
"""Then at last one call in so many is looked at; of long calls more, as the look costs them little."""
LOOK, SHORT_LOOK = 0.0005, 0.00005
"""Seconds a look takes, with and without a thread that watches the lock: its start is most of it."""
WATCHED = 0.0008
"""Seconds a call must have taken of late for the next to be watched: a shorter one ends before the watch sees it."""
SPENT = 0.02
"""Share of its time that the calls of a settled function may be slowed down by looks."""
CLEAR = 0.05
"""Seconds of CPU after which one sample is enough for the first move."""
EVIDENCE = 2
"""Samples in a row that must speak against a place for the first move; for each further one twice as many..."""
EVIDENCE_MOST = 128
"""...up to this."""


class Sample(NamedTuple):
    """What one call was seen to take, in seconds.

    Attributes:
        cpu: CPU time of its own thread.
        wall: time from start to end.
        blocked: time in which another thread that wanted the interpreter could not have it, ``None`` if unknown.
        others: CPU time of the program's other threads meanwhile.
        weight: pickling of arguments and result, there and back, and their bytes on the way; ``None`` if unknown.
        items: calls in it, if it was a chunk of a map.
        crowd: tasks of its scope that were under way when it was spawned.
    """

    cpu: float
    wall: float
    blocked: float | None = None
    others: float = 0.0
    weight: float | None = None
    items: int = 1
    crowd: int = 0


class Decision(NamedTuple):
    """Where a call with ``on="auto"`` went, and why.

    Attributes:
        place: ``"loop"``, ``"thread"`` or ``"process"``.
        reason: one sentence.
        figures: what was measured by then, in seconds a call: ``cpu``, ``wait``, ``gil`` (CPU time that held the
            interpreter's lock), ``journey`` (what a process adds), ``thread`` and ``process`` (the time a call takes
            when many are under way), and ``calls``, how many calls were measured. Empty before the first.

    Example::

        import anyio
        from unified_exec import TaskScope

        async def main():
            async with TaskScope() as scope:
                handle = scope.spawn(sum, range(1000), on="auto")
                await handle
                print(handle.decision.place, "because", handle.decision.reason)

        anyio.run(main)
    """

    place: str
    reason: str
    figures: Mapping[str, float] = MappingProxyType({})


ON_LOOP = Decision("loop", "it is an async function")
NO_GIL = Decision("thread", "this interpreter has no GIL: threads run in parallel")
UNKNOWN = Decision("thread", "nothing is known about it yet: its first calls run in a thread and are measured")


class PlacementModel:
    """Where one function's calls go: a state machine fed with samples, which never flaps.

    It begins in threads. It moves after several samples in a row spoke against its place, twice as many for each
    move it has made: so many samples allow at most about their logarithm in moves.

    Args:
        cores: worker processes there would be.
        batched: it is called for the items of a map.
    """

    __slots__ = (
        "_against",
        "_batched",
        "_cores",
        "_cpu",
        "_crowds",
        "_for",
        "_gap",
        "_left",
        "_refusal",
        "_still",
        "_unweighed",
        "_walls",
        "_weights",
        "calls",
        "decision",
        "moves",
        "pinned",
        "place",
    )

    def __init__(self, cores: int, batched: bool = False) -> None:
        self._cores = cores
        self._batched = batched
        self._cpu: deque[float] = deque(maxlen=SEEN)
        self._walls: deque[float] = deque(maxlen=SEEN)
        self._crowds: deque[int] = deque(maxlen=SEEN)
        self._still: _Shares = _Shares()
        self._weights: deque[float] = deque(maxlen=SEEN)
        self._against = self._for = 0
        self._gap = self._left = 1
        self._refusal = 0
        self._unweighed = 0.0
        self.place = "thread"
        self.moves = 0
        self.calls = 0
        self.pinned = False
        self.decision = UNKNOWN

    def due(self) -> bool:
        """Count a call; ``True`` if this one is to be measured."""
        self._left -= 1
        if self._left > 0:
            return False
        self._left = self._gap
        return not self.pinned

    @property
    def settled(self) -> bool:
        return self._for >= SETTLED or self.pinned

    @property
    def watchable(self) -> bool:
        """Whether the next call that is measured may be long enough to see who holds the interpreter's lock."""
        return len(self._walls) < EVIDENCE or max(self._walls) >= WATCHED

    def to_be_weighed(self) -> int:
        """Whether the next call that is measured shall be pickled too: 0, or the bytes that it could carry and still
        go. Only work that might pay is worth the look."""
        if self._cores < 2 or self._refusal or not self._cpu or not self._worth(median(self._cpu)):
            return 0
        if len(self._weights) >= EVIDENCE and median(self._weights) > SPENT * self._unweighed:
            return 0
        figures = self.figures()
        wall = (figures.cpu + figures.wait) * (CHUNK / max(figures.cpu, 1e-6) if self._batched else 1.0)
        return 1 + int(LEAVE_JOURNEY * wall / PER_BYTE)

    @property
    def _crowded(self) -> bool:
        return bool(self._crowds) and median(self._crowds) >= CROWD

    def _worth(self, cpu: float) -> bool:
        return self._batched or cpu >= (CROWD_WORTH if self._crowded else WORTH)

    def note(self, sample: Sample) -> None:
        """Learn from a call, and move if the evidence is enough."""
        self.calls += 1
        items = max(1, sample.items)
        cpu = sample.cpu / items
        if self._cpu and not _alike(cpu, median(self._cpu)):
            self._still.outdated()
        self._cpu.append(cpu)
        self._walls.append(sample.wall)
        self._crowds.append(sample.crowd)
        self._still.add(sample)
        self._unweighed += sample.wall / items
        if sample.weight is not None:
            self._weights.append(sample.weight / items)
            self._unweighed = 0.0
        if not self.pinned:
            self._judge(sample.cpu)

    def figures(self) -> Figures:
        """The medians of what was seen last."""
        cpu = median(self._cpu)
        wait, gil = self._still.shares()
        weight = median(self._weights) if self._weights else None
        return Figures(cpu, wait * cpu if cpu else wait, gil * cpu, weight, self._crowded)

    def _judge(self, latest: float) -> None:
        figures = self.figures()
        price = prices(figures, self._cores, self._batched)
        wall = figures.cpu + figures.wait
        self._refusal = max(0, self._refusal - 1)
        wanted = self._wanted(figures, price)
        if wanted is None:
            self._against = 0
        elif wanted == self.place:
            self._against = 0
            self._for += 1
            if self._for >= SETTLED:
                look = LOOK if self.watchable else SHORT_LOOK
                self._gap = max(1, min(RARELY, 2 * self._gap, int(look / SPENT / max(wall, 1e-9))))
        else:
            self._against += 1
            self._gap = min(self._gap, 4)
            self._left = min(self._left, self._gap)
            needed = 1 if not self.moves and latest >= CLEAR else min(EVIDENCE_MOST, EVIDENCE * 2**self.moves)
            if self._against >= needed:
                self._move(wanted)
        self.decision = self._explained(figures, price)

    def _wanted(self, figures: Figures, price: Prices) -> str | None:
        wall = figures.cpu + figures.wait
        if self.place == "process":
            stays = price.gain >= LEAVE_GAIN and price.journey <= LEAVE_JOURNEY * wall
            return "process" if stays else "thread"
        if self._refusal or not self._worth(figures.cpu):
            return "thread"
        if price.gain < ENTER_GAIN or price.journey > ENTER_JOURNEY * wall:
            return "thread"
        return "process" if figures.weight is not None else None  # weigh it first

    def _move(self, place: str) -> None:
        self.place = place
        self.moves += 1
        self._against = self._for = 0
        self._gap = 1

    def refuse(self, why: str) -> None:
        """It cannot travel this time: back to threads, and no second try before many more samples."""
        if self.place == "process":
            self._move("thread")
        self._refusal = min(EVIDENCE_MOST, EVIDENCE * 2 ** (self.moves + 1))
        self._against = 0
        self.decision = Decision("thread", f"it cannot travel to a process: {why}", self._table())

    def pin(self, why: str) -> None:
        """It must never leave this process."""
        if self.place == "process":
            self._move("thread")
        self.pinned = True
        self.decision = Decision("thread", why, self._table())

    def _table(self) -> Mapping[str, float]:
        if not self._cpu:
            return MappingProxyType({})
        figures = self.figures()
        return _table(self.calls, figures, prices(figures, self._cores, self._batched))

    def _explained(self, figures: Figures, price: Prices) -> Decision:
        if self._refusal and self.place == "thread":
            return self.decision
        reason = explain(self.place, figures, price, self._cores, self._batched)
        return Decision(self.place, reason, _table(self.calls, figures, price))


def waited(sample: Sample) -> float:
    """The seconds in which a call that was alone waited for something outside: neither computing nor holding the lock.

    Who holds the lock does not wait, however long a busy machine lets it wait for a core; but a lock that seems held
    for far longer than the call has computed says more about the machine than about the call.
    """
    held = sample.blocked if sample.blocked is not None and sample.blocked <= BUSY * sample.cpu else 0.0
    return max(0.0, sample.wall - max(sample.cpu, held))


class _Shares:
    """Waiting and holding of the lock, as shares of the CPU time: from undisturbed calls as soon as there is one."""

    __slots__ = ("_clean", "_disturbed", "_held", "_together")

    def __init__(self) -> None:
        self._clean: deque[float] = deque(maxlen=SEEN)
        self._disturbed: deque[float] = deque(maxlen=SEEN)
        self._held: deque[float] = deque(maxlen=SEEN)
        self._together: deque[float] = deque(maxlen=SEEN)

    def add(self, sample: Sample) -> None:
        items = max(1, sample.items)
        unit = sample.cpu or 1.0  # of a call without any CPU time the waiting is kept in seconds
        clean = sample.others <= OTHERS * sample.wall
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
        """Waiting and holding. A lock that is held is always seen so, and what waits always does; but on a busy
        machine, where everything stands in line for a core, a free lock seems held and a computing call seems to wait.
        So the least counts, of the waiting, which differs from call to call, the second least."""
        held = min(self._held, default=1.0)
        together = _median(self._together)
        if together > PARALLEL:
            held = min(held, 1 / together)  # what the lock costs where it is passed on again and again is in it
        waits = sorted(self._clean or self._disturbed)
        return waits[min(1, (len(waits) - 1) // 2)] if waits else 0.0, held


def _median(values: Iterable[float]) -> float:
    return median(list(values) or [0.0])


def _alike(a: float, b: float) -> bool:
    low, high = sorted((a + 1e-6, b + 1e-6))
    return high <= CHANGED * low


def _table(calls: int, figures: Figures, price: Prices) -> Mapping[str, float]:
    return MappingProxyType(
        {
            "calls": calls,
            "cpu": figures.cpu,
            "wait": figures.wait,
            "gil": figures.gil,
            "journey": price.journey,
            "thread": price.thread,
            "process": price.process,
        }
    )
