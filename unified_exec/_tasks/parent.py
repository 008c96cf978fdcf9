"""The process of which this one is a worker."""

from __future__ import annotations

import os

from .fork_lock import in_forked_child

pid: int | None = None
"""Its process id, if it has not started this process itself."""


def parent_pid() -> int:
    """Return the process id of the program, in a worker of it."""
    return os.getppid() if pid is None else pid


@in_forked_child
def _after_fork() -> None:
    global pid
    pid = None
