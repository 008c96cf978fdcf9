"""The machine a run is made on: its description, its limits, and how busy other processes keep it."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .clocks import cpu_of_dead_children

PACKAGES = (
    "unified-exec",
    "aiomultiprocess",
    "anyio",
    "cloudpickle",
    "joblib",
    "loky",
    "mpire",
    "numpy",
    "pandas",
    "pebble",
    "pillow",
    "psutil",
    "scikit-learn",
    "trio",
    "trio-parallel",
    "uvloop",
)
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "pkg_resources": "setuptools"}


def describe() -> dict[str, Any]:
    """Return the machine, the interpreter and the versions of the libraries that may take part."""
    from ... import __version__, cpu_count

    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "usable_cores": cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "gil": gil_is_on(),
        "load_average_at_start": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "revision": _revision(),
        "versions": {name: _version(name) for name in PACKAGES} | {"unified-exec": __version__},
    }


def gil_is_on() -> bool:
    """Whether this interpreter runs one thread at a time."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _revision() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    from importlib import metadata  # it loads zipfile and the compressors, in each worker that imports a benchmark

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def missing(modules: tuple[str, ...]) -> list[str]:
    """Return what to install for those of the modules that are not there."""
    return [_DISTRIBUTIONS.get(name, name) for name in modules if importlib.util.find_spec(name) is None]


def allow_descriptors(number: int) -> str | None:
    """Raise the limit of open descriptors of this process and its children; return the reason if that is impossible."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= number:
        return None
    if hard != resource.RLIM_INFINITY and hard < number:
        return f"needs {number:,} descriptors, the limit is {hard:,}: ulimit -Hn"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    except (ValueError, OSError) as error:
        return f"needs {number:,} descriptors: {error}"
    return None


class Neighbours:
    """Measures how many cores other processes keep busy, from its creation on.

    That is all work of the machine minus the work of this process and its descendants; 0 where the system does not
    tell.
    """

    def __init__(self) -> None:
        self._busy, self._own, self._at = _busy_seconds(), _own_seconds(), time.monotonic()

    def busy_cores(self) -> float:
        """Return the average number of cores that other processes have kept busy since."""
        passed = time.monotonic() - self._at
        busy = _busy_seconds()
        if self._busy is None or busy is None or passed <= 0:
            return 0.0
        return max(0.0, (busy - self._busy) - (_own_seconds() - self._own)) / passed


def _busy_seconds() -> float | None:
    """Return the busy seconds of all cores since boot; time that a hypervisor takes away (steal) counts as busy."""
    try:
        with open("/proc/stat", "rb") as file:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    total = time.process_time() + cpu_of_dead_children()
    for pid in _descendants(os.getpid()):
        try:
            # After the name in parentheses: utime, stime, cutime and cstime are fields 14 to 17 of the line.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def _descendants(pid: int) -> list[int]:
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    except OSError:
        pass
    return found


def library_threads() -> dict[str, int]:
    """Return the number of threads of each loaded numerical library, if ``threadpoolctl`` is installed."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return {}
    from threadpoolctl import threadpool_info  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return {str(pool["internal_api"]): int(pool["num_threads"]) for pool in threadpool_info()}
