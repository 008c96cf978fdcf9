"""A worker that is an interpreter, as its parent sees it. A thread makes it and stays in it for life."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import select
import socket
import time
from _thread import start_new_thread
from importlib import import_module
from typing import Any

from ..._platform import process_control
from ..._platform.posix import above_standard, anonymous_memory
from ..._worker import connection
from ..._worker.connection import PARK, PARKED, RING
from ..._worker.settings import STATUS_SIZE
from ...errors import WorkerStartError
from ..process.child import Child

PARK_SECONDS = 10.0
"""What an interpreter gets at the program's end to stop all its threads; it takes milliseconds."""
START_SECONDS = 60.0
"""What one gets there that is just being made, or closed."""

_BOOT = "import sys; sys.path.append(root); from unified_exec._worker.in_interpreter import main; main(*descriptors)"
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

alive: set[InterpreterChild] = set()
"""Those that have not ended, as far as is known."""
_ending = False
_let_go: set[InterpreterChild] = set()
"""Those of them that nobody waits for: they end when the task returns that they run."""


class InterpreterChild(Child):
    """The parent's ends of a worker that is an interpreter.

    Nothing can kill it: it ends when the task that it runs has returned. `pid` is the identity of its thread,
    `lifeline` the bell, and `pidfd` a pipe whose other end is closed when the thread has left the interpreter.
    """

    @property
    def can_kill(self) -> bool:
        return False

    @property
    def same_process(self) -> bool:
        return True

    @property
    def place(self) -> str:
        return "interpreter"

    @property
    def is_let_go(self) -> bool:
        """Whether nobody waits for its end."""
        return self in _let_go

    def kill(self) -> None:
        """Let it end as soon as the task that it runs has returned."""
        with contextlib.suppress(OSError):
            self.tasks.shutdown(socket.SHUT_WR)
        self.ring()

    def ring(self) -> None:
        with contextlib.suppress(OSError):  # the bell is full, so it rings; or the worker has ended
            self.lifeline.send(RING)

    def send_signal(self, signum: int) -> None:
        """Do nothing: signals are for processes."""

    def has_ended(self) -> bool:
        return self._has_ended_within(0.0)

    def wait_for_end(self, until: float) -> None:
        self._has_ended_within(max(0.0, until - time.monotonic()))

    def _has_ended_within(self, seconds: float) -> bool:
        assert self.pidfd is not None
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def reap(self) -> int | None:
        if not self.has_ended():
            self.kill()
        return None

    def close(self) -> None:
        """Close our descriptors; of one that has not ended, the bell stays for the program's end."""
        for sock in (self.tasks, self.claims, self.control):
            sock.close()
        self.status.close()
        _let_go.add(self)
        sweep()

    def close_bell(self) -> None:
        assert self.pidfd is not None
        self.lifeline.close()
        os.close(self.pidfd)

    def park(self) -> bool:
        """Stop its threads for good, as the program ends: CPython crashes when one of them runs Python code then.

        Returns:
            ``False`` if a call into C keeps it from being stopped.
        """
        try:
            seconds = PARK_SECONDS if self.status[connection.HAS_SETTINGS] else START_SECONDS
        except ValueError:  # closed
            seconds = PARK_SECONDS
        with contextlib.suppress(OSError):
            self.lifeline.send(PARK)
        assert self.pidfd is not None
        poll = select.poll()
        for fd in (self.pidfd, self.lifeline.fileno()):
            poll.register(fd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            parked = self.lifeline.recv(1) == PARKED
        except OSError:
            parked = False
        return parked or self._has_ended_within(START_SECONDS)  # its second thread has ended: it is being closed


def start_interpreter() -> InterpreterChild:
    """Have a new thread make an interpreter, and return at once.

    Raises:
        WorkerStartError: no descriptor or no thread is left.
    """
    if _ending:
        raise WorkerStartError("the program ends")
    sweep()
    with contextlib.ExitStack() as undo:
        try:
            child = _start(undo)
        except (OSError, RuntimeError) as exc:
            raise WorkerStartError(f"an interpreter could not be started: {exc}") from exc
        undo.pop_all()
    alive.add(child)
    return child


def sweep() -> None:
    """Forget those that have ended since nobody waits for them."""
    for child in list(_let_go):
        if child in alive and child.has_ended():
            alive.discard(child)
            _let_go.discard(child)
            child.close_bell()


def refuse() -> None:
    """Start no more: the program ends."""
    global _ending
    _ending = True


def after_fork() -> None:
    """In a forked child: they are the parent's."""
    alive.clear()
    _let_go.clear()


def _start(undo: contextlib.ExitStack) -> InterpreterChild:
    pairs = [process_control.pair_for_messages(), process_control.pair_for_messages()]
    pairs.append(process_control.socket_pair(socket.SOCK_STREAM))
    for end in (end for pair in pairs for end in pair):
        undo.callback(end.close)
    (tasks, claims), (control, its_control), (bell, its_bell) = pairs
    status_fd = anonymous_memory()
    its = [status_fd]
    try:
        os.ftruncate(status_fd, STATUS_SIZE)
        status = mmap.mmap(status_fd, STATUS_SIZE)
        its[:0] = [above_standard(os.dup(end.fileno())) for end in (claims, its_control, its_bell)]
        gone, its_gone = map(above_standard, os.pipe())
        its.append(its_gone)
        undo.callback(os.close, gone)
        ident = start_new_thread(_carry, tuple(its))
    except BaseException:
        for fd in its:
            os.close(fd)
        raise
    its_control.close()
    its_bell.close()
    for sock in (tasks, control, bell):
        sock.setblocking(False)
    return InterpreterChild(ident, tasks, claims, control, bell, status, gone)


def _carry(*its: int) -> None:
    """Make an interpreter and stay in it; the GIL of the program is free meanwhile."""
    *descriptors, gone = its
    try:
        interpreters: Any = import_module("concurrent.interpreters")
        try:
            interpreter = interpreters.create()
        except BaseException:
            for fd in descriptors:
                os.close(fd)
            raise
        try:
            interpreter.prepare_main(root=_ROOT, descriptors=tuple(descriptors))
            interpreter.exec(_BOOT)
        finally:
            interpreter.close()
    except BaseException as exc:
        logging.getLogger("unified_exec").error("a worker that is an interpreter has failed: %s", exc)
    finally:
        os.close(gone)
