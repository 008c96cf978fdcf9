"""Memory and processor time of processes, read from /proc: nobody is disturbed."""

from __future__ import annotations

import os
from time import monotonic
from typing import NamedTuple


class Usage(NamedTuple):
    """What a process uses.

    Attributes:
        memory: resident bytes.
        seconds: processor time so far.
        state: ``R`` runs, ``S`` sleeps, ``D`` waits for a disk, ``T`` is stopped, ``Z`` has ended; "" unknown.
    """

    memory: int
    seconds: float
    state: str


def usage(pid: int) -> Usage:
    """Read what a process uses; zeros where the system does not say, or if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
        return Usage(int(fields[21]) * page, (int(fields[11]) + int(fields[12])) / tick, fields[0].decode())
    except (OSError, IndexError, ValueError):
        return Usage(0, 0.0, "")


class Processors:
    """Remembers the processor time of processes, to tell how much of a core each has used since the last look."""

    KEPT = 500

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, float]] = {}

    def share(self, pid: int, seconds: float) -> float | None:
        """The share of one core since the last call for `pid`, ``None`` at the first."""
        now = monotonic()
        before = self._last.pop(pid, None)
        self._last[pid] = now, seconds
        if len(self._last) > self.KEPT:
            del self._last[next(iter(self._last))]
        if before is None or now - before[0] < 0.05:
            return None
        return max(0.0, (seconds - before[1]) / (now - before[0]))


processors = Processors()
