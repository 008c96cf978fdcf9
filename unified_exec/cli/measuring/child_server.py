"""Servers that run as scripts in a child process for the length of a block."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

PATIENCE = 5.0
"""Seconds a server has to exit before it is killed."""


class Started(NamedTuple):
    """A server that is up: the words it printed (its ports) and its process id."""

    words: list[str]
    pid: int


@contextmanager
def child_server(script: str, *arguments: str) -> Iterator[Started]:
    """Run a server until the block ends.

    The script prints one line once it listens, and exits when its stdin ends: even if this process is killed, the
    server does not outlive it.

    Raises:
        RuntimeError: the server did not start; what it printed is on stderr.
    """
    command = [sys.executable, "-I", "-S", script, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            words = process.stdout.readline().split()
            if not words:
                raise RuntimeError(f"the server did not start: {' '.join(command)}")
            yield Started(words, process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            except BaseException:  # a second Ctrl-C must not leave the process running
                process.kill()
                raise
