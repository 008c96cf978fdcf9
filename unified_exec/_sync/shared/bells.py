"""How a thread waits for the descriptors of a shared channel or lock, and is woken by a cancellation."""

from __future__ import annotations

import os
import select
import time
from _thread import _local
from weakref import finalize

from ..._platform.shared_memory import close_all
from ..._tasks.current import CurrentTask, Sleeper
from ..._tasks.loaded import in_interpreter

_POLLS_MAX = 64


def sleep(poll: select.poll, task: CurrentTask | None, deadline: float | None, pause: float) -> bool:
    """Sleep until a descriptor is readable; ``False`` if none was for `pause` seconds.

    Raises:
        Cancelled: the task was requested to stop; here a raise may land at any instruction.
        TimeoutError: the deadline has passed.
    """
    __interruptible__ = True  # noqa: F841
    if task is not None and task.cancel_requested:
        task.raise_cancelled()
    seconds = pause if deadline is None else min(pause, deadline - time.monotonic())
    if seconds < 0:
        raise TimeoutError
    found = poll.poll(seconds * 1000)
    if task is not None and task.cancel_requested:
        task.raise_cancelled()
    return bool(found)


def poll_of(*fds: int) -> select.poll:
    """Return what waits for these descriptors."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return poll


class Bell(Sleeper):
    """Wakes a thread out of `poll`; each thread has one."""

    __slots__ = ("__weakref__", "_polls", "_rung", "fds")

    def __init__(self) -> None:
        self.fds = os.pipe()
        for fd in self.fds:
            os.set_blocking(fd, False)
        self._rung = False
        self._polls: dict[tuple[int, ...], select.poll] = {}
        finalize(self, close_all, self.fds).atexit = in_interpreter()

    def poll(self, *fds: int) -> select.poll:
        """Return what waits for these descriptors, and for the bell. For the thread of the bell."""
        found = self._polls.get(fds)
        if found is None:
            if len(self._polls) >= _POLLS_MAX:
                self._polls.clear()
            found = self._polls[fds] = poll_of(*fds, self.fds[0])
        return found

    def interrupt(self) -> None:
        self._rung = True
        try:
            os.write(self.fds[1], b"x")
        except OSError:
            pass  # it has rung already

    def silence(self) -> None:
        if not self._rung:
            return
        self._rung = False
        try:
            while os.read(self.fds[0], 64):
                pass
        except OSError:
            pass


_of_thread = _local()


def thread_bell() -> Bell:
    try:
        bell: Bell = _of_thread.bell
    except AttributeError:
        bell = _of_thread.bell = Bell()
    return bell
