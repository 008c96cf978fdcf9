"""How many cores this process may really use."""

from __future__ import annotations

import math
import os

CORES_VARIABLE = "UNIFIED_EXEC_CORES"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Numerical libraries read these once, when they are loaded."""
MEMORY_VARIABLES = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
"""glibc reads these when a process starts: see mallopt(3). By default it starts with small values and raises them up to
these as memory is freed; until then, a task that creates and drops arrays of about a mebibyte returns its memory to the
kernel and takes it again, page by page, in every call."""


def cpu_count() -> int:
    """Return the cores this process may use: the least of affinity, cgroup quota and, in a worker, its share.

    At least 1. A quota of 1.5 cores counts as 2, so that the half core is used.
    """
    share = os.environ.get(CORES_VARIABLE, "")
    if share.isdigit() and int(share) > 0:
        return min(int(share), affinity())
    quota = cgroup_quota()
    return affinity() if quota is None else max(1, min(affinity(), math.ceil(quota)))


def affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> float | None:
    """Return the CPU quota of this process's control group in cores, ``None`` for no limit.

    Every group from the process's own up to the root counts; the least wins. See cgroups(7), `cpu.max` (v2) and
    `cpu.cfs_quota_us` (v1).
    """
    least: float | None = None
    for folder in _groups(root, own):
        quota = _read_v2(folder) or _read_v1(folder)
        if quota is not None and (least is None or quota < least):
            least = quota
    return least


def _groups(root: str, own: str) -> list[str]:
    folders = [root, os.path.join(root, "cpu")]
    for line in (_read(own) or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        base = root if not controllers else os.path.join(root, controllers)
        if controllers and "cpu" not in controllers.split(","):
            continue
        parts = path.strip("/").split("/")
        folders += [os.path.join(base, *parts[:n]) for n in range(1, len(parts) + 1)]
    return folders


def _read_v2(folder: str) -> float | None:
    fields = (_read(os.path.join(folder, "cpu.max")) or "").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _read_v1(folder: str) -> float | None:
    quota = _read(os.path.join(folder, "cpu.cfs_quota_us"))
    period = _read(os.path.join(folder, "cpu.cfs_period_us"))
    return _ratio(quota.strip(), period.strip()) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max" and -1 mean no limit
    return int(quota) / int(period)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def worker_environment(environment: dict[str, str], workers: int, cores: int) -> dict[str, str]:
    """Return the environment variables that each of `workers` processes gets in addition to the parent's.

    They limit the threads of numerical libraries, so that all workers together use no more than `cores`, and let a
    worker keep the memory that its tasks use again and again. Variables that the user has set are left alone.
    """
    share = str(max(1, cores // max(1, workers)))
    wanted = {name: share for name in THREAD_VARIABLES if name not in environment}
    wanted[CORES_VARIABLE] = share
    if "GLIBC_TUNABLES" not in environment and not any(name.startswith("MALLOC_") for name in environment):
        wanted |= MEMORY_VARIABLES
    return wanted
