"""Has a program that has no socket open one: code is run in it, by `sys.remote_exec` of CPython 3.14 and later."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .client import CannotLook, Program, find

SCRIPT = Path(__file__).with_name("injected.py")
PATIENCE = 2.0
"""Seconds after which the user is told why nothing has come yet."""
WAITS = (
    "it has not opened a socket yet. Its main thread runs code that is put into it between two instructions of Python: "
    "not while it is in a call into C, nor while its event loop has nothing to do. A program that has not imported "
    "unified_exec never opens one. Ctrl-C ends the waiting"
)


def find_or_inject(pid: int, tell: Callable[[str], object]) -> Program:
    """Find a program, and have it open a socket if it has none.

    Args:
        pid: the process.
        tell: called with a text if it takes long.

    Raises:
        CannotLook: nothing can be run in it.
    """
    try:
        return find(pid)
    except CannotLook:
        if not os.access(f"/proc/{pid}/fd", os.R_OK):
            raise  # there is no such process, or it is another user's
    run_in(pid, str(SCRIPT))
    until, told = time.monotonic() + PATIENCE, False
    while True:
        try:
            return find(pid)
        except CannotLook:
            if not os.path.exists(f"/proc/{pid}/fd"):
                raise
        if not told and time.monotonic() > until:
            tell(f"process {pid}: {WAITS}")
            told = True


def run_in(pid: int, script: str) -> None:
    """Have the main thread of a process run a script, soon.

    Raises:
        CannotLook: this Python cannot do that, or the system or the process does not allow it.
    """
    remote_exec = getattr(sys, "remote_exec", None)
    if remote_exec is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise CannotLook(f"--inject needs CPython 3.14 or later, here and in the program: this is {version}")
    if not _sees(pid, script):
        raise CannotLook(f"process {pid} does not see {script}: it has a file system of its own, as in a container")
    try:
        remote_exec(pid, script)
    except PermissionError:
        raise CannotLook(
            f"no code may be run in process {pid}: that needs the rights of a debugger (root, or "
            "kernel.yama.ptrace_scope = 0)"
        ) from None
    except (OSError, RuntimeError) as error:
        raise CannotLook(f"no code can be run in process {pid}: {error}") from None


def _sees(pid: int, script: str) -> bool:
    try:
        return os.path.samefile(script, f"/proc/{pid}/root{script}")
    except OSError:
        return False
