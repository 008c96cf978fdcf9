"""CPU seconds and memory of this process and its descendants, including those that have exited."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Collect garbage first, then keep what is left out of the collector's sight while the block is timed.

    Objects that were made before the block are the same for no two contenders; scanning them must not count.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Stopwatch:
    """Measures wall and CPU seconds of this process and all its descendants."""

    def start(self) -> None:
        self._below = _cpu_of_descendants()
        self._dead = cpu_of_dead_children()
        self._own = time.process_time()
        self._at = time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Return wall seconds and CPU seconds since `start`."""
        wall = time.perf_counter() - self._at
        own = time.process_time() - self._own
        dead = cpu_of_dead_children() - self._dead
        return wall, own + work_between(self._below, _cpu_of_descendants(), dead)


def work_between(before: Mapping[int, float], after: Mapping[int, float], dead: float) -> float:
    """Return the CPU seconds that descendants used between two readings.

    Args:
        before: CPU seconds by process id at the first reading.
        after: the same at the second reading.
        dead: CPU seconds of the descendants that exited in between, over their whole lives.
    """
    living = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
    earlier = sum(seconds for pid, seconds in before.items() if pid not in after)
    return living + max(0.0, dead - earlier)


def _cpu_of_descendants() -> dict[int, float]:
    import psutil

    found = {}
    for child in psutil.Process().children(recursive=True):
        try:
            found[child.pid] = _cpu_of(child)
        except (psutil.Error, OSError):
            pass
    return found


def _cpu_of(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The kernel's CPU clock of another process, in nanoseconds: CPUCLOCK_SCHED in the low bits, see
        # clock_getcpuclockid(3). psutil's figures come in hundredths of a second.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


def cpu_of_dead_children() -> float:
    """Return the CPU seconds of all children that have been waited for."""
    times = os.times()
    if sys.platform == "win32":
        return times.children_user + times.children_system
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def private_bytes(pid: int | None = None) -> int:
    """Return the memory that would be freed if the process exited (USS); of this process by default."""
    import psutil

    return int(psutil.Process(pid).memory_full_info().uss)


def private_bytes_of_descendants() -> int:
    """Return the USS of all descendants of this process."""
    import psutil

    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += private_bytes(child.pid)
        except psutil.Error:
            pass
    return total


def peak_memory() -> int | None:
    """Return the peak memory of this process's whole life, in bytes; ``None`` where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> bool:
    """Start to record the peak resident memory of this process anew; false where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_since_reset() -> int:
    """Return the peak resident memory, in bytes, since `reset_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
