"""A worker's process and the parent's ends of its sockets: detecting, awaiting and forcing its exit."""

from __future__ import annotations

import mmap
import os
import socket
import time
from typing import NamedTuple, Protocol

from ..._platform import process_control
from ..._platform.posix import CANCEL_SIGNAL


class Reaper(Protocol):
    """Another process, of which the worker is the child."""

    def reap(self, pid: int, pidfd: int | None) -> int | None:
        """Wait for the process and return its exit code, negative for a signal; ``None`` if that is not known."""


class Child(NamedTuple):
    """The parent's ends of a new worker.

    Attributes:
        tasks: our end of the task stream.
        claims: a duplicate of the worker's end: the side that receives a task from it owns it.
        control: our end of the mailbox.
        lifeline: the worker is killed when this is closed.
        status: memory shared with the worker.
        pidfd: readable when the process has ended, ``None`` where the system has none.
        reaper: what has it as its child, if it is not ours.
    """

    pid: int
    tasks: socket.socket
    claims: socket.socket
    control: socket.socket
    lifeline: socket.socket
    status: mmap.mmap
    pidfd: int | None
    reaper: Reaper | None = None

    @property
    def can_kill(self) -> bool:
        """Whether `kill` ends a call that goes on."""
        return True

    @property
    def same_process(self) -> bool:
        """Whether the worker can see this process's memory."""
        return False

    @property
    def place(self) -> str:
        """The kind of its pool."""
        return "process"

    def ring(self) -> None:
        """Have the worker read its mailbox."""
        try:
            if CANCEL_SIGNAL is not None:
                process_control.send_signal(self.pid, self.pidfd, CANCEL_SIGNAL)
        except (ProcessLookupError, PermissionError):
            pass  # it has just died, or this process has changed its user: then the lifeline kills it

    def kill(self) -> None:
        """Kill the process and everything in its group; its exit is noticed through the kernel."""
        if not process_control.kill(self.pid, self.pidfd):
            try:
                self.lifeline.shutdown(socket.SHUT_RDWR)  # the kernel kills it, or its own thread
            except OSError:
                pass  # it has ended, or this was done before

    def send_signal(self, signum: int) -> None:
        """Send a signal to the process; kill it if this process may not send it signals any more."""
        try:
            process_control.send_signal(self.pid, self.pidfd, signum)
        except ProcessLookupError:
            pass  # it has ended
        except PermissionError:  # this process has changed its user
            self.kill()

    def has_ended(self) -> bool:
        """Tell whether the process has ended, without reaping it."""
        return process_control.has_ended(self.pid, self.pidfd, self.lifeline)

    def wait_for_end(self, until: float) -> None:
        """Wait for the end of the process, at most to the instant `until` of `time.monotonic`."""
        if self.pidfd is not None:
            process_control.is_readable(self.pidfd, until - time.monotonic())
            return
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(0.001)

    def reap(self) -> int | None:
        """Kill what is left of its group and reap it: the exit code, negative for a signal.

        ``None`` if somebody else has reaped it. Waits for the process, which must be dead or about to be.
        """
        self.kill()  # before reaping: until then nobody else can have its number
        return (self.reaper or process_control).reap(self.pid, self.pidfd)

    def close(self) -> None:
        """Close our descriptors."""
        for sock in (self.tasks, self.claims, self.control, self.lifeline):
            sock.close()
        self.status.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
