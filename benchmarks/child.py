"""Child processes of the benchmarks: bare interpreters, and modules that run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[1])


def environment() -> dict[str, str]:
    """Return an environment in which a child can import the benchmarks, and keeps compiled modules."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}


def start_program(program: str, *args: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start an interpreter that runs the text of a program and inherits descriptors."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *args], pass_fds=fds, env=environment(), stdin=subprocess.DEVNULL
    )


def run_module(module: str, *args: str) -> float:
    """Run a module as a script and return the number that it prints."""
    command = [sys.executable, "-W", "ignore", "-m", module, *args]
    return float(subprocess.run(command, env=environment(), check=True, capture_output=True, text=True).stdout)
