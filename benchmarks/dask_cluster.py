"""A Dask cluster of separate processes on this machine, started with Dask's own commands when a row needs it."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def scheduler_address() -> str:
    """Start a scheduler and two Dask workers of one thread each, once; they end with this process."""
    from distributed import Client

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    _start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-show")
    for _ in range(2):
        _start("worker", address, "--nthreads", "1", "--memory-limit", "0")
    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    return address


def _start(what: str, *args: str) -> None:
    command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *args, "--no-dashboard"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=env, start_new_session=True)
    atexit.register(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
