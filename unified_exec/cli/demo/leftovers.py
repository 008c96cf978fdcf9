"""Looking for what a run left behind: the law says nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

PATIENCE = 1.0  # seconds a thread that was told to end may take
PAUSE = 0.005  # seconds between two looks at it


class LeftOver(NamedTuple):
    """What is still there after a run; all zero when the law holds."""

    tasks: int
    processes: int
    threads: int


class Before:
    """What was there before the run, so that only its own is counted after."""

    def __init__(self) -> None:
        self._children = children()
        self._threads = set(threading.enumerate())

    def left_over(self, tasks: int, workers: Collection[int]) -> LeftOver:
        """Count what is there now and was not before.

        Args:
            tasks: how many tasks have not come to their end.
            workers: process ids of workers that were at work, for systems that do not list a process's children.
        """
        processes = (children() - self._children) | {pid for pid in workers if is_child(pid)}
        return LeftOver(tasks, len(processes), sum(_stays(thread) for thread in self._new_threads()))

    def _new_threads(self) -> set[threading.Thread]:
        return set(threading.enumerate()) - self._threads


def _stays(thread: threading.Thread) -> bool:
    """Whether a thread is there for good: anyio's helpers are told to end with their loop, but not waited for."""
    if thread.name.startswith("Trio thread "):  # idle: trio keeps such ten seconds for the next call
        return False
    over = time.monotonic() + PATIENCE
    while _is_running(thread) and time.monotonic() < over:
        time.sleep(PAUSE)
    return _is_running(thread)


def _is_running(thread: threading.Thread) -> bool:
    # Not join() and is_alive(): neither tells the truth of a thread that was not started by the threading module.
    return thread.ident in sys._current_frames()


def children() -> set[int]:
    """Process ids of this process's children, dead ones that nobody has waited for included; empty where unknown."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in task.read_text().split())
        except OSError:  # the thread has ended meanwhile
            pass
    return found


def is_child(pid: int) -> bool:
    """Whether `pid` is a child of this process that is running, or has never been waited for."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
