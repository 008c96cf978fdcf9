"""Finding tasks, processes and threads that a run left behind; by the law there are none."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

PATIENCE = 1.0
"""Seconds that a thread which was told to exit may take."""
PAUSE = 0.005
"""Seconds between two checks of it."""


class LeftOver(NamedTuple):
    """What a run left behind; all zero if the law holds."""

    tasks: int
    processes: int
    threads: int


class Snapshot(NamedTuple):
    """The processes and threads that exist before a run."""

    children: set[int]
    threads: set[threading.Thread]

    @classmethod
    def now(cls) -> Snapshot:
        return cls(children(), set(threading.enumerate()))

    def left_over(self, tasks: int, workers: Collection[int]) -> LeftOver:
        """Count what exists now but is not in the snapshot.

        Args:
            tasks: number of unfinished tasks.
            workers: process ids of the workers of the run, for systems that do not list a process's children.
        """
        processes = (children() - self.children) | {pid for pid in workers if is_child(pid)}
        threads = set(threading.enumerate()) - self.threads
        return LeftOver(tasks, len(processes), sum(map(_stays, threads)))


def _stays(thread: threading.Thread) -> bool:
    """Whether a thread does not exit: anyio tells its helper threads to exit with their loop, but does not wait."""
    if thread.name.startswith("Trio thread "):  # trio keeps an idle thread for ten seconds
        return False
    deadline = time.monotonic() + PATIENCE
    while _is_running(thread) and time.monotonic() < deadline:
        time.sleep(PAUSE)
    return _is_running(thread)


def _is_running(thread: threading.Thread) -> bool:
    # join() and is_alive() are wrong for a thread that was not started by the threading module.
    return thread.ident in sys._current_frames()


def children() -> set[int]:
    """Return the process ids of this process's children, including unreaped ones; empty where unknown."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in task.read_text().split())
        except OSError:  # the thread has exited meanwhile
            pass
    return found


def is_child(pid: int) -> bool:
    """Whether `pid` is a child of this process that is running or has not been reaped."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
