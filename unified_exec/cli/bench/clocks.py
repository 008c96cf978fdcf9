"""CPU seconds and memory of a process with all its descendants, the dead ones included."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil


def _cpu_of(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The kernel's CPU clock of another process, in nanoseconds: CPUCLOCK_SCHED in the low bits, see
        # clock_getcpuclockid(3). psutil's figures come in hundredths of a second.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


def _descendants() -> dict[int, float]:
    found = {}
    for child in psutil.Process().children(recursive=True):
        try:
            found[child.pid] = _cpu_of(child)
        except (psutil.Error, OSError):
            pass
    return found


def _dead_children() -> float:
    times = os.times()
    if sys.platform == "win32":
        return times.children_user + times.children_system
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Stopwatch:
    """Wall and CPU seconds between `start` and `stop`, of this process and all below it."""

    def start(self) -> None:
        self._below = _descendants()
        self._dead = _dead_children()
        self._own = time.process_time()
        self._at = time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Wall seconds and CPU seconds."""
        wall = time.perf_counter() - self._at
        own = time.process_time() - self._own
        dead = _dead_children() - self._dead
        return wall, own + work_between(self._below, _descendants(), dead)


def work_between(before: Mapping[int, float], after: Mapping[int, float], dead: float) -> float:
    """CPU seconds of descendants: what the living did, and what those that died did since `before`."""
    living = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
    # What a dead child did before counts in `dead` too.
    earlier = sum(seconds for pid, seconds in before.items() if pid not in after)
    return living + max(0.0, dead - earlier)


def private_bytes() -> tuple[int, int]:
    """Memory that would be free if they ended (USS): of this process, and of all below it."""
    own = psutil.Process()
    below = 0
    for child in own.children(recursive=True):
        try:
            below += int(child.memory_full_info().uss)
        except psutil.Error:
            pass
    return int(own.memory_full_info().uss), below


def forget_peak() -> bool:
    """Begin to note the most resident memory of this process anew; false where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_bytes() -> int:
    """The most resident memory since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
