"""The machine a run is made on, and how busy others keep it meanwhile."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = (
    "unified-exec",
    "aiomultiprocess",
    "anyio",
    "cloudpickle",
    "joblib",
    "loky",
    "mpire",
    "numpy",
    "pebble",
    "psutil",
    "trio",
    "trio-parallel",
    "uvloop",
)


def describe() -> dict[str, Any]:
    """The machine, the interpreter and the versions of all that takes part."""
    from ... import __version__, cpu_count

    enabled = getattr(sys, "_is_gil_enabled", None)
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "usable_cores": cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "gil": enabled is None or enabled(),
        "load_average_at_start": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "revision": _revision(),
        "versions": {name: _version(name) for name in PACKAGES} | {"unified-exec": __version__},
    }


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
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def missing(modules: tuple[str, ...]) -> list[str]:
    """Which of the modules are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


class Neighbours:
    """How many cores other processes keep busy: all work of the machine less that of this process and its children.

    Unknown (0) where the system does not tell.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._busy, self._own, self._at = _busy_seconds(), _own_seconds(), time.monotonic()

    def end(self) -> float:
        """Cores the others kept busy since `begin`, on average."""
        passed = time.monotonic() - self._at
        busy = _busy_seconds()
        if self._busy is None or busy is None or passed <= 0:
            return 0.0
        return max(0.0, (busy - self._busy) - (_own_seconds() - self._own)) / passed


def _busy_seconds() -> float | None:
    """Seconds of work all cores did since the machine was started; what the host takes away (steal) counts."""
    try:
        with open("/proc/stat", "rb") as file:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    total = sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
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
