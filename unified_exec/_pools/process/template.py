"""The parent's side of a template, see `unified_exec._worker.template`. Loaded when a pool needs one."""

from __future__ import annotations

import os
import threading
import time
import weakref

from ..._platform import process_control, terminal_stop
from ..._tasks.fork_lock import in_forked_child
from ..._tasks.weak_sets import members
from ..._worker.connection import HAS_SETTINGS, fd_message
from ..._worker.settings import TEMPLATE
from ..._worker.template import NUMBER
from .child import Child
from .start_worker import command, connect, start_process

UP_SECONDS = 3.0
"""Seconds that workers of a pool wait for its template to come up; then they are started without it."""
ANSWER_SECONDS = 3.0
"""Seconds in which a template must answer; else it is killed, and the worker is started without it."""

_all: weakref.WeakSet[Template] = weakref.WeakSet()


class Template:
    """A process of which workers are forked. Any thread may use it.

    It ends when it is discarded and the last of its workers was reaped: nobody else is told their exit codes.

    Args:
        environment: the environment variables of its workers.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._passed_on = _passed_on(environment)
        self._lock = threading.Lock()
        self._child = start_process(environment, mark=TEMPLATE)
        self._until = time.monotonic() + UP_SECONDS
        self._workers = 0
        self._discarded = self._ended = False
        _all.add(self)

    def is_up(self) -> bool | None:
        """Tell whether workers can be forked; ``None`` if that will never be so."""
        with self._lock:
            if self._ended or self._child.has_ended():
                return None
            return bool(self._child.status[HAS_SETTINGS]) or (None if time.monotonic() > self._until else False)

    def serves(self, environment: dict[str, str]) -> bool:
        """Tell whether a worker that is forked now would have what one that is started has."""
        return self._passed_on == _passed_on(environment)

    def fork(self) -> Child | None:
        """Fork a worker; ``None`` if the template has ended, or was stopped and does not answer.

        Raises:
            OSError: the system has no room for another process.
        """
        try:
            child = connect(self._launch)
        except OSError:
            if self._ended:
                return None
            raise
        except BaseException:
            self.end()  # there may be a worker that nobody reaps
            raise
        # As long as the template lives, nobody has reaped the worker: the pidfd is not that of another process.
        if child.pidfd is None or not self.is_up():
            self.end()
            terminal_stop.discard(child.pid)
            child.close()  # its lifeline kills it
            return None
        return child._replace(reaper=self)

    def _launch(self, descriptors: dict[int, int]) -> int:
        streams = {fd: fd for fd in (1, 2) if process_control.is_stream(fd)}
        pid = self._ask(os.getpid(), {**descriptors, **streams})
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def reap(self, pid: int, pidfd: int | None) -> int | None:
        """Wait for one of its workers, which must be dead or about to be, and return its exit code."""
        assert pidfd is not None
        process_control.is_readable(pidfd, None)
        terminal_stop.discard(pid)
        try:
            return self._ask(pid, {})
        except OSError:  # an orphan now, of this process if that is the system's first
            return process_control.reap(pid, pidfd)

    def _ask(self, number: int, descriptors: dict[int, int]) -> int:
        """Send a request and return the answer.

        Raises:
            OSError: there is none, and the template has ended.
        """
        with self._lock:
            try:
                answer = self._answer(NUMBER.pack(number) + bytes(descriptors), list(descriptors.values()))
            except BaseException:  # also of a signal's handler: the answer would be taken for another
                self._end()
                raise
            self._workers += -1 if not descriptors else answer > 0
            self._end_if_unused()
        return answer

    def _answer(self, request: bytes, fds: list[int]) -> int:
        if self._ended:
            raise ConnectionError
        control = self._child.control
        control.sendmsg([request], fd_message(*fds) if fds else ())
        if not process_control.is_readable(control.fileno(), ANSWER_SECONDS):
            raise TimeoutError
        answer = control.recv(NUMBER.size)
        if not answer:
            raise ConnectionError
        return int(NUMBER.unpack(answer)[0])

    def discard(self) -> None:
        """Fork no more workers of it, and let it end when it has none."""
        with self._lock:
            self._discarded = True
            self._end_if_unused()

    def _end_if_unused(self) -> None:
        if self._discarded and not self._workers:
            self._end()

    def end(self) -> None:
        """Kill it."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._child.reap()
            self._child.close()

    def after_fork(self) -> None:
        """In a forked child: it is the parent's."""
        self._lock = threading.Lock()
        if not self._ended:
            self._ended = True
            self._child.close()


def _passed_on(environment: dict[str, str]) -> tuple[object, ...]:
    return command(), environment, process_control.inherited()


def end_all() -> None:
    """Kill all templates: the program ends."""
    for template in members(_all):
        template.end()


@in_forked_child
def _after_fork() -> None:
    for template in members(_all):
        template.after_fork()
