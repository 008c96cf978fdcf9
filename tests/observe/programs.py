"""Running a program to look at, and ending it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.observe.patience import until
from unified_exec.observe.live.client import CannotLook, Program, find

ROOT = Path(__file__).parents[2]


@contextmanager
def program(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints "ready"; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def found(pid: int) -> Program:
    """Wait until a program can be looked at: its thread opens the socket a moment after the first scope."""
    programs: list[Program] = []

    def can_be_found() -> bool:
        try:
            programs.append(find(pid))
        except CannotLook:
            return False
        return True

    until(can_be_found)
    return programs[0]
