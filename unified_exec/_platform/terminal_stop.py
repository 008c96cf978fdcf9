"""Ctrl-Z: the workers of a program that is stopped at its terminal stop with it, and go on with it.

A terminal stops its foreground process group only, and each worker has a group of its own. So the program's own stop is
preceded by that of its workers, unless the program has said itself what Ctrl-Z does.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from .._tasks.fork_lock import in_forked_child
from .posix import signal_group

_running: dict[int, int | None] = {}  # the process groups of the workers, each with the pidfd of its leader
_looked = False


def add(pid: int, pidfd: int | None = None) -> None:
    """Let the worker with this process id stop and go on with the program."""
    global _looked
    _running[pid] = pidfd
    if not _looked:
        _looked = True
        _install()


def discard(pid: int) -> None:
    """Forget a worker. Called before it is reaped: until then nobody else can have its number."""
    _running.pop(pid, None)


def _install() -> None:
    if not hasattr(signal, "SIGTSTP") or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL or not _has_terminal():
        return
    signal.signal(signal.SIGTSTP, _on_stop)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _on_stop(signum: int, frame: FrameType | None) -> None:
    _send(signal.SIGSTOP)
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)  # returns when the program goes on
    signal.signal(signal.SIGTSTP, _on_stop)
    _send(signal.SIGCONT)


def _send(signum: signal.Signals) -> None:
    for pid, pidfd in list(_running.items()):
        try:
            signal_group(pid, pidfd, signum)
        except OSError:
            pass  # it has just ended, or belongs to another user now


@in_forked_child
def _after_fork() -> None:
    _running.clear()  # they are the parent's
