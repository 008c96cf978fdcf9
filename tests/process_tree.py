"""The processes that this test run has started: its descendants, and orphans known by a mark in their environment."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import psutil

LINUX = sys.platform == "linux"
LISTS_CHILDREN = Path("/proc/thread-self/children").exists()
"""The kernel lists the children of each thread: microseconds, where psutil reads every process of the machine."""
MARK = "UNIFIED_EXEC_TEST_RUN"
"""Inherited by all that the tests start, so that a process that lost its parent is still known as theirs."""

# Entries of /proc that are another's process or none: an environment without the mark never gets it. Only names are
# kept, which are read fast. A number that becomes ours meanwhile is found at the end of the module: `forget_others`.
_foreign: set[str] = set()


def mark_this_run() -> None:
    os.environ[MARK] = f"{os.getpid()}-{uuid.uuid4().hex}"


def processes() -> dict[Hashable, Any]:
    """All of them that are there now, zombies too."""
    found: dict[Hashable, Any] = {}
    for pid in {*_descendants(), *_marked()}:
        try:
            process = psutil.Process(pid)
            found[pid, process.create_time()] = process
        except psutil.NoSuchProcess:
            pass
    return found


def forget_others() -> None:
    """Look at every process of the machine again the next time."""
    _foreign.clear()


def describe(process: psutil.Process) -> str:
    try:
        status = process.status()
        if status == psutil.STATUS_ZOMBIE:
            return f"child process {process.pid}: dead, but never reaped"
        place = "child process" if _is_descendant(process) else "orphaned process"
        return f"{place} {process.pid} ({status}): {' '.join(process.cmdline()) or process.name()}"
    except psutil.NoSuchProcess:
        return f"process {process.pid}: gone as soon as it was reported"


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        pass


def with_environment(setting: str) -> Iterator[psutil.Process]:
    """The other processes that have `setting` in their environment, as those have that inherited it."""
    wanted = setting.encode()
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdigit() and int(name) != os.getpid() and wanted in _environment(name):
            try:
                yield psutil.Process(int(name))
            except psutil.NoSuchProcess:
                pass


def _is_descendant(process: psutil.Process) -> bool:
    return os.getpid() in (parent.pid for parent in process.parents())


def _descendants() -> list[int]:
    if not LISTS_CHILDREN:
        return [process.pid for process in psutil.Process().children(recursive=True)]
    found = _children("self")
    for pid in found:
        found += _children(str(pid))
    return found


def _children(pid: str) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                    found += map(int, file.read().split())
            except OSError:  # the thread ended meanwhile: its children are another's now
                pass
    except OSError:  # the process ended meanwhile
        pass
    return found


def _marked() -> Iterator[int]:
    """Those with this run's mark; of a process that was seen without it before, nothing is read again."""
    mark = os.environ.get(MARK)
    if mark is None or not LINUX:
        return
    wanted = f"{MARK}={mark}".encode()
    there = set(os.listdir("/proc"))
    _foreign.intersection_update(there)
    for process in there - _foreign:
        environment = _environment(process) if process.isdigit() else b"not a process"
        if wanted in environment:
            if int(process) != os.getpid():
                yield int(process)
        elif environment or _has_none(process):
            _foreign.add(process)


def _environment(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:  # ended meanwhile, or another user's
        return b""


def _has_none(pid: str) -> bool:
    """Tell whether a process without an environment will never have one: a process that calls exec soon will."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            parent = file.read().rpartition(b")")[2].split()[1]
        return parent in (b"0", b"2") or os.stat(f"/proc/{pid}").st_uid != os.getuid()  # the kernel's; another user's
    except OSError:  # ended meanwhile
        return True
